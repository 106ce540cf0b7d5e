"""Codes of policies and of what a server may not set."""

from pipeseal.errors.codes.row import Code

ROWS: tuple[Code, ...] = (
    # --- rules of a policy, or of the agent's own switches ---
    Code(
        "repository.not_allowed",
        "repository not on this agent's list",
        "The job is for a repository that this agent may not build: neither `repositories` of its policy nor "
        "allowed-repositories match it.",
        (
            "the job should run in another queue",
            "the list is too narrow",
            "the job was sent to the wrong agent on purpose",
        ),
        "Add a pattern to the policy or to allowed-repositories of this agent, or send the job to another queue.",
    ),
    Code(
        "plugin.not_allowed",
        "plugin not on this agent's list",
        "The step uses a plugin that this agent may not run: neither `plugins` of its policy nor "
        "allowed-plugins match "
        "it, or plugins are off.",
        ("the plugin is new and nobody listed it yet", "the pattern names another version or host"),
        "Add a pattern to the policy or to allowed-plugins of this agent, or leave the plugin out.",
    ),
    Code(
        "command.not_script",
        "inline command where only scripts may run",
        "This agent runs only scripts of the repository, and the step's command is not the path of one.",
        (
            "the step has a command with arguments or several commands",
            "the path is absolute or leads out of the repository",
            "the job should run in another queue",
        ),
        "Put the commands into a script of the repository, and name its path alone.",
    ),
    Code(
        "branch.not_allowed",
        "branch not in the policy",
        "The job is of a branch, tag or pull request that the policy does not allow here.",
        (
            "the build was sent to the queue of another branch's agents",
            "the policy's `branches` is too narrow",
            "somebody tries to run unreviewed code on these agents",
        ),
        "Build it on other agents, or add the branch to `branches` of the policy.",
    ),
    Code(
        "pull_request.not_allowed",
        "pull request where none may be built",
        "The job is of a pull request, and the policy says `pull-requests = false`.",
        (
            "pull requests are built by other agents, and the job came to the wrong queue",
            "somebody tries to run unreviewed code on these agents",
        ),
        "Send pull requests to agents of their own, see docs/how-to/policy-recipes.md.",
    ),
    Code(
        "commit.not_full",
        "commit without its full object id",
        "The job names its commit `HEAD`, and the policy wants a full object id.",
        (
            "the build was created by a schedule or by hand, without a commit",
            "somebody wants each job to find other code",
        ),
        "Create builds with a full object id, or remove `head-commits = false` from the policy.",
    ),
    Code(
        "commit.not_on_branch",
        "commit that is not part of its branch",
        "The remote's branch that the job names does not contain the job's commit, or there is no such branch.",
        (
            "the branch was rewritten or deleted after the build was created",
            "the clone is shallow (`--depth`), so that the commit's place cannot be seen",
            "somebody tries to run a commit that was never merged",
        ),
        "Build a commit of the branch; take `--depth` out of the git flags of agents with `branches` in their "
        "policy.",
    ),
    Code(
        "policy.edit",
        "policy that a command cannot change",
        "A command would write into a key's record in the policy, and the file is written in a way that it cannot "
        "change and be sure that everything else stays as it is.",
        ("records are written as inline tables or dotted keys", "a text of several lines looks like a table"),
        "Write the record as a table of its own, or change the file by hand.",
    ),
    Code(
        "key.not_allowed",
        "signer who may not sign this",
        "The step is signed by a trusted key that the policy does not allow for this repository or pipeline.",
        (
            "a new key was made, and the policy does not name it yet",
            "the section's `keys` is too narrow",
            "a signer for something else signed this",
        ),
        "Add the key's id to `keys` of the section, if its owner may sign this.",
    ),
    Code(
        "key.scope",
        "signer outside of its purpose",
        "The record of the key in the policy says what it may sign, and this is something else.",
        (
            "the key's record is too narrow",
            "the step was uploaded by the agent of another repository",
            "the key leaked, and is used elsewhere",
        ),
        "Sign with the repository's own key, or widen the record.",
    ),
    Code(
        "key.revoked",
        "key that was revoked",
        "The step is signed by a key that the policy says is revoked; nothing it ever signed is believed.",
        (
            "the step was signed before the revocation",
            "the signer has not been given its new key yet",
            "the key leaked, and somebody uses it",
        ),
        "Sign the pipeline again with the new key.",
    ),
    Code(
        "key.expired",
        "key after its time",
        "The step is signed by a key whose `not-after` is over.",
        (
            "the key was not replaced in time",
            "an old signed step is run again",
        ),
        "Sign the pipeline again with the current key, or move `not-after`.",
    ),
    Code(
        "key.not_yet_valid",
        "key before its time",
        "The step is signed by a key whose `not-before` has not come yet.",
        (
            "this machine's clock is wrong",
            "the new key was put to use too early",
        ),
        "Set the clock; wait; or move `not-before`.",
    ),
    Code(
        "proof.not_enough",
        "signed and not sealed",
        "The policy asks for a seal, and the step carries only a signature.",
        (
            "the step was signed by another program, or with --no-seal or --no-bindings",
            "the step was signed before seals were made",
        ),
        'Sign it again with `pipeseal`; or say `proof = "signature"` for the time of a migration.',
    ),
    Code(
        "proof.static",
        "sealed outside a build",
        "The step was sealed once and for all (`tool sign`), not for this build: such a seal says that the step may "
        "run, and nothing that the agent found out by itself says that it should run now, at this commit.",
        (
            "the policy has no `branches` that hold the commit of a static step to a branch",
            "the build is of a pull request, whose commit is on no branch of the repository",
            "the build names `HEAD` where the policy counts starts by commit (`static-starts`)",
            "somebody has an old step run again, at a commit of their choice",
        ),
        'Name `branches` in the policy; or allow it for the pipelines that need it with `static-steps = "any"`.',
    ),
    Code(
        "attempt.too_many",
        "job that ran too often",
        "The server itself says that this job was tried more often than the policy allows.",
        (
            "the job was retried by hand",
            "the policy's `max-attempts` is lower than the step's own retry limit",
        ),
        "Create a new build, or raise `max-attempts`.",
    ),
    Code(
        "policy.no_section",
        "job that no section allows",
        "The policy has sections, and none of them is for this job's repository, organisation and pipeline.",
        (
            "a new repository or pipeline that the policy does not name yet",
            "the address is spelt another way (ssh or https, with or without `.git`)",
            "the job should run on other agents",
        ),
        "Add an [[allow]] section for it, or send it to other agents; `pipeseal policy explain` shows what was "
        "compared.",
    ),
    Code(
        "policy.unproven",
        "rule about something unproven",
        "A rule of the policy asks for something that is only the server's word: the step is not bound to it.",
        (
            "the step was signed without bindings (--no-bindings, or by another program)",
            "a static signature was made without --organization-slug or --pipeline-slug",
        ),
        "Sign with `pipeseal`, which binds steps to their organisation and pipeline; or ask for the repository "
        "alone.",
    ),
    Code(
        "policy.syntax",
        "policy that is not one",
        "The policy file is not TOML, or does not say which version of the format it is in.",
        (
            "a typing error",
            "the wrong file was given",
        ),
        "Correct the line that is shown; `pipeseal policy check FILE` says when it is right.",
    ),
    Code(
        "policy.key",
        "key that no policy has",
        "The policy file has a key that nobody knows, so it would do nothing where its author meant something.",
        (
            "a typing error",
            "a key in the wrong part of the file",
        ),
        "Use the key that the message proposes; docs/reference/policy.md lists all of them.",
    ),
    Code(
        "policy.value",
        "value that a policy's key cannot have",
        "A key of the policy file has a value of the wrong kind, or one that cannot mean anything.",
        (
            "a number in quotes, or a text without",
            "an empty list where something must be allowed",
        ),
        "Use a value of the kind that the message names.",
    ),
    Code(
        "policy.unreadable",
        "policy that cannot be read",
        "The policy file is not there, or cannot be read. A running agent refuses jobs until it can read it again.",
        (
            "the path is wrong",
            "the file belongs to another user",
            "the file is being replaced",
        ),
        "Correct the path, or the file's owner and mode; put a new policy into place with `mv`.",
    ),
    Code(
        "policy.permissions",
        "policy that others can change",
        "The policy file, or a folder above it, can be changed by other users.",
        (
            "the file was made with a wide umask",
            "the folder is shared",
        ),
        "chmod go-w the file and its folders, and let them belong to root or to the user who runs the agent.",
    ),
    Code(
        "checkout.ssh_secret",
        "checkout with the server's SSH key",
        "The step's `checkout` has an `ssh_secret`: a key that the server hands to the agent for the clone.",
        (
            "a pipeline written for agents that take their SSH key from the server",
            "the setting was meant for another step",
        ),
        "Remove `ssh_secret` and give the agent a key of its own (`~/.ssh`, `ssh-agent`): a key that the server "
        "hands out is a key that the server has.",
    ),
    Code(
        "job.other",
        "another job than the one asked for",
        "The agent accepted one job, and the server's answer holds another; it was refused.",
        ("the control plane has a fault", "the control plane sends an agent jobs that are not meant for it"),
        "Look at the control plane's log; the agent goes on with the next job.",
    ),
    Code(
        "hook.refused",
        "the agent's own hook said no",
        "The pre-bootstrap hook of this agent was asked about the job and failed, which refuses the job.",
        ("the hook's rule does not allow this repository, pipeline or command", "the hook itself has a fault"),
        "What the hook printed is in the agent's log.",
    ),
    Code(
        "hook.startup",
        "the agent's start-up hook failed",
        "The agent-startup hook ended with another status than 0, so the agent did not start.",
        ("something the hook prepares is missing on this machine", "the hook itself has a fault"),
        "What the hook printed is in the agent's log.",
    ),
    Code(
        "health.address",
        "no address for health checks",
        "`health-check-addr` is not HOST:PORT, or nothing can listen there.",
        ("a typing mistake", "another agent on this machine has the same port", "a port below 1024 needs privileges"),
        "Give a free one, such as `127.0.0.1:8090`; a port of 0 takes any.",
    ),
    Code(
        "config.missing",
        "no such configuration file",
        "The configuration file that was named is not there or cannot be read.",
        ("a typing error in the path", "the file belongs to another user"),
        "Check the path given with --config or in BUILDKITE_AGENT_CONFIG.",
    ),
    Code(
        "config.line",
        "line that sets nothing",
        "A line of the configuration file is no key=value, comment or empty line.",
        ("a value that goes on in the next line", "a file in another format"),
        "Write one key=value a line; put values with spaces at their ends in quotes.",
    ),
    Code(
        "config.key",
        "unknown setting",
        "The configuration file has a key that no version of the agent knows.",
        ("a typing error", "a setting of another program"),
        "Correct or remove the line; `pipeseal agent start --help` lists all settings.",
    ),
    Code(
        "config.value",
        "value that a setting cannot have",
        "A setting has a value of the wrong kind, or two settings contradict each other.",
        ("a typing error", "a unit behind a number"),
        "Use a value of the kind that the message names.",
    ),
    Code(
        "config.permissions",
        "settings that others can change",
        "The agent's configuration file, or a file that it names and believes, can be changed by other users.",
        (
            "the file was made with a wide umask",
            "the folder is shared",
        ),
        "chmod go-w the file and its folders, and let them belong to root or to the user who runs the agent.",
    ),
    Code(
        "token.missing",
        "no registration token",
        "The agent was given no token to register with.",
        ("the variable or file that holds it is empty", "it was started without its configuration file"),
        "Give --token file://PATH, token=... in the configuration file, or BUILDKITE_AGENT_TOKEN.",
    ),
    Code(
        "token.unreadable",
        "token that cannot be used",
        "The token file cannot be read, or what it holds is no token.",
        ("the file belongs to another user", "the file holds more than the token"),
        "Check the path and who may read it; the file holds the token and nothing else.",
    ),
    Code(
        "endpoint.invalid",
        "address that is no Agent API",
        "The endpoint is no absolute http or https URL.",
        ("the scheme is missing", "a user name or query in the address"),
        "Give an address such as https://ci.example.org/v3.",
    ),
    Code(
        "api.unreachable",
        "no answer from the server",
        "The server could not be reached, or did not answer in time.",
        ("the server is restarting", "network or name service trouble", "a wrong address"),
        "The agent tries again by itself. If it goes on, check the endpoint and the network.",
    ),
    Code(
        "api.status",
        "the server said no",
        "The server answered with an error status; its message is shown.",
        ("a job that has ended meanwhile", "an old or wrong token", "the server has a fault"),
        "The message says what was wrong; for 401 give a current token.",
    ),
    Code(
        "api.redirect",
        "redirects are not followed",
        "The server answered with a redirect. The agent sends its token to the configured address alone.",
        ("the server has moved, or wants https", "somebody wants the token sent elsewhere"),
        "Set the endpoint to the address the server itself has.",
    ),
    Code(
        "api.answer",
        "answer that is not what it should be",
        "The server's answer is no HTTP, no JSON, or lacks what the Agent API promises.",
        ("the endpoint is not an Agent API (is the /v3 missing?)", "a proxy answers in the server's place"),
        "Check the endpoint and what is between agent and server.",
    ),
    Code(
        "api.too_long",
        "answer that is too long",
        "The server's answer is longer than the agent is willing to read.",
        ("the endpoint is not an Agent API", "somebody tries to fill the agent's memory"),
        "Check the endpoint and what is between agent and server.",
    ),
)

"""Codes of what is fetched: commits and who signed them, plugins, submodules, and the names of all that."""

from pipeseal.errors.codes.row import Code

ROWS: tuple[Code, ...] = (
    # --- who signed the commit ---
    Code(
        "commit.not_signed",
        "commit without a signature",
        "The policy wants commits that certain people signed, and this one bears no signature.",
        (
            "its author does not sign commits",
            "the merge was made by a web interface that signs with no key, or with one of its own",
            "somebody tries to run a commit that nobody vouches for",
        ),
        "Sign the commit (`git commit -S`), or the merge that brings it.",
    ),
    Code(
        "commit.bad_signature",
        "commit whose signature is not right",
        "The commit bears a signature that does not verify over it, or the repository has another object under its "
        "id.",
        ("the commit was rewritten by a tool that kept the old signature", "somebody changed the commit"),
        "Look at the commit with `git verify-commit`, and sign it again.",
    ),
    Code(
        "commit.signer_unknown",
        "commit signed by somebody else",
        "The commit is signed, and by no key that the policy's files name for signing commits now.",
        (
            "the signer's key is not in the file yet",
            "an SSH key's `valid-before` has passed, or its `namespaces` leave out git",
            "somebody tries to run a commit with their own signature",
        ),
        "If you trust the signer, add the key to `commit-signers` or `commit-keyring` of the policy.",
    ),
    Code(
        "commit.signer_expired",
        "commit signed with an expired key",
        "The key that signed the commit, or the signature itself, is expired now.",
        ("the signer prolonged the key, and the policy's file has the old copy", "an old commit is built again"),
        "Put the signer's current public key into the policy's file, or sign a new commit.",
    ),
    Code(
        "commit.signer_revoked",
        "commit signed with a revoked key",
        "The key that signed the commit is revoked.",
        ("the signer replaced the key", "the key was lost or stolen"),
        "Build a commit that is signed with a key that is believed. Find out what else the old key signed.",
    ),
    Code(
        "commit.signers",
        "those who may sign commits are not known",
        "A file that says who may sign commits cannot be read or can be changed by others, or a program that checks "
        "signatures is missing.",
        ("the path in the policy is wrong", "gpg or ssh-keygen is not installed where the agent runs"),
        "Mend what the message says; until then the jobs that need it are refused.",
    ),
    Code(
        "plugin.differs",
        "plugin that is not the sealed one",
        "The repository of a plugin does not have the commit that its version stood for when the step was sealed, or "
        "has another tree for it.",
        (
            "the plugin's tag was moved, and the old commit removed",
            "the plugin's repository was made anew",
            "somebody replaced the plugin after it was sealed",
        ),
        "Look at the plugin's repository; upload the step again, so that it is sealed with what is there now.",
    ),
    # --- plugins: where they are, what their versions stand for, and the lock that says so ---
    Code(
        "plugin.source",
        "plugin source that is no place",
        "A plugin's source does not say which repository it is in.",
        ("the source is misspelt", "a value that was to be put into the source is empty"),
        "Write `name#version`, `owner/name#version`, or host and path: "
        "`github.com/acme/lint-buildkite-plugin#v1.2.3`.",
    ),
    Code(
        "plugin.version",
        "plugin version that does not exist",
        "The plugin's repository has no tag, branch or commit of the name that the pipeline asks for.",
        (
            "the version is misspelt, or not released yet",
            "the tag was removed from the plugin's repository",
            "the version has a matrix token in it, which only stands for a version in a job",
        ),
        "Look at the tags of the plugin's repository, and name one of them or a full commit.",
    ),
    Code(
        "plugin.not_pinned",
        "plugin that was not sealed at a commit",
        "The policy says `pinned-plugins = true`, and the step's seal, or its signature alone, does not say which "
        "commit a plugin's version stood for.",
        (
            "the repository has no lock of its plugins, and the upload did not ask what their versions stand for",
            "the step is signed and not sealed",
            "the version has a matrix token in it, so that it stands for no one commit",
        ),
        "Run `pipeseal plugins lock` and commit the file, or upload with --resolve-plugins.",
    ),
    Code(
        "plugin.lock",
        "lock of plugins that cannot be read",
        "The file that says which commit each plugin version stands for is not one.",
        ("the file was merged with conflict marks left in it", "it was edited by hand"),
        "Make it again with `pipeseal plugins lock`, and review what changed.",
    ),
    Code(
        "plugin.no_lock",
        "no lock of plugins",
        "The lock of plugins that was named or that is to be checked is not there, or may not be read.",
        ("it was never made", "the command runs in another folder than the repository's"),
        "Make it with `pipeseal plugins lock`, and commit it.",
    ),
    Code(
        "plugin.unlocked",
        "plugin that is not in the lock",
        "The repository has a lock of its plugins, and the pipeline uses a plugin or version that is not in it.",
        (
            "the plugin is new, and the lock was not made again",
            "somebody added a plugin past the review of the lock",
        ),
        "Run `pipeseal plugins lock`, and let the change be reviewed.",
    ),
    Code(
        "plugin.moved",
        "plugin version that was moved",
        "A plugin's tag or branch stands for another commit than when it was locked.",
        (
            "the version is a branch, or a tag that follows releases, such as `v5`",
            "the plugin's authors moved a tag",
            "somebody took over the plugin's repository",
        ),
        "See what changed between the two commits. If you want the new one, run `pipeseal plugins lock --update`; "
        "better name a version that does not move.",
    ),
    Code(
        "git.name",
        "name that git cannot be given",
        "A branch, tag, commit or refspec is no name, or git could take it for an option.",
        ("the name is misspelt, or has blanks in it", "somebody tries to hand options to git"),
        "Use the plain name of a branch or tag, or a full object id.",
    ),
    Code(
        "checkout.differs",
        "checkout that is not what the job is for",
        "After the checkout, the commit or its tree is not the one that the job's proof names.",
        (
            "a hook or plugin checked out something else",
            "the remote hands out a damaged or forged object",
        ),
        "Look at the checkout's log; check the repository with `git fsck`.",
    ),
    Code(
        "checkout.damaged",
        "checkout with an object that is not what its id says",
        "A file, tree or commit of the checkout hashes to another id than the one it was stored under, in the clone "
        "or in the mirror that it shares with other jobs.",
        (
            "the disk has an error",
            "a process of the agent's user wrote into the mirror's object store",
            "an earlier job planted other files under the ids of these, for later jobs to run",
        ),
        "The mirror is made again by itself. Look at which jobs ran before; give pipelines that do not trust each "
        "other agents with users of their own.",
    ),
    Code(
        "submodule.host",
        "submodule from another host",
        "The repository has a submodule on another host than its own, and the policy does not say where submodules "
        "may come from. Nothing of it was fetched.",
        (
            "the project has parts on several hosts, and its policy has no `submodules` yet",
            "the submodule is named by another name of the same host",
            "somebody changed .gitmodules to bring in code, or to be sent credentials",
        ),
        "If the address is right, name it, and those of the other submodules, in `submodules` of the policy.",
    ),
    Code(
        "submodule.not_allowed",
        "submodule from elsewhere",
        "The repository has a submodule at an address that the policy's `submodules` do not allow. Nothing of it was "
        "fetched.",
        (
            "the submodule is new, and the policy does not know it",
            "a submodule of a submodule comes from another host",
            "somebody changed .gitmodules to bring in code, or to be sent credentials",
        ),
        "If the address is right, add it to `submodules` of the policy.",
    ),
)

"""Codes of the command line."""

from pipeseal.errors.codes.row import Code

ROWS: tuple[Code, ...] = (
    # --- client: commands that talk to a control plane ----------------------------------------------------------
    Code(
        "client.server",
        "no server's URL",
        "The URL given for the control plane cannot be used.",
        ("a typing error in --server or PIPESEAL_SERVER",),
        "Write it as http://127.0.0.1:8080.",
    ),
    Code(
        "client.token",
        "no API token",
        "The command has no API token for the control plane.",
        ("the server's data folder is not in its usual place", "the file belongs to another user"),
        "Name the file that the server made: --token-file DATA/api-token, or set PIPESEAL_TOKEN.",
    ),
    Code(
        "client.unreachable",
        "control plane not reached",
        "Nothing answers under the URL of the control plane.",
        ("the server is not running", "another port or host", "a firewall"),
        "Start it with `pipeseal server`, or name another with --server.",
    ),
    Code(
        "client.refused",
        "control plane says no",
        "The control plane answered with an error; the message is its own.",
        ("a name that does not exist there", "the token of another server", "a request it cannot use"),
        "Read its message; the server's code is shown beside it and can be explained too.",
    ),
    Code(
        "client.answer",
        "answer that makes no sense",
        "The control plane's answer is not what its API promises.",
        ("the URL is of another program", "a proxy answers in its place", "another version"),
        "Check the URL with --server.",
    ),
    Code(
        "client.pipeline",
        "which pipeline?",
        "No pipeline was named, and the repository here belongs to none or to several.",
        ("the command runs outside a clone", "the pipeline was created with another URL of the repository"),
        "Name it with --pipeline SLUG.",
    ),
    # --- init: setting up -------------------------------------------------------------------------------------
    Code(
        "init.exists",
        "the folder already holds keys or settings",
        "`pipeseal init` found files of its own in the folder, and it never overwrites anything.",
        ("it was run before", "the folder belongs to another set-up"),
        "Use what is there, or give another folder with `--directory`.",
    ),
    # --- git: what git said --------------------------------------------------------------------------------------
    Code(
        "git.failed",
        "git failed",
        "A git command that had to work did not; the message holds what git said.",
        ("git is not installed", "the folder or repository is not there, or may not be read"),
        "Read what git said, mend that, and try again.",
    ),
    # --- stage: demonstrations and drills ---------------------------------------------------------------------
    Code(
        "stage.not_ready",
        "a process on the stage did not get ready",
        "A demonstration or drill started one of its own processes, and it ended or stayed silent.",
        ("the machine is very busy", "a port or folder could not be used; the message holds what the process said"),
        "Read what the process said, mend that, and run the command again.",
    ),
    Code(
        "drill.twin",
        "the honest twin did not run",
        "A drill runs each attack beside the same job without the lie. That honest job did not run, so no refusal "
        "would prove anything.",
        (
            "the policy or a switch of your agent refuses such jobs; the message holds the code",
            "git or a shell is missing",
            "an attack before has broken the agent",
        ),
        "Read why it was refused; with --agent-config, name a repository and pipeline that your policy allows.",
    ),
    Code(
        "drill.got_through",
        "an attack got through",
        "An attack of the drill was not refused as it has to be, ran something, or got at a file, a connection or a "
        "secret that it must not have.",
        (
            "your settings only observe, or do not ask for what this attack needs to be refused",
            "the machine is so busy that an answer came too late",
            "a fault in the agent",
        ),
        "The message says what happened, docs/security/attacks.md which setting matters. Run it again "
        "with --scenario and --keep to look at it.",
    ),
)

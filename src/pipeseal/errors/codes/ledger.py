"""Codes of the ledger of starts."""

from pipeseal.errors.codes.row import Code

ROWS: tuple[Code, ...] = (
    Code(
        "ledger.started",
        "job that was started before",
        "An agent that shares this ledger has started the job with this id. Each try of a job has an id of its own,"
        " so no id is started twice. Nothing of it was run this time.",
        (
            "the agent was killed after it had taken the job, and the control plane hands the same job out again",
            "the control plane gave one job to two agents",
            "somebody sends an old job once more",
        ),
        "Retry the job, which gives it a new id, or start a new build.",
    ),
    Code(
        "ledger.attempts",
        "all attempts used up",
        "The job was started as often as its seal and the policy allow: the step once for each combination of its "
        "matrix and each parallel index, and its retries. What counts is what the agents started, not what the "
        "control plane says of retries; a start whose agent was killed counts too.",
        (
            "the job was retried more often than the step's `retry` allows",
            "the policy's `max-attempts` or `static-starts` is lower than that",
            "two jobs of the build are the same step with the same index",
            "somebody has a signed step run again and again",
        ),
        "Start a new build; or allow more retries in the step, or in the policy.",
    ),
    Code(
        "ledger.exclusive",
        "exclusive step that was started before",
        "The step is exclusive (`concurrency: 1`), so it starts once, on whatever agent, and it was started. "
        "Whether it came to an end does not matter: an agent that was killed may have done half of what it does.",
        (
            "the job was retried, by hand or by itself",
            "the agent that ran it was killed, and the control plane hands it out again",
            "the control plane gave it to two agents",
            "somebody has it run again, to deploy twice or at a bad moment",
        ),
        "Look at what the first start did, then start a new build.",
    ),
    Code(
        "ledger.forgotten",
        "start that the ledger may have dropped",
        "Starts are remembered until the step they concern is of no use any more. By the clock of some agent that "
        "time was over for steps that were good for as long as this one, so the ledger cannot say that it did not "
        "run.",
        (
            "the clock of one of the agents was far ahead, or this one's is far behind",
            "somebody turned a clock back to have an expired step run",
        ),
        "Set the clocks of all agents that share the ledger, then start a new build.",
    ),
    Code(
        "ledger.unavailable",
        "no ledger",
        "Nothing could be written down, so nothing says how often the job was started. The agent tries for a while,"
        " and then refuses the job: nothing runs that was not counted.",
        (
            "the database is down, or cannot be reached",
            "the disk is full, or the file cannot be written",
            "another program holds the file locked",
        ),
        "See that the file or database of the agent's `ledger` setting can be written, then retry the job.",
    ),
    Code(
        "ledger.damaged",
        "ledger that cannot be believed",
        "The ledger is not what the agent left: damaged, of another kind or version, removed or replaced while the "
        "agent used it, or an older copy of itself. An agent does not start with such a ledger, and refuses jobs "
        "when it finds out later.",
        (
            "the setting names another file or database than was meant",
            "a backup was put back while agents ran, or the file was cleaned up",
            "the disk has a fault",
            "somebody wants the agents to forget what they have run",
        ),
        "Find out what happened. Then move the ledger away and restart the agents: the new one does not know what "
        "was started before, so let jobs that are under way end, or revoke the key that signed them.",
    ),
    Code(
        "ledger.permissions",
        "ledger that others can reach",
        "Other users of the machine can read or change the ledger, or put another file in its place.",
        (
            "the file was made by another user, or copied with other permissions",
            "the folder is shared",
        ),
        "chmod 600 the file, and chmod go-w its folders; all agents that share it run as one user.",
    ),
)

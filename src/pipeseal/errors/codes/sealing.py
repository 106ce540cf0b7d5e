"""Codes of the seal."""

from pipeseal.errors.codes.row import Code

ROWS: tuple[Code, ...] = (
    # --- seal: is there one, who made it, what does it say, and does the job say the same? ----------------------
    Code(
        "seal.missing",
        "no seal",
        "The step carries no seal, and this agent runs only what is sealed.",
        (
            "the step was uploaded or signed with --no-seal or --no-bindings, or by another program",
            "the upload ran on an agent without a signing key",
            "the control plane took the seal off the step",
        ),
        "Upload or sign the step with Pipeseal. While a fleet moves over, an agent's policy can ask for signatures "
        "only.",
    ),
    Code(
        "seal.too_large",
        "seal too large",
        "A seal travels as a variable, and no program can be started with a variable beyond 128 KiB.",
        (
            "a script of several thousand lines stands in the pipeline instead of the repository",
            "somebody sends a seal that nobody made, to exhaust memory",
        ),
        "Move the script into a file of the repository, and let the step name it.",
    ),
    Code(
        "seal.malformed",
        "seal malformed",
        "The variable is not three segments of base64url with dots between them.",
        (
            "the value was cut off, or went through a program that changes long values",
            "the variable was set by hand",
            "somebody changed the seal on its way here",
        ),
        "Sign the step again.",
    ),
    Code(
        "seal.type",
        "not a seal",
        "The JWS says of itself that it is something else than a seal.",
        (
            "the key is used for other things too, and one of those was put into the variable",
            "somebody presents a signature that was made for another purpose",
        ),
        "Sign the step again. Use a key for signing steps that signs nothing else.",
    ),
    Code(
        "seal.header",
        "seal's header not allowed",
        "The header is not exactly an algorithm, a key id and the type. Members such as `crit`, `b64`, `jwk` or "
        "`jku` are never accepted, and neither is the algorithm `none`.",
        (
            "another program made the seal, and not by its specification",
            "somebody tries to choose the key or the algorithm for the verifier",
        ),
        "Sign the step again.",
    ),
    Code(
        "seal.signature",
        "the seal was not made by its key",
        "The signature over the seal is wrong: the seal was changed, or another key made it.",
        (
            "another key is used under the same key id",
            "the value was changed on its way here by a program that rewrites variables",
            "somebody changed the seal, or made one up",
        ),
        "Compare the key's thumbprint on both sides. If it is the same, keep the job's data and tell whoever looks "
        "after security.",
    ),
    Code(
        "seal.json",
        "seal's payload not readable",
        "The payload is not JSON with one meaning: a member stands twice, a number is a fraction or beyond 2**53, or "
        "the text is not UTF-8.",
        ("another program made the seal, and not by its specification",),
        "Sign the step again with a program that keeps to the specification of seals.",
    ),
    Code(
        "seal.canonical",
        "seal's payload not canonical",
        "The payload is JSON, and not in its canonical form (RFC 8785).",
        ("another program made the seal, and not by its specification",),
        "Sign the step again with a program that renders the payload by RFC 8785.",
    ),
    Code(
        "seal.version",
        "seal of another version",
        "The seal has a version that this program does not know.",
        ("the uploader is newer than this agent",),
        "Update this agent, or sign with a program as old as it.",
    ),
    Code(
        "seal.member",
        "seal's member unknown, missing or wrong",
        "A member of the seal is not known, is missing, or is not what it has to be. Nothing in a seal is optional, "
        "and nothing is ignored.",
        (
            "another program made the seal, and not by its specification",
            "the uploader is newer than this agent, and seals more",
        ),
        "Sign the step again; update the older of uploader and agent.",
    ),
    Code(
        "seal.early",
        "seal not valid yet",
        "The seal is good from a later time on.",
        (
            "the clock of the uploader is ahead, or the agent's is behind",
            "the step was signed for a later time on purpose",
        ),
        "Set the clocks, for example with NTP.",
    ),
    Code(
        "seal.expired",
        "seal expired",
        "The seal was good until a time that has passed.",
        (
            "the build waited for longer than its seals are good for",
            "the agent's clock is ahead",
            "somebody held the job back, to run it when it was no longer wanted",
        ),
        "Start a new build. Builds that have to wait longer can be uploaded with --seal-valid-for.",
    ),
    Code(
        "seal.audience",
        "sealed for others",
        "The step was sealed for another organisation, pipeline or repository, or for agents with other tags. What "
        "counts is this agent's own configuration, not what the control plane says of it.",
        (
            "the agent was started with other tags than the step asks for",
            "the step names no queue, and this agent is in another one than `default`",
            "the control plane sent the job to an agent that may not run it",
        ),
        "Compare the step's `agents` with the tags in this agent's configuration.",
    ),
    Code(
        "seal.differs",
        "the job is not what was sealed",
        "The job that the control plane sent says something else than the seal. The message names each member and "
        "variable; values are shown as digests.",
        (
            "the step was edited after it was sealed",
            "the control plane expanded a variable in the step; write `$$VAR` to have it expanded in the job",
            "the build has another commit, branch, tag or pull request than the one the step was sealed for",
            "the control plane leaves members of the step out when it hands out the job",
            "somebody changed the job on its way here",
        ),
        "Compare the named members with the pipeline's source, and upload the steps again. If nobody changed them, "
        "tell whoever looks after security.",
    ),
    Code(
        "seal.skipped",
        "sealed as skipped",
        "The step was sealed as one that is to be skipped, and the control plane wants it run.",
        (
            "the control plane does not know `skip`",
            "somebody wants a step to run that its author skipped",
        ),
        "Remove `skip` from the step, if it should run.",
    ),
    Code(
        "seal.index",
        "not one of the parallel jobs",
        "The job's number among the parallel jobs of its step is not below the sealed `parallelism`, or is missing.",
        (
            "the control plane counts parallel jobs in another way",
            "somebody wants the same step to run more often than it should",
        ),
        "Compare `parallelism` in the step with BUILDKITE_PARALLEL_JOB and BUILDKITE_PARALLEL_JOB_COUNT of the job.",
    ),
    Code(
        "seal.attempts",
        "retried too often",
        "The job was retried more often than its seal allows: once, the automatic retries of the step, and ten by "
        "hand unless the step forbids those.",
        (
            "a job that fails by chance was retried again and again",
            "the control plane retries more often than the step says",
        ),
        "Start a new build, or raise the limits in the step's `retry`.",
    ),
    Code(
        "seal.validity",
        "not how long a seal can be good for",
        "The time that seals are to be good for is not a whole number with a unit.",
        ("the unit is missing, or is one that is not known (`7days`)",),
        "Write minutes, hours or days: `90m`, `12h`, `7d`.",
    ),
    Code(
        "seal.key",
        "key without an id cannot seal",
        "A seal names its key, so that verifiers know which one to take; the key has no id (`kid`), or one that is "
        "too long.",
        ("the key was made by a program that gives no ids",),
        "Make a key with `pipeseal tool keygen`, or add a `kid` to both halves.",
    ),
    Code(
        "seal.unsealable",
        "step cannot be sealed",
        "Part of the step or pipeline cannot be put into a seal without becoming ambiguous.",
        (
            "a number with a fraction stands in a member that agents know nothing of",
            "the step names its key, label or command twice, under different names",
            "the pipeline sets PIPESEAL_SEAL itself",
        ),
        "Rewrite the named part (numbers in quotes are text), or leave the seals out with --no-seal.",
    ),
)

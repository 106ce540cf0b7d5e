"""Holding a job against its seal, and what may be run of it: everything from the seal, nothing from the job.

A server's job points to a seal. Where the two differ the job is refused, although nothing of it would be run: a
server that says other things than were sealed has a reason, or a fault, that somebody should see.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from pipeseal.errors import MalformedInput, VerificationError
from pipeseal.pipeline.matrix import interpolate_matrix
from pipeseal.pipeline.render import checkout_value
from pipeseal.pipeline.steps import Checkout, CommandStep, Plugin, Secret
from pipeseal.pipeline.values import Value
from pipeseal.signing.fields import BY_NAME, Difference, digest_of
from pipeseal.signing.job import JobDiffers
from pipeseal.signing.jws import signer_evidence
from pipeseal.signing.merge import merge_checkout
from pipeseal.signing.seal.envelope import VARIABLE, Execution, ResolvedPlugin, Seal, member_digest
from pipeseal.signing.seal.members import artifact_patterns, normal_value, seal_step
from pipeseal.signing.seal.verify import VerifiedSeal

_PROOF: Final = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedStep:
    """What may be run, all of it sealed, with matrix values put in. Only `sealed_step` makes one.

    Parameters:
        verified: the proof.
        permutation: matrix dimension to value; empty without a matrix.
        step: the step; its `env` holds the pipeline's variables too, and its `checkout` the pipeline's settings.
        command: command text.
        execution: `script`: the command names a file of the repository. `shell`: it is text for a shell, also where
            there is a file of that name.
        env: variables.
        plugins: in order, sources in full form.
        resolved: what each plugin resolved to; None where that is not known.
        secrets: by name.
        artifact_paths: patterns.
        checkout: settings; None when there are none.
        timeout_minutes: None without a limit.
        parallelism: how many jobs the step is; None when it is one.
    """

    proof: object = field(repr=False, compare=False)
    verified: VerifiedSeal
    permutation: Mapping[str, str]
    step: CommandStep
    command: str
    execution: Execution
    env: Mapping[str, str]
    plugins: tuple[Plugin, ...]
    resolved: tuple[ResolvedPlugin | None, ...]
    secrets: tuple[Secret, ...]
    artifact_paths: tuple[str, ...]
    checkout: Checkout | None
    timeout_minutes: int | None
    parallelism: int | None

    def __post_init__(self) -> None:
        if self.proof is not _PROOF:
            raise TypeError("a SealedStep is made by sealed_step, and by nothing else")

    @property
    def seal(self) -> Seal:
        """The seal it comes from."""
        return self.verified.seal


def find_seal(step: CommandStep, env: Mapping[str, str]) -> str:
    """The seal that a job carries: the step's variable, which the job repeats.

    Parameters:
        step: the job's step.
        env: the job's variables.

    Raises:
        VerificationError: `seal.missing`: there is none; `seal.differs`: there are two.
    """
    sealed, repeated = step.env.get(VARIABLE), env.get(VARIABLE)
    if not sealed:
        raise VerificationError(
            "seal.missing",
            "the step has no seal" if not repeated else "the job has a seal, and its step has none",
            help="sign the step with `pipeseal pipeline upload` or `pipeseal tool sign`, without --no-seal",
        )
    if repeated is not None and repeated != sealed:
        raise VerificationError(
            "seal.differs",
            f"the job's {VARIABLE} is not its step's",
            evidence={VARIABLE: f"step {digest_of(sealed)}, job {digest_of(repeated)}"},
            fields=[VARIABLE],
        )
    return sealed


def sealed_step(verified: VerifiedSeal, permutation: Mapping[str, str] | None = None) -> SealedStep:
    """What may be run of a seal, for one combination of its matrix.

    Parameters:
        verified: the proven seal.
        permutation: matrix dimension to value; None or empty without a matrix.

    Raises:
        VerificationError: `matrix.permutation`, `matrix.adjustment`, `matrix.skipped`, `matrix.token`: the sealed
            matrix does not allow this combination.
    """
    seal = verified.seal
    try:
        placed = interpolate_matrix(seal.step, permutation or {})
        patterns = artifact_patterns(placed.rest.get("artifact_paths"))
    except MalformedInput as error:
        raise VerificationError(error.code, error.message, help=error.help, evidence=error.evidence) from None
    inherited = seal.inherited
    own_env = placed.env
    placed.env = {**inherited.env, **own_env}
    if inherited.checkout is not None:
        placed.checkout = merge_checkout(inherited.checkout, placed.checkout)
    members = seal.members["step"]
    return SealedStep(
        proof=_PROOF,
        verified=verified,
        permutation=MappingProxyType(dict(permutation or {})),
        step=placed,
        command=placed.command,
        execution=seal.execution,
        env=MappingProxyType(placed.env),
        plugins=tuple(placed.plugins),
        resolved=seal.plugins,
        secrets=tuple(placed.secrets),
        artifact_paths=tuple(patterns),
        checkout=placed.checkout,
        timeout_minutes=members["timeout_in_minutes"],
        parallelism=members["parallelism"],
    )


def verify_sealed_job(
    verified: VerifiedSeal,
    *,
    step: CommandStep,
    env: Mapping[str, str],
    matrix_permutation: Mapping[str, str] | None,
) -> SealedStep:
    """What a job may run, after it was held against its seal.

    Plan:
        1. The job's matrix values are a combination that the sealed matrix allows; they are put into the sealed step.
        2. The job differs from the seal in no member and in no variable that repeats one, see
           `compare_job_with_seal`.

    Does not check: what `verify_seal` does not; variables that the seal says nothing of.

    Parameters:
        verified: the job's proven seal.
        step: the job's step as received.
        env: the job's variables.
        matrix_permutation: dimension to value; None when the job has none.

    Raises:
        JobDiffers: step 1 (`matrix.permutation`, `matrix.adjustment`, `matrix.skipped`, `matrix.token`) or step 2
            (`seal.differs`, or when all that is wrong is one of these: `seal.skipped`, `seal.index`,
            `seal.attempts`); all differing members are named.
    """
    signer = signer_evidence(verified.key)
    # 1.
    try:
        placed = sealed_step(verified, matrix_permutation)
    except VerificationError as error:
        raise JobDiffers(
            error.code, error.message, help=error.help, evidence=signer | error.evidence, fields=("step.matrix",)
        ) from None
    # 2.
    differences = compare_job_with_seal(placed, step=step, env=env)
    if not differences:
        return placed
    evidence = dict(signer)
    for difference in differences:
        evidence |= difference.evidence
    codes = {difference.code: None for difference in differences}
    raise JobDiffers(
        "seal.differs" if "seal.differs" in codes else next(iter(codes)),
        "; ".join(difference.message for difference in differences),
        evidence=evidence,
        fields=list(dict.fromkeys(difference.field for difference in differences)),
    )


def verify_sealed_text(
    verified: VerifiedSeal, *, step: CommandStep, env: Mapping[str, str], checkout: Checkout | None
) -> VerifiedSeal:
    """The seal, when the step stands in a pipeline's text as it was sealed.

    Plan:
        1. No member of the step differs from the sealed one.
        2. The step gets from its pipeline what it was sealed with: variables and checkout settings.

    Does not check: what `verify_seal` does not; conditions and agents that the pipeline has for all steps.

    Parameters:
        verified: the step's proven seal.
        step: the step as it stands in the text.
        env: the pipeline's variables.
        checkout: the pipeline's checkout settings.

    Raises:
        JobDiffers: `seal.differs`; all differing members are named.
    """
    seal = verified.seal
    # 1.
    differences = _compare_step(seal, step)
    # 2.
    given = {
        "env": dict(env),
        "checkout": None if checkout is None else normal_value(checkout_value(checkout), "checkout"),
    }
    for name, value in seal.members["inherited"].items():
        if member_digest(value) != member_digest(given[name]):
            message = f"the pipeline's `{name}` is not as it was sealed"
            differences.append(Difference(f"inherited.{name}", "seal.differs", message, {}))
    if differences:
        evidence = signer_evidence(verified.key)
        for difference in differences:
            evidence |= difference.evidence
        raise JobDiffers(
            "seal.differs",
            "; ".join(difference.message for difference in differences),
            evidence=evidence,
            fields=[difference.field for difference in differences],
        )
    return verified


def compare_job_with_seal(sealed: SealedStep, *, step: CommandStep, env: Mapping[str, str]) -> list[Difference]:
    """Everything in which a job is not what its seal says, by member; digests stand for values.

    Parameters:
        sealed: the seal's step for the job's matrix values.
        step: the job's step as received.
        env: the job's variables.

    Returns:
        Differences with the codes `seal.differs`, `seal.skipped`, `seal.index` and `seal.attempts`.
    """
    return [
        *_compare_step(sealed.seal, step),
        *_compare_variables(sealed, env),
        *_compare_index(sealed.parallelism, env),
        *_compare_attempt(sealed.seal, env),
        *_compare_skip(sealed.step.rest.get("skip")),
    ]


def _compare_step(seal: Seal, step: CommandStep) -> list[Difference]:
    """The step that the server sent, member by member."""
    members = seal.members["step"]
    differences = []
    if step.env.get(VARIABLE) != seal.text:
        differences.append(_differs(VARIABLE, seal.text, step.env.get(VARIABLE)))
    try:
        sent = seal_step(step, execution=seal.execution, resolved=seal.plugins)
        if len(sent["plugins"]) == len(members["plugins"]):
            # A server does not know what plugins resolve to.
            sent["plugins"] = [
                {**plugin, "commit": known["commit"], "tree": known["tree"]}
                for plugin, known in zip(sent["plugins"], members["plugins"], strict=True)
            ]
        received = {name: member_digest(value) for name, value in sent.items()}
    except (MalformedInput, VerificationError) as error:
        message = f"the job's step cannot be compared with its seal: {error.message}"
        return [*differences, Difference("step", "seal.differs", message, {})]
    for name, value in members.items():
        digest = member_digest(value)
        if received[name] != digest:
            evidence = {name: f"sealed sha256 {digest[:12]}…, received sha256 {received[name][:12]}…"}
            message = f"the step's `{name}` is not as it was sealed{_inside(name, value, sent[name])}"
            differences.append(Difference(f"step.{name}", "seal.differs", message, evidence))
    return differences


def _inside(name: str, sealed: Value, sent: Value) -> str:
    """Which members of `env` or `rest` differ: names, never values."""
    if name not in ("env", "rest"):
        return ""
    names = [
        inner
        for inner in {**sealed, **sent}
        if inner not in sealed or inner not in sent or member_digest(sealed[inner]) != member_digest(sent[inner])
    ]
    return f" ({', '.join(names)})"


def _compare_variables(sealed: SealedStep, env: Mapping[str, str]) -> list[Difference]:
    """Variables of the job that say what the seal says too."""
    seal, step = sealed.seal, sealed.step
    differences = []
    for name in ("command", "env", "plugins"):
        for row in BY_NAME[name].compare(step, env):
            differences.append(row._replace(field=f"step.{name}", code="seal.differs"))
    for variable, (member, value) in _repeated(sealed).items():
        received = env.get(variable, "")
        if value is not None and received != value:
            differences.append(_differs(variable, value, received, member=member))
    received = env.get("BUILDKITE_ARTIFACT_PATHS", "")
    if artifact_patterns(received) != list(sealed.artifact_paths):
        differences.append(
            _differs(
                "BUILDKITE_ARTIFACT_PATHS", ";".join(sealed.artifact_paths), received, member="step.artifact_paths"
            )
        )
    repeated = env.get(VARIABLE)
    if repeated is not None and repeated != seal.text:
        differences.append(_differs(VARIABLE, seal.text, repeated))
    return differences


def _repeated(sealed: SealedStep) -> dict[str, tuple[str, str | None]]:
    """Variable to the member it repeats and that member's value; None: the seal does not say."""
    seal = sealed.seal
    audience, build = seal.audience, seal.build
    minutes = sealed.timeout_minutes
    return {
        "BUILDKITE_ORGANIZATION_SLUG": ("audience.organization", audience.organization),
        "BUILDKITE_PIPELINE_SLUG": ("audience.pipeline", audience.pipeline),
        "BUILDKITE_REPO": ("audience.repository", audience.repository),
        "BUILDKITE_BUILD_ID": ("build.id", build.id if build else None),
        "BUILDKITE_COMMIT": ("build.commit", build.commit if build else None),
        "BUILDKITE_BRANCH": ("build.branch", build.branch if build else None),
        "BUILDKITE_TAG": ("build.tag", build.tag if build else None),
        "BUILDKITE_PULL_REQUEST": ("build.pull_request", build.pull_request if build else None),
        "BUILDKITE_STEP_KEY": ("step.key", seal.step.key),
        # A server may have a limit of its own for steps that have none.
        "BUILDKITE_TIMEOUT": ("step.timeout_in_minutes", None if minutes is None else str(minutes)),
    }


def _differs(what: str, sealed: str, received: str | None, *, member: str | None = None) -> Difference:
    evidence = {
        what: f"sealed {digest_of(sealed)}, {'missing' if received is None else 'received ' + digest_of(received)}"
    }
    where = f"`{member}` as it was sealed" if member else "the one that was verified"
    return Difference(member or what, "seal.differs", f"the job's {what} is not {where}", evidence)


def _compare_index(parallelism: int | None, env: Mapping[str, str]) -> list[Difference]:
    """Whether the job is one of the step's: its index is below the sealed count, which the job repeats."""
    index, count = env.get("BUILDKITE_PARALLEL_JOB", ""), env.get("BUILDKITE_PARALLEL_JOB_COUNT", "")
    if parallelism is None:
        if not index and not count:
            return []
        message = "the job is one of several, and its step was sealed as one"
    elif count == str(parallelism) and 0 <= _number(index) < parallelism and index == str(_number(index)):
        return []
    else:
        message = f"the job is not one of the {parallelism} that its step was sealed as"
    evidence = {"index": index or "none", "count": count or "none", "sealed": str(parallelism or 1)}
    return [Difference("step.parallelism", "seal.index", message, evidence)]


def _compare_attempt(seal: Seal, env: Mapping[str, str]) -> list[Difference]:
    """Whether the job says itself that it is one attempt too many. A ledger knows better; a server may lie."""
    text = env.get("BUILDKITE_RETRY_COUNT", "") or "0"
    retries = _number(text)
    if 0 <= retries < seal.attempts:
        return []
    evidence = {"attempt": str(retries + 1) if retries >= 0 else text, "sealed": str(seal.attempts)}
    message = f"the step was sealed for {seal.attempts} attempts, and this is another"
    return [Difference("attempts", "seal.attempts", message, evidence)]


def _number(text: str) -> int:
    """A whole number of at most nine digits; -1 when it is none."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 9 else -1


def _compare_skip(skip: Value) -> list[Difference]:
    if skip in (None, False, "", "false"):
        return []
    return [Difference("step.rest", "seal.skipped", "the step was sealed as one to skip", {})]

"""The decision: `evaluate` turns a claim and the operator's settings into an approved job or a refusal.

It does no I/O and lets no exception out: whatever goes wrong in here means that nothing was proven. The first lines
it gives for the job's log are the stock agent's own, word for word, so that whatever reads those keeps working; ours
follow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from pipeseal.agentapi.job import Job
from pipeseal.errors import MalformedInput, VerificationError, escape_control
from pipeseal.pipeline.jsontext import decode_json
from pipeseal.pipeline.parse import parse_command_step
from pipeseal.pipeline.plugins import config_value, full_source
from pipeseal.pipeline.steps import Plugin
from pipeseal.policy.decision import MAKER, ApprovedJob, Refused
from pipeseal.policy.explanation import explain_failure
from pipeseal.policy.settings import OnFailure, VerificationSettings
from pipeseal.signing.job import JobDiffers, VerifiedJobStep, verify_job_step
from pipeseal.signing.keys.verification_keys import VerificationKeys

_FAILED = "Job signature verification failed"
_UNPROVEN = "invalid signature: signature verification failed"
_DIFFERS = "invalid signature: job does not match signed step"
_UNSIGNED = "job had no signature to verify"
_NO_KEYS = "cannot verify signature. JWK for pipeline verification is not configured"


def evaluate(job: Job, settings: VerificationSettings) -> ApprovedJob | Refused:
    """Whether a job may run.

    1. A job whose text can be read in two ways is refused, whatever the settings say.
    2. Without keys, a job without a signature runs as it is; one with a signature fails, since it cannot be checked.
    3. With keys, the job's step must be proven, and the job must keep to it.
    4. A failure refuses the job, or with `OnFailure.WARN` is reported while the job runs as it is.
    5. Anything unexpected refuses the job, whatever the settings say.

    Parameters:
        job: what the server sent.
        settings: what the operator decided.

    Returns:
        The approved job, or the refusal; both with lines for the job's log.
    """
    try:
        # 1.
        if job.ambiguity:
            ambiguous = VerificationError("job.ambiguous", f"the job can be read in two ways: {job.ambiguity}")
            return _refuse(job, ambiguous, _stock_text(job, settings.keys))
        # 2.
        if settings.keys is None:
            return _without_keys(job, settings)
        # 3.
        try:
            proven = verify_job_step(
                job.step, env=job.env, matrix_permutation=job.matrix_permutation, keys=settings.keys
            )
        except VerificationError as error:
            # 4.
            return _fail(job, settings, error, _text_for(error))
        return _approve_proven(job, proven)
    except Exception as error:
        fault = VerificationError("verification.fault", f"verification itself failed ({type(error).__name__})")
        return _refuse(job, fault, "verification itself failed")


def _text_for(error: VerificationError) -> str:
    """The stock agent's words for a failure; there are three."""
    if error.code == "signature.missing":
        return _UNSIGNED
    return _DIFFERS if isinstance(error, JobDiffers) else _UNPROVEN


def _stock_text(job: Job, keys: VerificationKeys | None) -> str:
    """What the stock agent would say of an ambiguous job in its own reading, if that fails too."""
    if job.step.signature is None:
        return _UNSIGNED
    if keys is not None:
        try:
            verify_job_step(job.step, env=job.env, matrix_permutation=job.matrix_permutation, keys=keys)
        except VerificationError as error:
            return _text_for(error)
    return _UNPROVEN


def _without_keys(job: Job, settings: VerificationSettings) -> ApprovedJob | Refused:
    if job.step.signature is None:
        return _approve_unproven(job, log=())
    error = VerificationError(
        "key.none",
        "the job's step is signed, and this agent has no keys to verify it with",
        help="give the agent verification keys",
    )
    if settings.on_failure is OnFailure.BLOCK:
        return _refuse(job, error, _NO_KEYS)
    # The stock agent prints its block mark here even when the job goes on.
    lines = (f"+++ ⛔ {_FAILED}", f"error: {_NO_KEYS}")
    return _approve_unproven(job, log=(*lines, *explain_failure(error, refused=False)), warnings=(error.message,))


def _fail(job: Job, settings: VerificationSettings, error: VerificationError, text: str) -> ApprovedJob | Refused:
    if settings.on_failure is OnFailure.BLOCK:
        return _refuse(job, error, text)
    lines = (
        f"+++ ⚠️ {_FAILED}",
        f"error: {text}",
        *_signature_lines(job, text),
        "Job will be run without verification",
    )
    return _approve_unproven(
        job,
        log=(*lines, *explain_failure(error, refused=False)),
        warnings=(f"would be refused with {error.code}: {error.message}",),
    )


def _signature_lines(job: Job, text: str) -> tuple[str, ...]:
    if text == _UNSIGNED:
        return ("no signature in job",)
    if text in (_UNPROVEN, _DIFFERS) and job.step.signature is not None:
        return (f"signature: {escape_control(job.step.signature.value)}",)
    return ()


def _refuse(job: Job, error: VerificationError, text: str) -> Refused:
    lines = (f"+++ ⛔ {_FAILED}", f"error: {text}", *_signature_lines(job, text))
    return Refused(
        job_id=job.id,
        code=error.code,
        reason=error.message,
        fields=error.fields,
        evidence=MappingProxyType(error.evidence),
        log=(*lines, *explain_failure(error, refused=True)),
        warnings=(f"refused with {error.code}: {error.message}",),
    )


def _approve_proven(job: Job, proven: VerifiedJobStep) -> ApprovedJob:
    step, verified = proven.step, proven.verified
    assert step.signature is not None  # it was verified
    key = verified.key
    return ApprovedJob(
        maker=MAKER,
        job_id=job.id,
        step=step,
        command=step.command,
        plugins=_in_full(step.plugins),
        env=MappingProxyType({**job.env, **step.env, **verified.environment}),
        proven_variables=frozenset(step.env) | frozenset(verified.environment),
        repository_url=verified.repository_url,
        commit=job.env.get("BUILDKITE_COMMIT", ""),
        branch=job.env.get("BUILDKITE_BRANCH", ""),
        verified=verified,
        log=(
            "~~~ ✅ Job signature verified",
            f"signature: {step.signature.value}",
            f"signed by: {escape_control(key.kid)} ({key.thumbprint[:8]}…)",
        ),
    )


def _approve_unproven(job: Job, *, log: tuple[str, ...], warnings: tuple[str, ...] = ()) -> ApprovedJob | Refused:
    """The job as the server wants it: command and plugins from its variables, as the stock agent runs it."""
    try:
        plugins = _plugins_of(job.env)
    except MalformedInput as error:
        unreadable = VerificationError("job.malformed", f"the job's BUILDKITE_PLUGINS cannot be read: {error}")
        return _refuse(job, unreadable, unreadable.message)
    return ApprovedJob(
        maker=MAKER,
        job_id=job.id,
        step=job.step,
        command=job.env.get("BUILDKITE_COMMAND", ""),
        plugins=plugins,
        env=job.env,
        proven_variables=frozenset(),
        repository_url=job.env.get("BUILDKITE_REPO", ""),
        commit=job.env.get("BUILDKITE_COMMIT", ""),
        branch=job.env.get("BUILDKITE_BRANCH", ""),
        verified=None,
        log=log,
        warnings=warnings,
    )


def _plugins_of(env: Mapping[str, str]) -> tuple[Plugin, ...]:
    text = env.get("BUILDKITE_PLUGINS", "")
    if not text:
        return ()
    return _in_full(parse_command_step({"plugins": decode_json(text, source="BUILDKITE_PLUGINS")}).plugins)


def _in_full(plugins: Iterable[Plugin]) -> tuple[Plugin, ...]:
    return tuple(Plugin(full_source(plugin.source), config_value(plugin.config)) for plugin in plugins)

"""The decision: `evaluate` turns a claim and the operator's settings into an approved job or a refusal.

It does no I/O and lets no exception out: whatever goes wrong in here means that nothing was proven. The first lines
it gives for the job's log are the stock agent's own, word for word, so that whatever reads those keeps working; ours
follow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from pipeseal.agentapi.job import Job
from pipeseal.errors import MalformedInput, VerificationError, escape_control
from pipeseal.pipeline.jsontext import decode_json
from pipeseal.pipeline.parse import parse_command_step
from pipeseal.pipeline.steps import Plugin
from pipeseal.policy.decision import MAKER, ApprovedJob, Refused
from pipeseal.policy.environment import look_at_names
from pipeseal.policy.explanation import explain_failure
from pipeseal.policy.facts import Facts, Finding, LocalFacts
from pipeseal.policy.judge import ORGANIZATION, PIPELINE, claimed_facts, judge_job, start_of
from pipeseal.policy.policy import Mode, Policy
from pipeseal.policy.proof import ProvenJob, plugins_in_full, prove_job, prove_signature
from pipeseal.policy.settings import OnFailure, VerificationSettings
from pipeseal.policy.starts import request_start
from pipeseal.signing.job import JobDiffers, verify_job_step
from pipeseal.signing.keys.verification_keys import VerificationKeys

POLICY_SIGNAL = "agent_refused"
MAX_FIELDS = 20

# How a log shows what would be refused: folded away while the operator looks on, open once everybody is warned.
_GROUPS = {Mode.OBSERVE: "~~~", Mode.WARN: "+++"}

_FAILED = "Job signature verification failed"
_UNPROVEN = "invalid signature: signature verification failed"
_DIFFERS = "invalid signature: job does not match signed step"
_UNSIGNED = "job had no signature to verify"
_NO_KEYS = "cannot verify signature. JWK for pipeline verification is not configured"


def evaluate(job: Job, settings: VerificationSettings, local: LocalFacts | None = None) -> ApprovedJob | Refused:
    """Whether a job may run.

    1. A job whose text can be read in two ways is refused, whatever the settings say.
    2. Without keys, a job without a signature runs as it is; one with a signature fails, since it cannot be checked.
    3. With keys, the job's step must be proven, and the job must keep to it.
    4. A failure refuses the job, or in a mode that does not enforce is reported while the job runs as it is.
    5. With a policy, a proven job is judged by the policy's rules and its variables by the table of variables.
    6. What the agent's own switches forbid is refused in any case, proven or not.
    7. Anything unexpected refuses the job, whatever the settings say.

    Parameters:
        job: what the server sent.
        settings: what the operator decided.
        local: what the agent knows by itself; needed with a policy.

    Returns:
        The approved job, or the refusal; both with lines for the job's log.
    """
    decision = _evaluate(job, settings, local)
    # Where the policy was not asked for a mode, it is that of jobs that prove nothing.
    mode = decision.mode or (None if settings.keys is None else settings.unproven_mode)
    return decision if decision.mode is mode else replace(decision, mode=mode)


def _evaluate(job: Job, settings: VerificationSettings, local: LocalFacts | None) -> ApprovedJob | Refused:
    """The decision; the numbers are those of `evaluate`."""
    try:
        # 1.
        if job.ambiguity:
            ambiguous = VerificationError("job.ambiguous", f"the job can be read in two ways: {job.ambiguity}")
            return _refuse(job, ambiguous, _stock_text(job, settings.keys))
        # 2.
        if settings.keys is None:
            return _within_switches(job, _without_keys(job, settings), settings)
        # 3.
        try:
            if settings.policy is None:
                return _approve_proven(
                    job, prove_signature(job, settings.keys), now=local.now if local is not None else 0.0
                )
            assert local is not None, "a policy is judged with what the agent knows"
            proven = prove_job(job, settings.keys, local)
        except VerificationError as error:
            # 4.
            return _within_switches(job, _fail(job, settings, error, _text_for(error)), settings)
        # 5. and 6.
        return _judge(job, proven, settings, settings.policy, local)
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
        return _approve_unproven(job, None, log=())
    error = VerificationError(
        "key.none",
        "the job's step is signed, and this agent has no keys to verify it with",
        help="give the agent verification keys",
    )
    if settings.unproven_mode is Mode.ENFORCE:
        return _refuse(job, error, _NO_KEYS)
    # The stock agent prints its block mark here even when the job goes on.
    lines = (f"+++ ⛔ {_FAILED}", f"error: {_NO_KEYS}")
    return _approve_unproven(
        job, error, log=(*lines, *explain_failure(error, refused=False)), warnings=(error.message,)
    )


def _fail(job: Job, settings: VerificationSettings, error: VerificationError, text: str) -> ApprovedJob | Refused:
    mode = settings.unproven_mode
    if mode is Mode.ENFORCE:
        return _refuse(job, error, text)
    lines = (
        f"{_GROUPS[mode]} ⚠️ {_FAILED}",
        f"error: {text}",
        *_signature_lines(job, text),
        "Job will be run without verification",
    )
    return _approve_unproven(
        job,
        error,
        log=(*lines, *explain_failure(error, refused=False)),
        warnings=(f"would be refused with {error.code}: {error.message}",),
    )


def _within_switches(
    job: Job, decision: ApprovedJob | Refused, settings: VerificationSettings
) -> ApprovedJob | Refused:
    """A job that runs unproven still keeps to the agent's own switches, and has names that are names."""
    if isinstance(decision, Refused) or settings.policy is None:
        return decision
    facts = claimed_facts(job.env, decision.command, decision.plugins)
    findings = [finding for rule in settings.policy.switches if (finding := rule.judge(facts)) is not None]
    findings += look_at_names(job.env)
    if findings:
        return _refuse_by_policy(job, findings, section="", log=decision.log, observed=decision.findings)
    return replace(decision, limits=settings.policy.switch_limits)


def _judge(
    job: Job, proven: ProvenJob, settings: VerificationSettings, policy: Policy, local: LocalFacts
) -> ApprovedJob | Refused:
    """A proven job by the policy."""
    approved = _approve_proven(job, proven, now=local.now)
    judgement = judge_job(job, proven, policy, local)
    findings, applied = judgement.findings, judgement.applied
    mode = Mode.WARN if settings.on_failure is OnFailure.WARN else applied.mode
    observed = mode is not Mode.ENFORCE
    never = [verdict.finding for verdict in judgement.verdicts[: len(policy.switches)] if verdict.finding is not None]
    if findings and (never or not observed):
        refused = _refuse_by_policy(job, never or findings, section=applied.title, log=approved.log)
        return replace(refused, mode=mode)
    warned = _would_refuse(findings, mode)
    return replace(
        approved,
        env=MappingProxyType(judgement.variables.variables),
        informational=judgement.variables.informational,
        texts=MappingProxyType(judgement.variables.texts),
        left_out=judgement.variables.left_out,
        commit=judgement.facts.commit,
        branch=judgement.facts.branch,
        place=_place(judgement.facts),
        start=start_of(job, proven, applied, now=local.now, observed=observed),
        limits=applied.limits,
        section=applied.title,
        mode=mode,
        findings=findings,
        log=(*approved.log, *warned),
        warnings=tuple(f"would be refused with {finding.code}: {finding.message}" for finding in findings),
    )


def _place(facts: Facts) -> tuple[str, str] | None:
    """Organisation and pipeline when both are proven, to name folders with; None when they are the server's word."""
    if ORGANIZATION in facts.proven and PIPELINE in facts.proven:
        return facts.organization, facts.pipeline
    return None


def _would_refuse(findings: Sequence[Finding], mode: Mode) -> list[str]:
    if not findings:
        return []
    lines = [f"{_GROUPS[mode]} ⚠️ This job would be refused; the policy only {mode.value}s"]
    for finding in findings:
        lines += explain_failure(_error_of(finding), refused=False)
    return lines


def _refuse_by_policy(
    job: Job,
    findings: Sequence[Finding],
    *,
    section: str,
    log: tuple[str, ...],
    observed: Sequence[Finding] = (),
) -> Refused:
    first = findings[0]
    others = [f"refused[{finding.code}] too: {escape_control(finding.message)}" for finding in findings[1:]]
    lines = ("+++ ⛔ Refused by this agent's policy", *others)
    error = _error_of(first)
    return Refused(
        job_id=job.id,
        code=first.code,
        reason=first.message,
        fields=first.fields,
        evidence=MappingProxyType(dict(first.evidence)),
        signal_reason=POLICY_SIGNAL,
        log=(*log, *lines, *explain_failure(error, refused=True, signal_reason=POLICY_SIGNAL)),
        warnings=(f"refused with {first.code}: {first.message}",),
        findings=(*findings, *observed),
        section=section,
    )


def _error_of(finding: Finding) -> VerificationError:
    return VerificationError(
        finding.code, finding.message, evidence=dict(finding.evidence), fields=_shortened(finding.fields)
    )


def _shortened(fields: tuple[str, ...]) -> tuple[str, ...]:
    return fields if len(fields) <= MAX_FIELDS else (*fields[:MAX_FIELDS], f"and {len(fields) - MAX_FIELDS} more")


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
        findings=(_finding_of(error),),
    )


def _finding_of(error: VerificationError) -> Finding:
    return Finding(code=error.code, message=error.message, evidence=error.evidence, fields=error.fields)


def _approve_proven(job: Job, proven: ProvenJob, *, now: float) -> ApprovedJob:
    signature = job.step.signature
    assert signature is not None  # it was verified
    key = proven.key
    how = [f"sealed: sha256 {proven.seal_digest}"] if proven.seal_digest else []
    return ApprovedJob(
        maker=MAKER,
        job_id=job.id,
        step=proven.step,
        command=proven.command,
        plugins=proven.plugins,
        env=MappingProxyType({**job.env, **proven.environment}),
        proven_variables=frozenset(proven.environment),
        repository_url=proven.repository,
        commit=proven.commit or job.env.get("BUILDKITE_COMMIT", ""),
        branch=proven.environment.get("BUILDKITE_BRANCH", job.env.get("BUILDKITE_BRANCH", "")),
        verified=proven.verified,
        proof=proven.proof,
        execution=proven.execution,
        resolved=proven.resolved,
        checkout=proven.checkout,
        tree=proven.tree,
        seal_digest=proven.seal_digest,
        start=request_start(job, proven, now=now),
        log=(
            "~~~ ✅ Job signature verified",
            f"signature: {signature.value}",
            f"signed by: {escape_control(key.kid)} ({key.thumbprint[:8]}…)",
            *how,
        ),
    )


def _approve_unproven(
    job: Job, why: VerificationError | None, *, log: tuple[str, ...], warnings: tuple[str, ...] = ()
) -> ApprovedJob | Refused:
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
        checkout=job.step.checkout,
        commit=job.env.get("BUILDKITE_COMMIT", ""),
        branch=job.env.get("BUILDKITE_BRANCH", ""),
        verified=None,
        log=log,
        warnings=warnings,
        findings=() if why is None else (_finding_of(why),),
    )


def _plugins_of(env: Mapping[str, str]) -> tuple[Plugin, ...]:
    text = env.get("BUILDKITE_PLUGINS", "")
    if not text:
        return ()
    return plugins_in_full(parse_command_step({"plugins": decode_json(text, source="BUILDKITE_PLUGINS")}).plugins)

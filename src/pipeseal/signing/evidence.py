"""Evidence: what a control plane shows of a build's steps, held against the keys that whoever looks trusts.

A page judges the same with code that the control plane delivered; this is for checking with code from elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from math import nan
from typing import Any, Final, NamedTuple, TypeGuard

from pipeseal.errors import MalformedInput, VerificationError
from pipeseal.pipeline.commandstep import parse_command_step
from pipeseal.pipeline.matrix import verify_permutation
from pipeseal.pipeline.steps import Matrix
from pipeseal.signing.fields import BY_NAME, ENVIRONMENT_PREFIX, FIELDS
from pipeseal.signing.jws import signer_evidence, verify_jws
from pipeseal.signing.keys.verification_keys import TrustedKey, VerificationKeys
from pipeseal.signing.payload import render_canonical, render_payload
from pipeseal.signing.seal.envelope import VARIABLE
from pipeseal.signing.seal.parse import parse_seal
from pipeseal.signing.seal.verify import DEFAULT_QUEUE, VerifiedSeal, verify_seal
from pipeseal.signing.strictjson import decode_strict_json

TYPE: Final = "pipeseal-evidence"
VERSION: Final = 1

# The time of a start is by the control plane's clock, and the seal's by the uploader's.
_CLOCKS_SECONDS: Final = 600
# Binding to what the evidence shows under it: where, and what a missing value means.
_BUILD_FACTS: Final = {
    "BUILDKITE_BUILD_ID": ("id", ""),
    "BUILDKITE_COMMIT": ("commit", ""),
    "BUILDKITE_BRANCH": ("branch", ""),
    "BUILDKITE_TAG": ("tag", ""),
    "BUILDKITE_PULL_REQUEST": ("pull_request", "false"),
}
_ALWAYS: Final = frozenset(row.name for row in FIELDS if row.mandatory == "always")


class ShownJob(NamedTuple):
    """A job as the control plane shows it, with what it says was signed.

    Parameters:
        name: label or key, for people.
        job: members of the job.
        step: members of its `signed-step`; None when the control plane delivered none.
    """

    name: str
    job: Mapping[str, Any]
    step: Mapping[str, Any] | None


class Evidence(NamedTuple):
    """A build as the control plane shows it.

    Parameters:
        server: where it is from.
        organization, pipeline: slugs.
        build: members of the build.
        jobs: its script jobs.
    """

    server: str
    organization: str
    pipeline: str
    build: Mapping[str, Any]
    jobs: tuple[ShownJob, ...]


class ProvenStep(NamedTuple):
    """What was proven of a shown job's step. Only `verify_shown_job` makes one.

    Parameters:
        key: the trusted key that signed it.
        matrix: the matrix that was signed.
        seal: the seal that was signed with it; None when it has none.
    """

    key: TrustedKey
    matrix: Matrix | None
    seal: VerifiedSeal | None


def make_evidence(
    *, server: str, organization: str, pipeline: str, build: Mapping[str, Any], jobs: list[Any], steps: list[Any]
) -> Evidence:
    """Evidence from what a control plane answered.

    Parameters:
        jobs: the build's jobs; only those that run something count.
        steps: the build's `signed-steps`.

    Raises:
        MalformedInput: `evidence.malformed`.
    """
    if not all(isinstance(one, dict) for one in (build, *jobs, *steps)):
        raise _malformed("a build, a job or a step is not an object")
    by_id = {str(step.get("job_id")): step for step in steps}
    wanted = [job for job in jobs if job.get("type", "script") == "script"]
    shown = tuple(
        ShownJob(str(job.get("label") or job.get("step_key") or "a step"), job, by_id.get(str(job.get("id"))))
        for job in wanted
    )
    return Evidence(server, organization, pipeline, build, shown)


def parse_evidence(data: bytes, *, source: str) -> Evidence:
    """Evidence as a build's Trust tab saves it.

    Parameters:
        data: JSON text.
        source: where it is from, for errors.

    Raises:
        MalformedInput: `evidence.malformed`, and as `decode_strict_json`.
    """
    document = decode_strict_json(data, source=source)
    if not isinstance(document, dict) or document.get("type") != TYPE or document.get("version") != VERSION:
        raise _malformed("it is not evidence of this version")
    texts = {name: document.get(name) for name in ("server", "organization", "slug")}
    if not all(isinstance(text, str) for text in texts.values()):
        raise _malformed("it does not say where it is from")
    jobs, steps, build = document.get("jobs"), document.get("steps"), document.get("build")
    if not isinstance(jobs, list) or not isinstance(steps, list) or not isinstance(build, dict):
        raise _malformed("it lacks its build, jobs or steps")
    return make_evidence(
        server=str(texts["server"]),
        organization=str(texts["organization"]),
        pipeline=str(texts["slug"]),
        build=build,
        jobs=jobs,
        steps=steps,
    )


def verify_shown_job(shown: ShownJob, evidence: Evidence, keys: VerificationKeys) -> ProvenStep:
    """What a trusted key signed of a job's step, proven to be what the control plane shows.

    Plan:
        1. There is a signature, and what it covers was delivered.
        2. It covers what every signature must, nothing unknown, and exactly what was delivered.
        3. A trusted key signed the canonical payload.
        4. What was signed is what is shown: command, matrix values, organisation, pipeline, build, commit, branch,
           tag, pull request and step, as far as each is signed.
        5. A seal among it is of a trusted key, whole, for the same organisation, pipeline, repository and build, and
           of the same step, command, variables and plugins; good when the job started, as the control plane tells it;
           and for the agents that the control plane gives the job to.

    Does not check: that an agent ran the step, or anything that happened then; which tags an agent really has, and
    when it really started; that no step was left out, which `find_left_out` does.

    Raises:
        VerificationError: `signature.missing`; `evidence.withheld`, `evidence.missing`; `field.none`,
            `field.unknown`, `field.not_signed`, `field.repeated`, `signature.mismatch`; as `verify_jws`;
            `evidence.differs`, as `verify_permutation`; as `verify_seal`. Checked in this order.
    """
    # 1.
    step = shown.step or {}
    signature, payload = step.get("signature"), step.get("payload")
    if shown.step is not None and signature is None:
        raise VerificationError("signature.missing", "the step has no signature")
    if not _is_object(signature) or not _is_object(payload) or not _is_object(payload.get("values")):
        withheld, problem = step.get("withheld"), step.get("problem")
        if _is_object(signature) and withheld:
            raise VerificationError(
                "evidence.withheld",
                f"the control plane does not show strangers what was signed: it holds {withheld}",
                help="read it with an API token (--token-file)",
            )
        why = str((problem.get("message") if _is_object(problem) else "") or "it says nothing of it")
        raise VerificationError("evidence.missing", f"the control plane does not deliver what was signed: {why}")
    algorithm, fields, value = (signature.get(name) for name in ("algorithm", "signed_fields", "value"))
    values: Mapping[str, Any] = payload["values"]
    if not isinstance(algorithm, str) or not isinstance(value, str) or not _is_texts(fields):
        raise VerificationError("signature.malformed", "the signature lacks its algorithm, fields or value")
    # 2.
    _check_fields(fields, values)
    if payload.get("alg") != algorithm:
        raise VerificationError("signature.mismatch", "what is delivered is of another algorithm than the signature")
    # 3.
    key = verify_jws(value, render_payload(algorithm, values), keys, algorithm=algorithm)
    # 4.
    matrix = _check_shown(values, shown, evidence, key)
    # 5.
    variables = values["env"]
    sealed = _is_object(variables) and VARIABLE in variables
    seal = _check_seal(str(variables[VARIABLE]), values, shown, evidence, keys) if sealed else None
    return ProvenStep(key, matrix, seal)


def _check_fields(fields: list[str], values: Mapping[str, Any]) -> None:
    unknown = [name for name in fields if name not in BY_NAME and not name.startswith(ENVIRONMENT_PREFIX)]
    lacking = sorted(_ALWAYS - set(fields))
    if not fields:
        raise VerificationError("field.none", "the signature covers no fields")
    if unknown:
        names = ", ".join(unknown)
        raise VerificationError("field.unknown", f"the signature covers fields that are not known here: {names}")
    if lacking:
        names = ", ".join(lacking)
        raise VerificationError("field.not_signed", f"the signature does not cover what it must: {names}")
    if len(set(fields)) != len(fields):
        raise VerificationError("field.repeated", "the signature lists fields twice")
    if set(fields) != values.keys():
        raise VerificationError("signature.mismatch", "what the control plane delivers are not the signed fields")


def _check_shown(values: Mapping[str, Any], shown: ShownJob, evidence: Evidence, key: TrustedKey) -> Matrix | None:
    seen: dict[str, Any] = {
        "BUILDKITE_ORGANIZATION_SLUG": evidence.organization,
        "BUILDKITE_PIPELINE_SLUG": evidence.pipeline,
    }
    # What is left out counts as nothing: a signature that is for something does not fit it.
    for name, (member, nothing) in _BUILD_FACTS.items():
        seen[name] = _fact(evidence.build, member) or nothing
    seen["BUILDKITE_STEP_KEY"] = shown.job.get("step_key") or ""
    differing = [name for name, fact in seen.items() if values.get(ENVIRONMENT_PREFIX + name, fact) != fact]
    command = shown.job.get("command")
    if command is not None and values["command"] != ("\n".join(command) if _is_texts(command) else command):
        differing.append("command")
    if differing:
        raise VerificationError(
            "evidence.differs",
            f"the step was signed for another {', '.join(differing)} than the control plane shows",
            evidence=signer_evidence(key),
            fields=differing,
        )
    return _check_matrix(values["matrix"], shown.job.get("matrix") or {}, key)


def _check_matrix(signed: Any, chosen: Any, key: TrustedKey) -> Matrix | None:
    try:
        matrix = parse_command_step({"command": "", "matrix": signed}).matrix
    except MalformedInput as error:
        raise VerificationError(error.code, error.message, evidence=signer_evidence(key)) from None
    if not _is_object(chosen) or not all(isinstance(one, str) for one in chosen.values()):
        raise VerificationError("evidence.differs", "the job's matrix values are none", fields=["matrix"])
    verify_permutation(matrix, chosen)
    return matrix


def _check_seal(
    text: str, values: Mapping[str, Any], shown: ShownJob, evidence: Evidence, keys: VerificationKeys
) -> VerifiedSeal:
    try:
        claimed = parse_seal(text)
    except MalformedInput as error:
        raise VerificationError(error.code, error.message, help=error.help) from None
    started = shown.job.get("started_at")
    verified = verify_seal(
        text,
        keys,
        now=claimed.not_before if started is None else _seconds(started),
        organization=evidence.organization,
        pipeline=evidence.pipeline,
        repository=values["repository_url"],
        leeway_seconds=_CLOCKS_SECONDS,
    )
    seal = verified.seal
    build = seal.members["build"] or {}
    differing = [
        member
        for member, nothing in _BUILD_FACTS.values()
        if build.get(member) is not None and build[member] != (_fact(evidence.build, member) or nothing)
    ]
    step = seal.members["step"]
    differing += [
        name
        for name, sealed, signed in (
            ("key", step["key"], shown.job.get("step_key") or ""),
            ("plugins", [(one["source"], one["config"]) for one in step["plugins"]], _plugins(values["plugins"])),
            ("command", step["command"], values["command"]),
            ("env", step["env"], {name: one for name, one in values["env"].items() if name != VARIABLE}),
        )
        if sealed != signed
    ]
    if differing:
        raise VerificationError(
            "seal.differs", f"the step was sealed with another {', '.join(differing)}", fields=differing
        )
    # docs/spec/seal.md section 6, number 6; rules that are left out count as none.
    _check_agents(seal.audience.agents, shown.job.get("agent_query_rules"))
    return verified


def _check_agents(sealed: Iterable[str], told: Any) -> None:
    rules = [_with_queue(map(str, one)) for one in (sealed, told if isinstance(told, list) else ())]
    if rules[0] != rules[1]:
        raise VerificationError(
            "seal.audience",
            f"the step was sealed for agents with {', '.join(sorted(rules[0]))}, and the control plane gives it to "
            f"agents with {', '.join(sorted(rules[1]))}",
            fields=["audience.agents"],
        )


def _with_queue(rules: Iterable[str]) -> set[str]:
    found = set(rules)
    return found if any(rule.startswith("queue=") for rule in found) else {*found, f"queue={DEFAULT_QUEUE}"}


def _seconds(moment: Any) -> float:
    """A time of the control plane's as seconds since 1970; one that is none is NaN, at which no seal is good."""
    try:
        parsed = datetime.fromisoformat(moment)
    except (TypeError, ValueError):
        return nan
    return parsed.timestamp() if parsed.tzinfo is not None else nan


def _plugins(signed: Any) -> Any:
    """Signed plugins as a seal has them: source, and configuration as canonical text."""
    try:
        return [
            (source, None if config is None else render_canonical(config).decode())
            for one in signed or ()
            for source, config in one.items()
        ]
    except (AttributeError, TypeError):
        return signed


def _fact(build: Mapping[str, Any], member: str) -> Any:
    fact = build.get(member)
    return fact.get("id") if member == "pull_request" and isinstance(fact, dict) else fact


def _is_object(value: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)


def _is_texts(value: Any) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _malformed(why: str) -> MalformedInput:
    return MalformedInput(
        "evidence.malformed",
        f"the evidence cannot be read: {why}",
        help="save it on the build's Trust tab, or give the build's address in its place",
    )

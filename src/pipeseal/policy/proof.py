"""Proving a job: by its signature, and by its seal where it has one. What runs is then built from the proof alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from pipeseal.agentapi.job import Job
from pipeseal.errors import VerificationError
from pipeseal.pipeline.plugins import config_value, full_source
from pipeseal.pipeline.steps import Checkout, CommandStep, Plugin
from pipeseal.policy.facts import LocalFacts, Proof
from pipeseal.signing.job import JobDiffers, verify_job_step
from pipeseal.signing.keys.verification_keys import TrustedKey, VerificationKeys
from pipeseal.signing.seal.compare import SealedStep, find_seal, verify_sealed_job
from pipeseal.signing.seal.envelope import VARIABLE, ResolvedPlugin, Seal
from pipeseal.signing.seal.verify import verify_seal
from pipeseal.signing.verify import VerifiedStep, verify_step

Execution = Literal["shell", "script", "either"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenJob:
    """What a proof says of a job, whichever kind of proof it is.

    Parameters:
        step: the step with matrix values put in. By a signature alone, only what `verified` names is proven of it.
        command: command text.
        execution: how it is run; `either` when the proof does not say: as a script where there is one of that name.
        plugins: in order, sources in full form.
        resolved: what each plugin's version stood for when it was sealed; None where nobody said.
        environment: all proven variables.
        repository: URL.
        commit, tree: object ids that the proof names; empty when it names none.
        checkout: checkout settings; None when there are none.
        verified: the step's signature, proven.
        key: who made the proof.
        proof: what kind it is.
        seal: the seal, proven; None without one.
    """

    step: CommandStep
    command: str
    execution: Execution
    plugins: tuple[Plugin, ...]
    resolved: tuple[ResolvedPlugin | None, ...]
    environment: Mapping[str, str]
    repository: str
    commit: str
    tree: str
    checkout: Checkout | None
    verified: VerifiedStep
    key: TrustedKey
    proof: Proof
    seal: Seal | None = None

    @property
    def seal_digest(self) -> str:
        """The seal's name in ledgers and receipts; empty without a seal."""
        return "" if self.seal is None else self.seal.digest


def prove_signature(job: Job, keys: VerificationKeys) -> ProvenJob:
    """A job, proven by its signature alone, as the ecosystem's agent does it.

    Parameters:
        job: what the server sent.
        keys: the trusted keys.

    Raises:
        VerificationError: as `verify_job_step`.
    """
    proven = verify_job_step(job.step, env=job.env, matrix_permutation=job.matrix_permutation, keys=keys)
    verified, step = proven.verified, proven.step
    plugins = plugins_in_full(step.plugins)
    return ProvenJob(
        step=step,
        command=step.command,
        execution="either",
        plugins=plugins,
        resolved=(None,) * len(plugins),
        environment=MappingProxyType({**step.env, **verified.environment}),
        repository=verified.repository_url,
        commit=verified.environment.get("BUILDKITE_COMMIT", ""),
        tree="",
        checkout=step.checkout,
        verified=verified,
        key=verified.key,
        proof=Proof.SIGNATURE,
    )


def prove_job(job: Job, keys: VerificationKeys, local: LocalFacts) -> ProvenJob:
    """A job, proven by its signature, and by its seal if it carries one.

    Plan:
        1. The signature is checked in any case. What no signature can be compared with (checkout settings) a seal
           can: with one, that alone is no failure.
        2. With a seal, in the step or in the job's variables, the job is proven by it or not at all: a seal that
           does not hold is not made up for by a signature.
        3. The seal is for now and for this agent's tags, and the job keeps to it.

    Does not check: that policy asks for a seal; how often the seal was used.

    Parameters:
        job: what the server sent.
        keys: the trusted keys.
        local: the time, and the agent's own tags.

    Raises:
        VerificationError: as `verify_job_step`, `find_seal`, `verify_seal` and `verify_sealed_job`.
    """
    carries_seal = VARIABLE in job.step.env or VARIABLE in job.env
    # 1.
    try:
        proven = prove_signature(job, keys)
    except JobDiffers as error:
        if not carries_seal or (error.code, error.fields) != ("field.uncheckable", ("checkout",)):
            raise
        repository = job.env.get("BUILDKITE_REPO", "")
        verified = verify_step(job.step, env=job.env, repository_url=repository, keys=keys)
    else:
        if not carries_seal:
            return proven
        verified = proven.verified
    # 2.
    text = find_seal(job.step, job.env)
    # 3.
    seal = verify_seal(text, keys, now=local.now, agent_tags=local.tags)
    sealed = verify_sealed_job(seal, step=job.step, env=job.env, matrix_permutation=job.matrix_permutation)
    if seal.key.kid != verified.key.kid:
        raise VerificationError(
            "seal.differs",
            f"the step was sealed by {seal.key.kid!r} and signed by {verified.key.kid!r}",
            help="sign it again, with one key",
            fields=["signature"],
        )
    build = sealed.seal.build
    return ProvenJob(
        step=sealed.step,
        command=sealed.command,
        execution=sealed.execution,
        plugins=plugins_in_full(sealed.plugins),
        resolved=sealed.resolved,
        environment=MappingProxyType({**verified.environment, **sealed_variables(sealed), VARIABLE: text}),
        repository=sealed.seal.audience.repository,
        commit=(build.commit if build is not None else None) or "",
        tree=(build.tree if build is not None else None) or "",
        checkout=sealed.checkout,
        verified=verified,
        key=seal.key,
        proof=Proof.SEAL,
        seal=sealed.seal,
    )


def sealed_variables(sealed: SealedStep) -> dict[str, str]:
    """The variables that a seal proves: those of the step and its pipeline, and those that repeat what it says."""
    seal, step = sealed.seal, sealed.step
    build = seal.build
    said: dict[str, str | None] = {
        "BUILDKITE_ORGANIZATION_SLUG": seal.audience.organization,
        "BUILDKITE_PIPELINE_SLUG": seal.audience.pipeline,
        "BUILDKITE_STEP_KEY": step.key or None,
        "BUILDKITE_LABEL": step.label,
        "BUILDKITE_ARTIFACT_PATHS": ";".join(sealed.artifact_paths),
        "BUILDKITE_TIMEOUT": None if sealed.timeout_minutes is None else str(sealed.timeout_minutes),
        "BUILDKITE_PARALLEL_JOB_COUNT": None if sealed.parallelism is None else str(sealed.parallelism),
    }
    if build is not None:
        said |= {
            "BUILDKITE_BUILD_ID": build.id,
            "BUILDKITE_COMMIT": build.commit,
            "BUILDKITE_BRANCH": build.branch,
            "BUILDKITE_TAG": build.tag,
            "BUILDKITE_PULL_REQUEST": build.pull_request,
        }
    variables = checkout_variables(sealed.checkout)
    variables |= {name: value for name, value in said.items() if value is not None}
    return {**variables, **sealed.env}


def checkout_variables(checkout: Checkout | None) -> dict[str, str]:
    """Checkout settings as the variables that a server translates them to, and agents read."""
    if checkout is None:
        return {}
    values: dict[str, str] = {}
    rest = checkout.rest
    flags, sparse = rest.get("flags"), rest.get("sparse")
    for name, setting in (
        ("BUILDKITE_SKIP_CHECKOUT", checkout.skip),
        ("BUILDKITE_GIT_SUBMODULES", checkout.submodules),
        ("BUILDKITE_GIT_LFS_ENABLED", rest.get("lfs")),
    ):
        if isinstance(setting, bool):
            values[name] = "true" if setting else "false"
    for name in ("clone", "fetch", "checkout", "clean"):
        if isinstance(flags, dict) and isinstance(flags.get(name), str):
            values[f"BUILDKITE_GIT_{name.upper()}_FLAGS"] = str(flags[name])
    if isinstance(sparse, dict):
        if isinstance(sparse.get("paths"), list):
            values["BUILDKITE_GIT_SPARSE_CHECKOUT_PATHS"] = ",".join(str(path) for path in sparse["paths"])
        if isinstance(sparse.get("mode"), str):
            values["BUILDKITE_GIT_SPARSE_CHECKOUT_MODE"] = str(sparse["mode"])
    if isinstance(rest.get("commit_verification"), str):
        values["BUILDKITE_GIT_COMMIT_VERIFICATION"] = str(rest["commit_verification"])
    if checkout.depth is not None:
        for name in ("BUILDKITE_GIT_CLONE_FLAGS", "BUILDKITE_GIT_FETCH_FLAGS"):
            values[name] = f"{values.get(name, '')} --depth={checkout.depth}".strip()
    return values


def plugins_in_full(plugins: Iterable[Plugin]) -> tuple[Plugin, ...]:
    """Plugins with their sources in full form and configurations in the form that agents read."""
    return tuple(Plugin(full_source(plugin.source), config_value(plugin.config)) for plugin in plugins)

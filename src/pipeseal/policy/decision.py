"""The two answers there are: a job that may run, and one that was refused, each with what to tell people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from pipeseal.pipeline.steps import CommandStep, Plugin
from pipeseal.signing.verify import VerifiedStep

# Only `evaluate.py` passes this on; everyone else gets a TypeError instead of an ApprovedJob.
MAKER: Final = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovedJob:
    """A job that may run, with everything the agent runs it from. Only `evaluate` makes one.

    What the signed step says comes from the signed step; what it does not say is the server's word.

    Parameters:
        job_id: the job's id.
        step: the step with matrix values put in. Only members named in `verified.signed_fields` are proven.
        command: command text.
        plugins: plugins in order, sources in full form.
        env: the job's variables; for a verified job those of the step and the signed ones have their proven values.
        proven_variables: names in `env` whose values are proven.
        repository_url: where the code is.
        commit: the commit to check out, as the job names it.
        branch: the branch the job names.
        verified: the proof; None when nothing was proven (no keys, or a failure that the operator only wants
            reported).
        log: lines for the job's log, in order.
        warnings: sentences for the agent's own log.
    """

    maker: object = field(repr=False)
    job_id: str
    step: CommandStep
    command: str
    plugins: tuple[Plugin, ...]
    env: Mapping[str, str]
    proven_variables: frozenset[str]
    repository_url: str
    commit: str
    branch: str
    verified: VerifiedStep | None
    log: tuple[str, ...]
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.maker is not MAKER:
            raise TypeError("an ApprovedJob is made by policy.evaluate, and by nothing else")


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A job that must not run. Nothing of it has happened: no hook, no checkout, no command.

    Parameters:
        job_id: the job's id.
        code: what to explain, see `errors.codes`.
        reason: one sentence.
        fields: signed fields that differ or are missing.
        evidence: names and what was compared; digests in place of values.
        exit_status: what to report; -1 means that there is none.
        signal_reason: what to report beside it, in the protocol's words.
        log: lines for the job's log, in order.
        warnings: sentences for the agent's own log.
    """

    job_id: str
    code: str
    reason: str
    fields: tuple[str, ...] = ()
    evidence: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    exit_status: int = -1
    signal_reason: str = "signature_rejected"
    log: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

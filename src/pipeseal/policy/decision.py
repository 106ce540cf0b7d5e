"""The two answers there are: a job that may run, and one that was refused, each with what to tell people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from pipeseal.pipeline.steps import Checkout, CommandStep, Plugin
from pipeseal.policy.environment import LeftOut
from pipeseal.policy.facts import Finding, Proof
from pipeseal.policy.policy import Mode
from pipeseal.policy.proof import Execution
from pipeseal.policy.rules import NO_LIMITS, Limits
from pipeseal.policy.starts import StartRequest
from pipeseal.signing.seal.envelope import ResolvedPlugin
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
        env: the job's variables, as far as the policy lets the server set them; those of the step and the signed ones
            have their proven values.
        proven_variables: names in `env` whose values are proven.
        informational: names in `env` and `texts` whose values are the server's word, checked by type and length.
        texts: free text of the server, handed over as files; name of the variable to text.
        left_out: variables of the server that the job does not get, and why.
        place: organisation and pipeline, as far as they are proven; None when they are not.
        repository_url: where the code is.
        commit: the commit to check out, as the job names it.
        branch: the branch the job names.
        verified: the proof; None when nothing was proven (no keys, or a failure that the operator only wants
            reported).
        proof: what kind of proof; None when nothing was proven.
        execution: how the command is run; `either` when nobody says: as a script where there is one of that name.
        resolved: what the version of each plugin stood for when it was sealed; None where nobody said.
        checkout: checkout settings of the step and its pipeline; None when there are none.
        seal_digest: the seal's name in ledgers and receipts; empty without a seal.
        tree: object id of the tree that the commit must have; empty when no proof names one.
        start: what the agent's ledger has to be asked before the job starts; None when nothing was proven.
        limits: what the runner has to see to.
        section: the part of the policy that was applied.
        findings: why the job would be refused if the policy were enforced.
        mode: what would have happened to the job, had anything been wrong with it; None without keys to verify with.
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
    informational: frozenset[str] = frozenset()
    texts: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    left_out: tuple[LeftOut, ...] = ()
    place: tuple[str, str] | None = None
    proof: Proof | None = None
    execution: Execution = "either"
    resolved: tuple[ResolvedPlugin | None, ...] = ()
    checkout: Checkout | None = None
    seal_digest: str = ""
    tree: str = ""
    start: StartRequest | None = None
    limits: Limits = NO_LIMITS
    section: str = ""
    findings: tuple[Finding, ...] = ()
    mode: Mode | None = None

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
        findings: everything that the job would have to be refused for, the first of it being `code`.
        section: the part of the policy that was applied; empty when it did not come to that.
        mode: what the settings say of jobs like it; it was refused because they enforce, or whatever they say.
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
    findings: tuple[Finding, ...] = ()
    section: str = ""
    mode: Mode | None = None

"""What rules judge: the facts of one job, which of them are proven, and what the agent knows by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING

from pipeseal.pipeline.steps import Plugin

if TYPE_CHECKING:
    from pipeseal.signing.keys.verification_keys import TrustedKey
    from pipeseal.signing.seal.envelope import ResolvedPlugin


class Proof(Enum):
    """How a job's step is proven, the weaker first."""

    SIGNATURE = "signature"
    SEAL = "seal"


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalFacts:
    """What the agent knows without asking what the job says.

    Parameters:
        job_id: the job it accepted.
        agent_id, agent_name: under which it is registered.
        tags: its own tags, each `name=value`.
        now: seconds since the epoch.
    """

    job_id: str
    agent_id: str
    agent_name: str
    now: float
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """One job, as far as rules look at it.

    Parameters:
        organization, pipeline, commit, branch, tag, pull_request: from the proof where it covers them, else the
            server's word; empty when nobody says.
        proven: which of these names are proven.
        is_static: the step was sealed outside a build, and for no commit: the seal says that it may run, and
            nothing of when.
        repository: URL, proven unless the job is not verified at all.
        command: command text.
        plugins: plugins in order, sources in full form.
        resolved: what each plugin's version stood for when it was sealed; None, or nothing, where nobody said.
        key: who signed; None when the job is not verified.
        proof: how it is proven; None when it is not.
        attempt: which attempt this is, from 1, as the server counts.
        now: seconds since the epoch.
    """

    organization: str
    pipeline: str
    repository: str
    commit: str
    branch: str
    tag: str
    pull_request: str
    command: str
    plugins: tuple[Plugin, ...]
    key: TrustedKey | None
    proof: Proof | None
    now: float
    attempt: int = 1
    proven: frozenset[str] = frozenset()
    is_static: bool = False
    resolved: tuple[ResolvedPlugin | None, ...] = ()

    @property
    def is_pull_request(self) -> bool:
        """Whether the job says that it is of a pull request."""
        return self.pull_request not in {"", "false"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Why a job is refused, or would be in observe mode.

    Parameters:
        code: what to explain, see `errors.codes`.
        message: one lower-case sentence with the names it is about.
        evidence: names and what was compared.
        fields: the variables or fields it is about.
    """

    code: str
    message: str
    evidence: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    fields: tuple[str, ...] = ()

"""What all jobs of an agent share, and how a job can end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pipeseal.agent.decisions import DecisionLog
from pipeseal.agent.guardian import Guardian
from pipeseal.agent.ledger.ledger import Ledger
from pipeseal.agent.processes import Ended, Why
from pipeseal.agent.settings import AgentSettings
from pipeseal.agent.trust import Trust
from pipeseal.agentapi.messages import Refusal
from pipeseal.clock import Clock
from pipeseal.tracing.spans import Tracing


@dataclass(frozen=True, slots=True)
class JobContext:
    """What all jobs of an agent share.

    Parameters:
        settings: the operator's.
        trust: whose signatures are believed, and the policy; read again when its files change.
        decisions: where each decision is noted; None for nowhere.
        base: variables of the agent that every job gets.
        launcher: folder that holds our `buildkite-agent`.
        clock: the time.
        ledger: where starts are written down; None for an agent that verifies nothing.
        guardian: cleans up when the agent dies without a word.
        tracing: where spans go; None for nowhere.
    """

    settings: AgentSettings
    trust: Trust
    base: Mapping[str, str]
    launcher: Path
    clock: Clock
    ledger: Ledger | None
    guardian: Guardian | None = None
    decisions: DecisionLog | None = None
    tracing: Tracing | None = None


class JobOutcome(NamedTuple):
    """How a job ended."""

    ended: Ended
    signal_reason: str = ""
    refusal: Refusal | None = None

    @property
    def name(self) -> str:
        """One of `health.OUTCOMES`."""
        if self.refusal is not None:
            return "refused"
        if self.signal_reason in {Why.CANCELLED.value, Why.AGENT_STOPS.value}:
            return "cancelled"
        return "passed" if self.ended.status == 0 else "failed"

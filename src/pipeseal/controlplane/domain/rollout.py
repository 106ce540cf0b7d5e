"""How far a pipeline's agents have come on the way from observing to enforcing, and when the next stage may begin.

All of it from what agents told: a proposal for people, who set the mode where the agents are. Nothing here sets it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

# What an agent may say of its policy, the weaker first; `off`: it has no keys to verify with.
STAGES: Final = ("off", "observe", "warn", "enforce")
PROOFS: Final = ("none", "signature", "seal")
# What a newer agent may say, and this server does not know.
UNKNOWN: Final = "unknown"

DAY: Final = 86_400_000_000
# So long each stage is held, and so long nothing may have been found before the last one.
STAGE_DAYS: Final = 7


@dataclass(frozen=True, slots=True)
class AgentStage:
    """An agent as its latest job shows it.

    Parameters:
        name: the agent's.
        version: of its program.
        mode: one of `STAGES`, `UNKNOWN`, or None where it told nothing.
        jobs: how many of its jobs were looked at.
        last_at: the end of the latest, microseconds since the epoch.
    """

    name: str
    version: str
    mode: str | None
    jobs: int
    last_at: int


@dataclass(frozen=True, slots=True)
class Span:
    """When a mode was told of: the ends of the first and the last such job, microseconds since the epoch."""

    first_at: int
    last_at: int


@dataclass(frozen=True, slots=True)
class Rollout:
    """Where a pipeline stands, and what comes next.

    Parameters:
        stage: the weakest mode of the agents that verify; `off` when none does; None when no agent told.
        since: since when no weaker one was told of, microseconds since the epoch; None without a stage.
        next: the next stage; None when there is none, or nothing is known.
        on: from when on it may begin, not before now; None when first something else has to be done.
        in_the_way: agents that verify nothing, or tell nothing, and take jobs that others would refuse.
    """

    stage: str | None = None
    since: int | None = None
    next: str | None = None
    on: int | None = None
    in_the_way: tuple[str, ...] = ()


def plan_rollout(
    agents: Sequence[AgentStage], spans: Mapping[str, Span], *, last_observed_at: int | None, now: int
) -> Rollout:
    """Where a pipeline stands, and what comes next.

    Observing and warning are held for `STAGE_DAYS` each. Enforcing begins when, besides, nothing was found in as many
    days, and no agent is left that verifies nothing.

    Parameters:
        agents: those that ended jobs of it lately.
        spans: for each mode, when it was told of.
        last_observed_at: the end of the latest job that would have been refused.
        now: microseconds since the epoch.
    """
    recent = [agent for agent in agents if agent.last_at >= now - STAGE_DAYS * DAY] or list(agents)
    in_the_way = tuple(agent.name for agent in recent if agent.mode not in STAGES[1:])
    told = [agent.mode for agent in recent if agent.mode in STAGES]
    verifying = [mode for mode in told if mode != "off"]
    if not told:
        return Rollout(in_the_way=in_the_way)
    stage = min(verifying or told, key=STAGES.index)
    # Agents without keys come and go beside those that verify; they are named, and say nothing of the others' stage.
    weaker = [spans[mode].last_at for mode in STAGES[1 : STAGES.index(stage)] if mode in spans]
    first = min(spans[mode].first_at for mode in STAGES[STAGES.index(stage) :] if mode in spans)
    since = max(weaker, default=first)
    held = since + STAGE_DAYS * DAY
    match stage:
        case "off":
            return Rollout(stage, since, "observe", None, in_the_way)
        case "observe":
            return Rollout(stage, since, "warn", max(now, held), in_the_way)
        case "warn":
            quiet = held if last_observed_at is None else max(held, last_observed_at + STAGE_DAYS * DAY)
            return Rollout(stage, since, "enforce", None if in_the_way else max(now, quiet), in_the_way)
    return Rollout(stage, since, None, None, in_the_way)

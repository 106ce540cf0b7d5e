"""How a scenario ended."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from pipeseal.lab.scenario import Scenario


class State(Enum):
    """How a scenario ended."""

    REFUSED = "refused"
    HARMLESS = "no effect"
    GOT_THROUGH = "got through"
    NOT_SHOWN = "not shown"
    NOT_YET = "not yet"


class Result(NamedTuple):
    """How a scenario ended.

    Parameters:
        scenario: which.
        state: `HARMLESS`: nobody looks at what was changed, or what comes of it is harmless; no refusal is
            needed.
            `NOT_SHOWN`: its honest twin did not run, so that a refusal would prove nothing.
        codes: of the refusals that came, each once.
        attempts: how many jobs or answers were lied about.
        problem: what got through, or what could not be shown; empty when all is well.
        checked: what was looked at, in a few words each.
        seconds: how long it took.
    """

    scenario: Scenario
    state: State
    codes: tuple[str, ...] = ()
    attempts: int = 0
    problem: str = ""
    checked: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether the attack got nothing."""
        return self.state in (State.REFUSED, State.HARMLESS)

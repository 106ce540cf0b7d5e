"""How a step stands and how it came out so far, from the states of its jobs."""

from __future__ import annotations

from collections.abc import Sequence

from pipeseal.controlplane.domain.job import ENDED, HELD, UNSUCCESSFUL, JobState


def step_state(states: Sequence[JobState]) -> str:
    """How a step stands, in the ecosystem's words.

    Parameters:
        states: of its jobs, those left out that were retried.
    """
    if not states:
        return "ignored"
    if all(state in ENDED for state in states):
        return "finished"
    if any(state in HELD or state in ENDED for state in states):
        failing = any(state in UNSUCCESSFUL for state in states)
        return "failing" if failing else "running"
    return "waiting_for_dependencies" if JobState.WAITING in states else "ready"


def step_outcome(states: Sequence[JobState], *, soft: Sequence[bool]) -> str:
    """How a step came out so far, in the ecosystem's words.

    Parameters:
        states: as for `step_state`.
        soft: of each, whether its failure is a soft one.
    """
    bad = [is_soft for state, is_soft in zip(states, soft, strict=True) if state in UNSUCCESSFUL]
    if bad:
        return "soft_failed" if all(bad) else "hard_failed"
    return "passed" if states and all(state is JobState.PASSED for state in states) else "neutral"

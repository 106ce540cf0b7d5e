"""The state of a build, derived from its jobs and from nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from pipeseal.controlplane.domain.job import ACTIVE, ENDED, HELD, LEFT_OUT, UNSUCCESSFUL, JobState


class BuildState(StrEnum):
    """Where a build is in its life."""

    SCHEDULED = "scheduled"  # nothing has started yet
    RUNNING = "running"
    FAILING = "failing"  # still running, and cannot pass any more
    BLOCKED = "blocked"  # only a person can move it on
    CANCELING = "canceling"
    PASSED = "passed"
    FAILED = "failed"
    CANCELED = "canceled"
    SKIPPED = "skipped"  # a newer build of its branch made it needless before it began


FINISHED = frozenset({BuildState.PASSED, BuildState.FAILED, BuildState.CANCELED, BuildState.SKIPPED})


def derive_state(
    jobs: Iterable[tuple[JobState, bool, int]], *, cancel_asked: bool, superseded: bool = False
) -> BuildState:
    """The state of a build.

    Parameters:
        jobs: `(state, soft_failed, count)` for the jobs of the build; retried ones left out.
        cancel_asked: whether somebody cancelled the build.
        superseded: a newer build made it needless before it began.

    Returns:
        The build's state; `passed` for a build without jobs.
    """
    failed = started = active = held = blocked = waiting = False
    for state, soft_failed, _count in jobs:
        failed = failed or (state in UNSUCCESSFUL and not soft_failed)
        started = started or state in HELD or (state in ENDED and state not in LEFT_OUT)
        active = active or state in ACTIVE
        held = held or state in HELD
        blocked = blocked or state is JobState.BLOCKED
        waiting = waiting or state is JobState.WAITING
    if cancel_asked:
        return BuildState.CANCELING if held else BuildState.CANCELED
    if superseded and not (active or blocked or waiting):
        return BuildState.SKIPPED
    if active:
        if failed:
            return BuildState.FAILING
        return BuildState.RUNNING if started else BuildState.SCHEDULED
    if blocked:
        return BuildState.BLOCKED
    if waiting:
        return BuildState.RUNNING
    return BuildState.FAILED if failed else BuildState.PASSED

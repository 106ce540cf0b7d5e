"""The states of a job: one table of allowed moves, and what each state means to everybody else.

The names are the ecosystem's. Two of its states do not occur here: `assigned` (an offer made in answer to a ping
lives in memory for some seconds; until an agent accepts it the job stays `scheduled`) and `finished` (shown as
`passed` or `failed`).
"""

from __future__ import annotations

from enum import StrEnum

from pipeseal.errors import MalformedInput


class JobState(StrEnum):
    """Where a job is in its life."""

    WAITING = "waiting"  # for steps before it
    WAITING_FAILED = "waiting_failed"  # a step it needs did not pass, so it never runs
    BLOCKED = "blocked"  # for a person
    BLOCKED_FAILED = "blocked_failed"  # a step before this block did not pass
    LIMITED = "limited"  # runnable, but its concurrency group is full
    SCHEDULED = "scheduled"  # for an agent
    ACCEPTED = "accepted"  # an agent has it, nothing has run yet
    RUNNING = "running"
    CANCELING = "canceling"  # the agent has been asked to stop it
    TIMING_OUT = "timing_out"  # likewise, because its time was up
    PASSED = "passed"
    FAILED = "failed"
    CANCELED = "canceled"
    TIMED_OUT = "timed_out"
    SKIPPED = "skipped"  # on purpose: `skip`, replaced, or in a build that a newer one made needless
    BROKEN = "broken"  # left out of this build: `branches` or `if` say so; counts as skipped


_S = JobState
_NEVER_RUN = frozenset({_S.CANCELED, _S.SKIPPED})

MOVES: dict[JobState, frozenset[JobState]] = {
    _S.WAITING: frozenset({_S.SCHEDULED, _S.LIMITED, _S.BLOCKED, _S.PASSED, _S.WAITING_FAILED, _S.BLOCKED_FAILED})
    | _NEVER_RUN,
    # A manual retry of what failed gives those behind it another chance.
    _S.WAITING_FAILED: frozenset({_S.WAITING}),
    _S.BLOCKED: frozenset({_S.PASSED}) | _NEVER_RUN,
    _S.BLOCKED_FAILED: frozenset({_S.WAITING}),
    _S.LIMITED: frozenset({_S.SCHEDULED}) | _NEVER_RUN,
    # The last three are of trigger steps, which no agent takes.
    _S.SCHEDULED: frozenset({_S.ACCEPTED, _S.RUNNING, _S.PASSED, _S.FAILED}) | _NEVER_RUN,
    # Back to `scheduled`: its agent vanished before it started anything.
    _S.ACCEPTED: frozenset({_S.RUNNING, _S.SCHEDULED, _S.PASSED, _S.FAILED, _S.CANCELING, _S.CANCELED}),
    _S.RUNNING: frozenset({_S.PASSED, _S.FAILED, _S.CANCELING, _S.TIMING_OUT}),
    _S.CANCELING: frozenset({_S.CANCELED}),
    _S.TIMING_OUT: frozenset({_S.TIMED_OUT, _S.CANCELING}),
    _S.PASSED: frozenset(),
    _S.FAILED: frozenset(),
    _S.CANCELED: frozenset(),
    _S.TIMED_OUT: frozenset(),
    _S.SKIPPED: frozenset(),
    _S.BROKEN: frozenset(),
}

# With an agent, which holds a working job token; a trigger step that runs waits for its build.
HELD = frozenset({_S.ACCEPTED, _S.RUNNING, _S.CANCELING, _S.TIMING_OUT})
# Something will happen without anybody's help: an agent takes it, or ends it.
ACTIVE = HELD | {_S.SCHEDULED, _S.LIMITED}
# Ended. The last two can be woken again by a manual retry of another job, and only so.
ENDED = frozenset(
    {_S.PASSED, _S.FAILED, _S.CANCELED, _S.TIMED_OUT, _S.SKIPPED, _S.BROKEN, _S.WAITING_FAILED, _S.BLOCKED_FAILED}
)
# Ended, and those that need it must not run (unless its failure is a soft one).
UNSUCCESSFUL = ENDED - {_S.PASSED, _S.SKIPPED, _S.BROKEN}
# Left out on purpose: a barrier that was left out holds nobody back.
LEFT_OUT = frozenset({_S.SKIPPED, _S.BROKEN})
# What occupies a place in a concurrency group.
OCCUPYING = HELD | {_S.SCHEDULED}
RETRYABLE = frozenset({_S.FAILED, _S.TIMED_OUT, _S.CANCELED, _S.PASSED})


def move(current: JobState, wanted: JobState) -> JobState:
    """`wanted`, when a job may go there from `current`.

    Raises:
        MalformedInput: `state.move`, the table has no such move.
    """
    if wanted not in MOVES[current]:
        raise MalformedInput("state.move", f"a job that is {current} cannot become {wanted}")
    return wanted


def quote_states(states: frozenset[JobState]) -> str:
    """`states` as the inside of an SQL `IN (...)`: they are our own constants, never input."""
    return ", ".join(f"'{state}'" for state in sorted(states))

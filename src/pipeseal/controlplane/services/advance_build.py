"""After anything changed in a build: let waiting steps go on, fill concurrency groups, derive the build's state.

Runs inside the transaction that changed something, so that no crash can leave a build half-way. Also the one place
where a job that an agent holds is ended, and where jobs are stopped.
"""

from __future__ import annotations

import logging
from sqlite3 import Row
from typing import TYPE_CHECKING, Any

import msgspec

from pipeseal.controlplane.domain.build import FINISHED, BuildState, derive_state
from pipeseal.controlplane.domain.job import ACTIVE, HELD, JobState, move
from pipeseal.controlplane.domain.retry import NO_STATUS, Ending, adjusted_soft_fail, is_soft, wants_retry
from pipeseal.controlplane.domain.settle import Verdict, settle
from pipeseal.controlplane.services.events import TRIGGERS, build_topic, log_topic
from pipeseal.controlplane.services.note_event import note_job_end, note_state
from pipeseal.controlplane.store import builds as build_store
from pipeseal.controlplane.store import jobs as job_store
from pipeseal.controlplane.store import steps as step_store
from pipeseal.controlplane.store.database import Transaction
from pipeseal.controlplane.store.logs import load_log_state, seal_log

if TYPE_CHECKING:
    from pipeseal.controlplane.services.plane import ControlPlane

_log = logging.getLogger("pipeseal.server")


class _StepRules(msgspec.Struct):
    """What a step says about the end of its jobs."""

    retry: object = None
    soft_fail: object = None
    matrix: object = None
    notify: object = None


def advance_build(
    tx: Transaction,
    plane: ControlPlane,
    build_id: str,
    *,
    now: int,
    requeued: bool = False,
    ended_step: str | None = None,
) -> None:
    """Let a build go on as far as it can, and tell those who wait.

    Parameters:
        now: the time of this transaction, microseconds since the epoch.
        requeued: the transaction has itself put jobs into the queue.
        ended_step: the step of the job that ended, when nothing else happened; settling is left out where that
            cannot have let anything go on.
    """
    states = job_store.count_states(tx, build_id)
    waiting = any(state is JobState.WAITING for state, _, _ in states)
    if waiting and ended_step is not None and not requeued:
        waiting = _may_unlock(tx, build_id, ended_step, {state for state, _, _ in states})
    # Whatever happened in this build may have ended its claim to places in its concurrency groups.
    groups = [] if requeued else job_store.groups_of_build(tx, build_id)
    if waiting:
        _apply_verdicts(tx, plane, build_id, now)
    for group in groups:
        requeued = _admit(tx, plane, group, build_id, now) or requeued
    if waiting or groups:
        states = job_store.count_states(tx, build_id)
    build = build_store.get_build(tx, build_id)
    state = _state(tx, build, states)
    if state is BuildState.FAILING and _cancel_on_failing(tx, plane, build_id, now):
        # Jobs that ended here may have let waiting steps go on, and left places in groups, as any end of a job does.
        advance_build(tx, plane, build_id, now=now)
    elif build_store.set_state(tx, build_id, state, now=now):
        note_state(tx, plane, build, state, now=now)
        if state in FINISHED or state is BuildState.BLOCKED:
            _tell_trigger(tx, plane, build, state, now)
        if state in FINISHED:
            number = build["number"]
            tx.after_commit(lambda: _log.info("build %s (#%d) %s", build_id, number, state))
    ready = job_store.ready_jobs(tx, build_id=build_id, since=now) if waiting or requeued else []
    if ready:
        tx.after_commit(lambda: plane.events.call(lambda: plane.dispatcher.add_all(ready)))
    tx.after_commit(lambda: plane.events.publish(build_topic(build_id)))
    traces = plane.build_traces
    if traces is not None:
        tx.after_commit(lambda: traces.tell_later(build_id, now))


def _state(tx: Transaction, build: Row, states: list[tuple[JobState, bool, int]]) -> BuildState:
    state = derive_state(
        states, cancel_asked=build["cancel_asked_at"] is not None, superseded=build["superseded_by"] is not None
    )
    if state is BuildState.RUNNING and job_store.has_promised_failure(tx, build["id"]):
        return BuildState.FAILING
    return state


def _may_unlock(tx: Transaction, build_id: str, step_id: str, states: set[JobState]) -> bool:
    """Whether the end of one job can have let a waiting step go on.

    A step counts once all of its jobs have ended. Where no step names others, only barriers hold steps back; then
    whatever is open stands before the first barrier that is shut, and keeps it shut.
    """
    if step_store.is_open(tx, step_id):
        return False
    return not (states & (ACTIVE | {JobState.BLOCKED})) or step_store.has_needs(tx, build_id)


def note_progress(tx: Transaction, plane: ControlPlane, build_id: str, *, now: int) -> None:
    """A job of a build was accepted or began: nothing can go on by that, but the build is under way."""
    before = build_store.get_build(tx, build_id)
    if build_store.set_running(tx, build_id, now=now):
        note_state(tx, plane, before, BuildState.RUNNING, now=now)
    tx.after_commit(lambda: plane.events.publish(build_topic(build_id)))


def _apply_verdicts(tx: Transaction, plane: ControlPlane, build_id: str, now: int) -> None:
    """Move the jobs of every step that can be decided about."""
    triggers = 0
    for step_id, (verdict, reason) in settle(step_store.step_views(tx, build_id)).items():
        where = "step_id = :step_id AND state = 'waiting'"
        if verdict is Verdict.NEVER:
            manual, other = f"{where} AND kind = 'manual'", f"{where} AND kind <> 'manual'"
            job_store.move_jobs(tx, JobState.WAITING_FAILED, other, now=now, reason=reason, step_id=step_id)
            job_store.move_jobs(tx, JobState.BLOCKED_FAILED, manual, now=now, reason=reason, step_id=step_id)
            continue
        free = f"{where} AND kind = 'script' AND concurrency_group IS NULL"
        if job_store.move_jobs(tx, JobState.SCHEDULED, free, now=now, step_id=step_id):
            continue
        bound = f"{where} AND kind = 'script'"
        job_store.move_jobs(tx, JobState.LIMITED, bound, now=now, step_id=step_id)
        trigger = f"{where} AND kind = 'trigger'"
        triggers += job_store.move_jobs(tx, JobState.SCHEDULED, trigger, now=now, step_id=step_id)
        job_store.move_jobs(tx, JobState.PASSED, f"{where} AND kind = 'waiter'", now=now, step_id=step_id)
        job_store.move_jobs(tx, JobState.BLOCKED, f"{where} AND kind = 'manual'", now=now, step_id=step_id)
    if triggers:
        tx.after_commit(lambda: plane.events.publish(TRIGGERS))


def _admit(tx: Transaction, plane: ControlPlane, group: str, build_id: str, now: int) -> bool:
    """Fill a concurrency group; other builds whose jobs may go on now are told and brought up to date too.

    Returns:
        Whether jobs of the build itself may go on.
    """
    admitted = dict.fromkeys(job_store.admit_limited(tx, group, now=now))
    for other in admitted:
        if other != build_id:
            advance_build(tx, plane, other, now=now, requeued=True)
    return build_id in admitted


def stop_jobs(tx: Transaction, plane: ControlPlane, where: str, *, reason: str, now: int, **parameters: Any) -> bool:
    """Stop jobs that have not ended: those that have not begun never will, agents are asked to stop the others.

    The caller brings the build up to date.

    Parameters:
        where: an SQL condition over `jobs`.
        reason: why, for people.
        parameters: for `where`.

    Returns:
        Whether there was something to stop.
    """
    rows = tx.all(
        f"SELECT id, kind, state, concurrency_group, triggered_build_id FROM jobs "  # noqa: S608  (constants of this program; values are parameters)
        f"WHERE ({where}) AND finished_at IS NULL AND state <> 'canceling'",
        **parameters,
    )
    if not rows:
        return False
    not_begun = f"({where}) AND state IN ('waiting', 'blocked', 'limited', 'scheduled')"
    job_store.move_jobs(tx, JobState.CANCELED, not_begun, now=now, reason=reason, **parameters)
    deadline = now + int(plane.settings.cancel_timeout * 1_000_000)
    job_store.ask_to_stop(tx, JobState.CANCELING, where, deadline=deadline, **parameters)
    for group in {row["concurrency_group"]: row for row in rows}.values():
        leave_group(tx, plane, group, now=now)
    for row in rows:
        if row["triggered_build_id"] is not None:
            triggered = build_store.get_build(tx, row["triggered_build_id"])
            cancel_build(tx, plane, triggered, now=now, reason=f"the build that triggered it was stopped: {reason}")
    job_ids = [row["id"] for row in rows]
    tx.after_commit(lambda: plane.events.call(lambda: plane.dispatcher.discard_all(job_ids)))
    return True


def cancel_build(
    tx: Transaction, plane: ControlPlane, build: Row, *, now: int, reason: str = "the build was cancelled"
) -> None:
    """Cancel a build; one that is over stays as it is.

    Parameters:
        build: its row, from this transaction.
        reason: why, for people.
    """
    if build["finished_at"] is not None:
        return
    tx.run("UPDATE builds SET cancel_asked_at = :now WHERE id = :id", now=now, id=build["id"])
    stop_jobs(tx, plane, "build_id = :build_id", reason=reason, now=now, build_id=build["id"])
    advance_build(tx, plane, build["id"], now=now)


def _cancel_on_failing(tx: Transaction, plane: ControlPlane, build_id: str, now: int) -> bool:
    """A build cannot pass any more: stop what its steps say needs not run then. Says whether there was something."""
    if tx.one("SELECT 1 AS one FROM steps WHERE build_id = :id AND cancel_on_build_failing = 1 LIMIT 1", id=build_id):
        where = (
            "build_id = :build_id AND step_id IN "
            "(SELECT id FROM steps WHERE build_id = :build_id AND cancel_on_build_failing = 1)"
        )
        return stop_jobs(tx, plane, where, reason="the build is failing", now=now, build_id=build_id)
    return False


def _tell_trigger(tx: Transaction, plane: ControlPlane, build: Row, state: BuildState, now: int) -> None:
    """A build is over, or blocked: end the trigger step that waits for it."""
    if build["triggered_from_id"] is None:
        return
    job = job_store.find_job(tx, build["triggered_from_id"])
    if job is None or job["triggered_build_id"] != build["id"] or JobState(job["state"]) not in HELD:
        return
    passed = state is BuildState.PASSED
    if state is BuildState.BLOCKED:
        if step_store.blocked_state(tx, build["id"]) != "passed" or job["state"] != JobState.RUNNING:
            return
        passed = True
    ending = Ending(0 if passed else 1) if job["state"] == JobState.RUNNING else Ending(NO_STATUS)
    reason = f"the triggered build #{build['number']} is {state}"
    end_job(tx, plane, job, ending, now=now, by_agent=True, reason=reason)


def leave_group(tx: Transaction, plane: ControlPlane, job: Row, *, now: int) -> None:
    """A job no longer occupies its place in its concurrency group: the next may go on."""
    if job["concurrency_group"] is not None:
        _admit(tx, plane, job["concurrency_group"], "", now)


def end_job(
    tx: Transaction,
    plane: ControlPlane,
    job: Row,
    ending: Ending,
    *,
    now: int,
    by_agent: bool,
    reason: str = "",
    refusal: str | None = None,
    chunks_failed: int = 0,
) -> None:
    """End a job that an agent holds, retry it if its step asks for that, and let the build go on.

    Parameters:
        job: the whole row of the job, from this transaction.
        ending: how it ended.
        by_agent: its agent says so; otherwise its token stops working at once, so that an agent that still runs it
            hears of it at its next call.
        refusal: JSON of the agent's refusal.
    """
    state = JobState(job["state"])
    match state:
        case JobState.CANCELING:
            wanted = JobState.CANCELED
        case JobState.TIMING_OUT:
            wanted = JobState.TIMED_OUT
        case _:
            good = ending.exit_status == 0 and refusal is None and not ending.signal_reason
            wanted = JobState.PASSED if good else JobState.FAILED
    move(state, wanted)
    step = tx.one("SELECT content FROM steps WHERE id = :id", id=job["step_id"])
    rules = msgspec.json.decode(step["content"], type=_StepRules) if step is not None else _StepRules()
    soft_fail = adjusted_soft_fail(rules.soft_fail, rules.matrix, job["matrix"])
    failed = wanted in (JobState.FAILED, JobState.TIMED_OUT)
    job_store.end_job(
        tx,
        job["id"],
        wanted,
        now=now,
        exit_status=ending.exit_status,
        signal=ending.signal,
        signal_reason=ending.signal_reason,
        soft_failed=failed and is_soft(soft_fail, ending),
        reason=reason,
        refusal=refusal,
        chunks_failed=chunks_failed,
        keep_token=by_agent,
    )
    if not by_agent:
        _close_log(tx, plane, job["id"])
    build = build_store.get_build(tx, job["build_id"])
    again = (
        failed
        and job["kind"] == "script"
        and build["cancel_asked_at"] is None
        and (refusal is None or ending.signal_reason != "")
        and wants_retry(rules.retry, ending, job["retry_count"])
        and job_store.count_jobs(tx, job["build_id"]) < plane.settings.limits.max_jobs_per_build
    )
    if again:
        job_store.insert_retry(tx, job, id=plane.new_id(), kind="automatic", now=now)
    leave_group(tx, plane, job, now=now)
    ended_step = None if again else job["step_id"]
    advance_build(tx, plane, job["build_id"], now=now, ended_step=ended_step)
    if rules.notify and not again:
        note_job_end(tx, plane, job["build_id"], job["id"], rules.notify, now=now)
    job_id, agent_id = job["id"], job["agent_id"]
    tx.after_commit(lambda: plane.events.publish(log_topic(job_id)))
    tx.after_commit(lambda: plane.events.call(lambda: _forget(plane, job_id, agent_id)))


def _close_log(tx: Transaction, plane: ControlPlane, job_id: str) -> None:
    """Close the log of a job whose agent is not there to do it: mark what never came."""
    holes = load_log_state(tx, job_id).arrived.holes()
    if holes:
        plane.logs.fill_holes(job_id, holes)
        seal_log(tx, job_id, sum(hole.end - hole.start for hole in holes))


def _forget(plane: ControlPlane, job_id: str, agent_id: str | None) -> None:
    """What memory holds of a job that ended."""
    session = plane.sessions.get(agent_id or "")
    if session is not None and session.job_id == job_id:
        session.job_id = None
    plane.log_states.drop(job_id)
    plane.dispatcher.discard(job_id)
    if agent_id is not None:
        plane.peers.holder(agent_id)
    if session is not None:
        plane.dispatcher.wake(session)  # a stream may offer it the next job

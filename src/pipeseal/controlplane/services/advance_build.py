"""After anything changed in a build: let waiting steps go on, fill concurrency groups, derive the build's state.

Runs inside the transaction that changed something, so that no crash can leave a build half-way. Also the one place
where a job that an agent holds is ended.
"""

from __future__ import annotations

import logging
from sqlite3 import Row
from typing import TYPE_CHECKING

import msgspec

from pipeseal.controlplane.domain.build import FINISHED, BuildState, derive_state
from pipeseal.controlplane.domain.job import ACTIVE, JobState, move
from pipeseal.controlplane.domain.retry import Ending, is_soft, wants_retry
from pipeseal.controlplane.domain.settle import Verdict, settle
from pipeseal.controlplane.services.events import build_topic, log_topic
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
    if waiting:
        groups = _apply_verdicts(tx, build_id, now)
        for group in groups:
            _admit(tx, plane, group, build_id, now)
        states = job_store.count_states(tx, build_id)
    build = build_store.get_build(tx, build_id)
    state = derive_state(states, cancel_asked=build["cancel_asked_at"] is not None)
    if state is BuildState.RUNNING and job_store.has_promised_failure(tx, build_id):
        state = BuildState.FAILING
    if build_store.set_state(tx, build_id, state, now=now) and state in FINISHED:
        number = build["number"]
        tx.after_commit(lambda: _log.info("build %s (#%d) %s", build_id, number, state))
    ready = job_store.ready_jobs(tx, build_id=build_id, since=now) if waiting or requeued else []
    if ready:
        tx.after_commit(lambda: plane.events.call(lambda: plane.dispatcher.add_all(ready)))
    tx.after_commit(lambda: plane.events.publish(build_topic(build_id)))


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
    build_store.set_running(tx, build_id, now=now)
    tx.after_commit(lambda: plane.events.publish(build_topic(build_id)))


def _apply_verdicts(tx: Transaction, build_id: str, now: int) -> list[str]:
    """Move the jobs of every step that can be decided about; returns concurrency groups to look at."""
    limited = False
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
        limited = bool(job_store.move_jobs(tx, JobState.LIMITED, bound, now=now, step_id=step_id)) or limited
        job_store.move_jobs(tx, JobState.PASSED, f"{where} AND kind = 'waiter'", now=now, step_id=step_id)
        job_store.move_jobs(tx, JobState.BLOCKED, f"{where} AND kind = 'manual'", now=now, step_id=step_id)
    return job_store.groups_of_build(tx, build_id) if limited else []


def _admit(tx: Transaction, plane: ControlPlane, group: str, build_id: str, now: int) -> None:
    """Fill a concurrency group; other builds whose jobs may go on now are told and brought up to date too."""
    for other in dict.fromkeys(job_store.admit_limited(tx, group, now=now)):
        if other != build_id:
            advance_build(tx, plane, other, now=now, requeued=True)


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
    failed = wanted in (JobState.FAILED, JobState.TIMED_OUT)
    job_store.end_job(
        tx,
        job["id"],
        wanted,
        now=now,
        exit_status=ending.exit_status,
        signal=ending.signal,
        signal_reason=ending.signal_reason,
        soft_failed=failed and is_soft(rules.soft_fail, ending),
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

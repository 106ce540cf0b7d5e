"""What nobody reports is noticed here: agents that vanished, jobs whose time is up, stops that are not obeyed."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from sqlite3 import Row

from pipeseal.controlplane.domain.job import JobState
from pipeseal.controlplane.domain.retry import NO_STATUS, Ending
from pipeseal.controlplane.services.advance_build import advance_build, end_job
from pipeseal.controlplane.services.pack_logs import pack_forever
from pipeseal.controlplane.services.plane import ControlPlane
from pipeseal.controlplane.store import agents as agent_store
from pipeseal.controlplane.store import jobs as job_store
from pipeseal.controlplane.store.database import Transaction
from pipeseal.errors import PipesealError, escape_control

AGENT_LOST = "agent_lost"
_FORGET_AFTER = 24 * 3600  # seconds for which a lost agent may come back
_log = logging.getLogger("pipeseal.server")


def end_jobs_of_agent(tx: Transaction, plane: ControlPlane, agent_id: str, *, now: int) -> list[str]:
    """End what is in the hands of an agent that no longer runs it; returns the jobs' ids.

    A job that was accepted and never started has run nothing: it goes back to the queue. Its token stops working, so
    an agent that comes back cannot start it after all.
    """
    ended = []
    for job in job_store.held_jobs(tx, agent_id):
        if job["state"] == JobState.ACCEPTED:
            job_store.release_job(tx, job["id"], now=now)
            advance_build(tx, plane, job["build_id"], now=now, requeued=True)
        else:
            reason = "the agent vanished while it ran the job"
            end_job(tx, plane, job, Ending(NO_STATUS, "", AGENT_LOST), now=now, by_agent=False, reason=reason)
        ended.append(job["id"])
    return ended


async def end_abandoned_job(plane: ControlPlane, agent_id: str) -> None:
    """An agent asks for work although a job is in its hands: it gave that job up without a word."""
    now = plane.now()
    ended = await plane.database.write(lambda tx: end_jobs_of_agent(tx, plane, agent_id, now=now))
    session = plane.sessions.get(agent_id)
    if session is not None:
        session.job_id = None
    for job_id in ended:
        _log.warning("job %s: agent %s gave it up", job_id, agent_id)


async def sweep(plane: ControlPlane) -> None:
    """Look once for agents that vanished and jobs that are overdue."""
    seconds = plane.steady()
    now = plane.now()
    silent = [
        (session.id, session.name)
        for session in plane.sessions
        if session.state == "connected"
        and seconds - session.last_seen > plane.settings.heartbeat_timeout
        and not plane.dispatcher.is_asking(session.id)  # an open question is a sign of life
    ]
    if plane.peers.is_shared:
        silent = await plane.peers.silent_agents()
    for agent_id, name in silent:

        def lose(tx: Transaction, agent_id: str = agent_id) -> list[str] | None:
            agent = agent_store.find_agent(tx, agent_id)
            if agent is None or agent["state"] != "connected" or _was_seen(plane, agent):
                return None  # another server was quicker, or has heard of it after all
            agent_store.set_agent_state(tx, agent_id, "lost", now=now, keep_token=True)
            return end_jobs_of_agent(tx, plane, agent_id, now=now)

        lost = plane.sessions.get(agent_id)
        if lost is not None:
            lost.state = "lost"
            lost.job_id = None
        ended = await plane.database.write(lose)
        if ended is None:
            continue
        if lost is not None:
            plane.dispatcher.wake(lost)
        plane.peers.agent(agent_id)
        jobs = ", ".join(ended) or "none"
        _log.warning("agent %s (%s) is lost, its jobs: %s", escape_control(name), agent_id, jobs)
    if await plane.database.look(lambda tx: agent_store.has_due(tx, now)):
        for agent_id in await plane.database.write(lambda tx: agent_store.resume_due(tx, now)):
            paused = plane.sessions.get(agent_id)
            if paused is not None:
                paused.paused, paused.pause_note = False, ""
                plane.dispatcher.wake(paused)
            plane.peers.agent(agent_id)
    if await plane.database.look(lambda tx: job_store.overdue_jobs(tx, now)):
        await plane.database.write(lambda tx: _end_overdue(tx, plane, now))


def _was_seen(plane: ControlPlane, agent: Row) -> bool:
    """Whether another server has noted meanwhile that it heard of an agent; only shared databases are told."""
    return plane.peers.is_shared and plane.peers.was_noted(agent)


def _end_overdue(tx: Transaction, plane: ControlPlane, now: int) -> None:
    deadline = now + int(plane.settings.cancel_timeout * 1_000_000)
    for job in job_store.overdue_jobs(tx, now):
        match JobState(job["state"]):
            case JobState.RUNNING:
                job_store.ask_to_stop(tx, JobState.TIMING_OUT, "id = :id", deadline=deadline, id=job["id"])
                advance_build(tx, plane, job["build_id"], now=now)
            case _:
                reason = "the agent did not answer when it was asked to stop the job"
                end_job(tx, plane, job, Ending(NO_STATUS, "", "cancel"), now=now, by_agent=False, reason=reason)


async def sweep_forever(plane: ControlPlane) -> None:
    """Sweep at the interval of the settings until cancelled, and pack logs beside it, which may take its time."""
    packing = asyncio.create_task(pack_forever(plane))
    try:
        await _sweep_rounds(plane)
    finally:
        packing.cancel()
        with suppress(asyncio.CancelledError):
            await packing


async def _sweep_rounds(plane: ControlPlane) -> None:
    rounds = 0
    while True:
        await asyncio.sleep(plane.settings.sweep_interval)
        try:
            await plane.jumps.follow()
            await plane.peers.keep_up()
            await sweep(plane)
            if rounds % 1000 == 0:
                before = plane.now() - _FORGET_AFTER * 1_000_000
                for agent_id in await plane.database.write(lambda tx: agent_store.forget_lost(tx, before)):  # noqa: B023  (awaited in this very round)
                    plane.sessions.remove(agent_id)
        except PipesealError as error:
            _log.error("sweep: %s", error.message)
        rounds += 1

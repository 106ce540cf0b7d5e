"""What an agent is to do next, told as it happens on a stream that stays open, in place of held pings.

A stream says no more than pings would, and promises no more: a job told on it is an offer that lapses like any other.
It differs in two ways. A ping proves that the agent has no job, and a stream does not; and nothing tells the server
whether its words arrive, or lie in a proxy that wants to see the whole answer first. So an agent that lets an offer
lapse while its stream stands is sent back to polling, and one whose job has gone silent must ping before it streams.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from enum import Enum, auto

from pipeseal.agentapi.messages import PingResponse
from pipeseal.controlplane.domain.job import JobState
from pipeseal.controlplane.services.dispatch import SUPERSEDED, Session, wait_for_news
from pipeseal.controlplane.services.ping import assign, find_news, pause
from pipeseal.controlplane.services.plane import ControlPlane
from pipeseal.controlplane.store import jobs as job_store
from pipeseal.errors import MalformedInput, Unavailable, VerificationError, escape_control

# An agent polls its job's state every second or so, except while it has the job's end to report.
_SILENT_AFTER = 300.0
_LOOK_AGAIN_SECONDS = 60.0
_log = logging.getLogger("pipeseal.server")


class _Fate(Enum):
    """What became of a job that was told to an agent."""

    OFFERED = auto()
    SETTLED = auto()
    LAPSED = auto()


def verify_stream(plane: ControlPlane, session: Session, agent_id: str) -> None:
    """Whether an agent may be spoken to on a stream.

    Plan:
        1. The agent that it says it is, if it says so, is the one whose token it has.
        2. What an earlier stream said to it arrived.
        3. The job in its hands, if there is one, is heard of; otherwise a ping has to show that it still runs.

    Does not check: that the stream will reach it.

    Raises:
        VerificationError: `access.other_agent`.
        MalformedInput: `stream.unheard`: it must poll from now on.
        Unavailable: `stream.silent_job`: it must ping once.
    """
    if agent_id not in ("", session.id):  # 1
        raise VerificationError("access.other_agent", "this session token belongs to another agent")
    if session.unheard:  # 2
        raise MalformedInput(
            "stream.unheard",
            "a job told on an earlier stream was not accepted: ask with pings, as before",
        )
    if _is_silent(plane, session):  # 3
        raise Unavailable("stream.silent_job", "the job in the agent's hands has gone silent: ping before streaming")


async def stream_pings(
    plane: ControlPlane, session: Session, gone: asyncio.Future[None]
) -> AsyncGenerator[PingResponse, None]:
    """What an agent is to do, now and whenever that changes, until the session ends or asks anew elsewhere.

    Parameters:
        session: the agent, let in by `verify_stream`.
        gone: done when the agent has hung up.
    """
    loop = asyncio.get_running_loop()
    session.question = question = object()
    told, told_at = None, 0.0
    if not session.paused and not session.stopping:
        session.told_paused = False
        yield PingResponse()
    elif session.paused:
        yield pause(session)
    while True:
        await plane.peers.refresh(session)
        if told is not None:
            match await _find_fate(plane, session, told):
                case _Fate.SETTLED:
                    if plane.dispatcher.holder(told) == session.id:
                        plane.dispatcher.discard(told)  # taken through another server; here it is still on offer
                    told = None
                case _Fate.LAPSED:
                    if not gone.done():
                        _note_unheard(session, told)
                    return
        if session.question is not question or not _is_open(plane, session) or gone.done():
            return
        news = find_news(session)
        if news is not None:
            yield news
            if session.stopping:
                return
            continue
        may_work = told is None and not session.paused and not session.ignored and session.job_id is None
        job_id = plane.dispatcher.take(session) if may_work else None
        if job_id is None:
            future = plane.dispatcher.wait(session, accepts_jobs=may_work, streaming=True)
            lapse = told_at + plane.settings.offer_timeout - loop.time()
            seconds = _LOOK_AGAIN_SECONDS if told is None else max(lapse, 0.0) + 0.05
            try:
                is_told = await wait_for_news(future, gone, loop.time() + seconds)
            except asyncio.CancelledError:
                plane.dispatcher.leave(session, future)
                raise
            if not is_told:
                plane.dispatcher.leave(session, future)
                if gone.done() or _is_silent(plane, session):
                    return
                continue
            job_id = future.result()
            if job_id == SUPERSEDED:
                return
        if job_id is not None and await plane.peers.reserve(session, job_id):
            told, told_at = job_id, loop.time()
            yield assign(job_id)


def _is_open(plane: ControlPlane, session: Session) -> bool:
    """Whether there is still something to say to a session, and a server to say it."""
    return plane.sessions.get(session.id) is session and session.state == "connected" and not plane.dispatcher.closed


def _is_silent(plane: ControlPlane, session: Session) -> bool:
    """Whether the job in an agent's hands has not been heard of here for long: the agent may have dropped it."""
    heard = max(session.job_accepted_at, session.job_seen_at)
    return session.job_id is not None and plane.steady() - heard > _SILENT_AFTER


async def _find_fate(plane: ControlPlane, session: Session, job_id: str) -> _Fate:
    if session.job_id == job_id:
        return _Fate.SETTLED
    offered = plane.dispatcher.holder(job_id) == session.id
    if offered and not plane.peers.is_shared:
        return _Fate.OFFERED
    job = await plane.database.read(lambda tx: job_store.find_job(tx, job_id))
    if job is None or job["state"] != JobState.SCHEDULED:
        return _Fate.SETTLED  # it, or another agent, has accepted the job, or somebody cancelled it
    return _Fate.OFFERED if offered else _Fate.LAPSED


def _note_unheard(session: Session, job_id: str) -> None:
    session.unheard = True
    _log.warning(
        "agent %s (%s) did not accept job %s, told on its stream, in time; if a proxy holds answers back, "
        "start the server with --no-streaming-pings. The agent polls from now on",
        escape_control(session.name),
        session.id,
        job_id,
    )

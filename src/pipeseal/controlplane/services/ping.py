"""An idle agent asks what to do; the question is held open until there is an answer."""

from __future__ import annotations

import asyncio

from pipeseal.agentapi.messages import PingJob, PingResponse
from pipeseal.controlplane.services.dispatch import NO_NEWS, SUPERSEDED, Session, wait_for_news
from pipeseal.controlplane.services.plane import ControlPlane
from pipeseal.controlplane.services.sweep import end_abandoned_job

# A ping that overtakes its agent's own accept on the network must not end the job.
_ABANDONED_AFTER = 5.0
# In how many moments of one hold time questions are answered that have waited in vain.
_MOMENTS = 25
_SHORTEST_STEP = 0.001
# Where a request says since when it has waited, when it has before it came to `ping`.
ASKED_AT = "asked_at"


async def ping(
    plane: ControlPlane, session: Session, gone: asyncio.Future[None], *, asked_at: float | None = None
) -> PingResponse:
    """What an agent is to do: a job, `pause`, `disconnect`, or nothing after the hold time.

    Parameters:
        session: the agent.
        gone: done when the agent has hung up.
        asked_at: since when it has waited, by the event loop's clock; None: from now on.
    """
    loop = asyncio.get_running_loop()
    deadline = answer_time(loop.time() if asked_at is None else asked_at, plane.settings.ping_hold)
    session.question = question = object()
    while True:
        await plane.peers.refresh(session)
        if session.question is not question:
            return PingResponse()  # a later question has taken its place while the database was looked into
        news = find_news(session)
        if news is not None:
            return news
        if session.job_id is not None and plane.steady() - session.job_accepted_at > _ABANDONED_AFTER:
            await end_abandoned_job(plane, session.id)
        may_work = not session.paused and not session.ignored and session.job_id is None
        job_id = plane.dispatcher.take(session) if may_work else None
        if job_id is not None:
            if await plane.peers.reserve(session, job_id):
                return assign(job_id)
            continue
        future = plane.dispatcher.wait(session, accepts_jobs=may_work)
        try:
            is_told = await wait_for_news(future, gone, deadline)
        except asyncio.CancelledError:
            plane.dispatcher.leave(session, future)
            raise
        if not is_told:
            plane.dispatcher.leave(session, future)
            return pause(session) if session.paused else PingResponse()
        job_id = future.result()
        if job_id == SUPERSEDED:
            return PingResponse()
        if job_id is not None and await plane.peers.reserve(session, job_id):
            return assign(job_id)
        if plane.dispatcher.closed:
            return PingResponse()


def begin_ping(plane: ControlPlane, session: Session) -> PingResponse | asyncio.Future[str | None] | None:
    """The beginning of `ping` for an agent that is simply idle: an answer, or a future with what `end_ping` tells.

    None when there is more to it, for `ping`: the database has a say, or there is something besides jobs to be told.
    """
    is_idle = session.job_id is None and not session.ignored
    if plane.peers.is_shared or not is_idle or session.stopping or session.paused or session.told_paused:
        return None
    session.question = object()
    job_id = plane.dispatcher.take(session)
    return plane.dispatcher.wait(session, accepts_jobs=True) if job_id is None else assign(job_id)


def end_ping(heard: str | None) -> PingResponse | None:
    """The answer to a ping that waited, by what it heard; None when it is to look again, with `ping`."""
    if heard is None:
        return None
    return PingResponse() if heard in (SUPERSEDED, NO_NEWS) else assign(heard)


def answer_time(now: float, hold: float) -> float:
    """When a question that is asked `now` is answered at the latest: at a moment that it shares with others.

    A server that wakes for one idle agent at a time finds nothing of what it does then in its processor's caches;
    one that wakes for forty of them at once does for each what a busy server does. No question is held longer than
    the operator allows, only a little shorter.
    """
    step = hold / _MOMENTS
    return now + hold if step < _SHORTEST_STEP else max(now, (now + hold) // step * step)


def find_news(session: Session) -> PingResponse | None:
    """What a session is to be told other than a job, if it has not been told yet."""
    if session.stopping:
        return PingResponse(action="disconnect", message="the server asked this agent to stop")
    if session.paused and not session.told_paused:
        return pause(session)
    if session.told_paused and not session.paused:
        session.told_paused = False
        return PingResponse()
    return None


def assign(job_id: str) -> PingResponse:
    """The answer that offers a job."""
    return PingResponse(job=PingJob(id=job_id, state="assigned"))


def pause(session: Session) -> PingResponse:
    """The answer that pauses an agent, which has then been told."""
    session.told_paused = True
    return PingResponse(action="pause", message=session.pause_note or "this agent is paused")

"""Bringing scheduled jobs to waiting agents within milliseconds.

A queue in memory, of offers only: what it says is a hint, and the database decides when the agent accepts
(`store.jobs.claim_job`). A ping that finds nothing is held open and costs nothing until a job comes that fits.
A job told to an agent is offered to nobody else for some seconds; if the agent does not accept it by then, it goes
back. Everything here runs on the event loop.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from pipeseal.controlplane.domain.agents import Rules, Tags, matches
from pipeseal.controlplane.store.jobs import ReadyJob

# What a held ping or a stream hears when the same agent asked again on another connection.
SUPERSEDED = ""
# What it hears when there is nothing to say: no job is called so.
NO_NEWS = "-"

# Agents alike in priority and tags wait in one line: (negative priority, tags).
Line: TypeAlias = tuple[int, Tags]


@dataclass(slots=True, eq=False)
class Session:
    """A connected agent.

    Parameters:
        last_seen: seconds, by the server's steady clock, of its latest request.
        state: `connected` or `lost`.
        job_id: the job in its hands.
        job_seen_at: seconds, by the server's steady clock, at which its latest call for a job came here.
        stopping: it has been told, or will be told, to disconnect.
        unheard: a stream was open to it, and what it said never reached the agent.
        question: its latest ping or stream; an older one has nothing more to say.
    """

    id: str
    name: str
    tags: Tags
    priority: int
    digest: str
    last_seen: float
    state: str = "connected"
    paused: bool = False
    pause_note: str = ""
    told_paused: bool = False
    stopping: bool = False
    ignored: bool = False
    job_id: str | None = None
    job_accepted_at: float = 0.0
    job_seen_at: float = 0.0
    unheard: bool = False
    question: object = None
    line: Line = field(init=False)

    def __post_init__(self) -> None:
        self.line = (-self.priority, self.tags)


class Sessions:
    """The sessions of all agents, by token digest and by agent."""

    def __init__(self) -> None:
        self._by_digest: dict[str, Session] = {}
        self._by_id: dict[str, Session] = {}

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._by_id.values()))

    def add(self, session: Session) -> None:
        """A new session."""
        self._by_digest[session.digest] = session
        self._by_id[session.id] = session

    def remove(self, agent_id: str) -> None:
        """The session's token no longer works."""
        session = self._by_id.pop(agent_id, None)
        if session is not None:
            self._by_digest.pop(session.digest, None)

    def find(self, digest: str) -> Session | None:
        """The session that a token opens."""
        return self._by_digest.get(digest)

    def get(self, agent_id: str) -> Session | None:
        """The session of an agent."""
        return self._by_id.get(agent_id)


class _Offer(NamedTuple):
    job: ReadyJob
    agent_id: str
    timer: asyncio.TimerHandle


def _nobody(_news: Iterable[object]) -> None:
    """There are no other servers."""


async def wait_for_news(future: asyncio.Future[str | None], gone: asyncio.Future[None], until: float) -> bool:
    """Wait for what an agent is told; False when it is told nothing, since it is time to answer or it hung up.

    On the future itself, so that an agent that waits hears in the next turn of the event loop.

    Parameters:
        future: of `Dispatcher.wait`; the caller leaves when there was nothing.
        gone: done when the agent has hung up.
        until: by the event loop's clock.
    """

    def give_up(_gone: object = None) -> None:
        if not future.done():
            future.set_result(NO_NEWS)

    timer = asyncio.get_running_loop().call_at(until, give_up)
    gone.add_done_callback(give_up)
    try:
        return await future != NO_NEWS and not gone.done()
    finally:
        timer.cancel()
        gone.remove_done_callback(give_up)


class Dispatcher:
    """The queue and the lines of waiting agents.

    Parameters:
        offer_seconds: how long a job stays offered to one agent.
        tell_ready, tell_gone: tell the other servers of the database of jobs that came into the queue, or left it.
    """

    def __init__(
        self,
        offer_seconds: float,
        tell_ready: Callable[[Iterable[ReadyJob]], None] = _nobody,
        tell_gone: Callable[[Iterable[str]], None] = _nobody,
    ) -> None:
        self._offer_seconds = offer_seconds
        self._tell_ready = tell_ready
        self._tell_gone = tell_gone
        self._ready: dict[str, ReadyJob] = {}
        self._queues: dict[Rules, list[tuple[tuple[int, int, int, int], str]]] = {}
        self._waiting: dict[str, asyncio.Future[str | None]] = {}  # by agent
        self._streams: set[str] = set()  # those of them whose question is a stream
        self._lines: dict[Line, dict[str, Session]] = {}  # those of them that take jobs, longest waiting first
        self._offers: dict[str, _Offer] = {}  # by job
        self._offered: dict[str, str] = {}  # agent id -> job id
        self._fits: dict[tuple[Rules, Tags], bool] = {}
        self._closed = False

    @property
    def ready_count(self) -> int:
        """Jobs waiting for an agent, offered ones left out."""
        return len(self._ready)

    @property
    def waiting_count(self) -> int:
        """Agents waiting for a job."""
        return len(self._waiting)

    @property
    def closed(self) -> bool:
        """Whether the server is stopping."""
        return self._closed

    def add(self, job: ReadyJob) -> None:
        """A job became scheduled: tell the best agent that waits for its like, or queue it."""
        if job.id in self._ready or job.id in self._offers or self._closed:
            return
        for line in sorted(self._lines, key=lambda line: line[0]):
            if self._fit(job.rules, line[1]):
                session = next(iter(self._lines[line].values()))
                future = self._waiting[session.id]
                self._leave(session)
                if future.done():
                    continue  # its request was cancelled this very moment
                self._offer(job, session.id)
                future.set_result(job.id)
                return
        self._ready[job.id] = job
        heapq.heappush(self._queues.setdefault(job.rules, []), (job.order, job.id))

    def discard(self, job_id: str) -> None:
        """A job is no longer to be had."""
        self._ready.pop(job_id, None)
        offer = self._offers.pop(job_id, None)
        if offer is not None:
            offer.timer.cancel()
            self._offered.pop(offer.agent_id, None)

    def is_asking(self, agent_id: str) -> bool:
        """Whether a ping of an agent is being held, which is a sign of life. A stream is none: it has no end."""
        return agent_id in self._waiting and agent_id not in self._streams

    def is_streaming(self, agent_id: str) -> bool:
        """Whether an agent waits on a stream."""
        return agent_id in self._streams

    def add_all(self, jobs: Iterable[ReadyJob]) -> None:
        """`add` for each, here and at the other servers: transactions of this one made them scheduled."""
        news = list(jobs)
        self._tell_ready(news)
        for job in news:
            self.add(job)

    def discard_all(self, job_ids: Iterable[str]) -> None:
        """`discard` for each, here and at the other servers."""
        news = list(job_ids)
        self._tell_gone(news)
        for job_id in news:
            self.discard(job_id)

    def take_back(self, job_id: str) -> None:
        """An offer came to nothing: the job goes back into the queue."""
        self._expire(job_id)

    def ready_ids(self) -> list[str]:
        """The jobs in the queue, offered ones left out."""
        return list(self._ready)

    def holder(self, job_id: str) -> str | None:
        """The agent to which a job is offered."""
        offer = self._offers.get(job_id)
        return None if offer is None else offer.agent_id

    def take(self, session: Session) -> str | None:
        """The best job for an agent, now offered to it; None when there is none."""
        again = self._offered.get(session.id)
        if again is not None:
            return again
        best: tuple[tuple[int, int, int, int], str] | None = None
        best_queue: list[tuple[tuple[int, int, int, int], str]] = []
        for rules in list(self._queues):
            if self._fit(rules, session.tags):
                queue = self._queues[rules]
                while queue and queue[0][1] not in self._ready:
                    heapq.heappop(queue)  # taken or cancelled since
                if not queue:
                    del self._queues[rules]
                elif best is None or queue[0] < best:
                    best, best_queue = queue[0], queue
        if best is None:
            return None
        heapq.heappop(best_queue)
        job = self._ready.pop(best[1])
        self._offer(job, session.id)
        return job.id

    def wait(self, session: Session, *, accepts_jobs: bool, streaming: bool = False) -> asyncio.Future[str | None]:
        """Wait for news for an agent: a job's id, None to look again, or `SUPERSEDED` by its own later wait.

        Parameters:
            accepts_jobs: False for an agent that only waits to be woken, such as a paused one.
            streaming: the answer goes into a stream.
        """
        older = self._waiting.get(session.id)
        if older is not None:
            self._leave(session)
            if not older.done():
                older.set_result(SUPERSEDED)
        future: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        if self._closed:
            future.set_result(None)
            return future
        self._waiting[session.id] = future
        if streaming:
            self._streams.add(session.id)
        if accepts_jobs:
            self._lines.setdefault(session.line, {})[session.id] = session
        return future

    def leave(self, session: Session, future: asyncio.Future[str | None]) -> None:
        """An agent waits no longer; what it was just given and never heard of goes back."""
        if self._waiting.get(session.id) is future:
            self._leave(session)
        elif future.done() and not future.cancelled():
            job_id = future.result()
            if job_id and self.holder(job_id) == session.id:
                self._expire(job_id)

    def wake(self, session: Session) -> None:
        """Let an agent look again: it was paused, or is to stop."""
        future = self._waiting.get(session.id)
        if future is not None:
            self._leave(session)
            if not future.done():
                future.set_result(None)

    def close(self) -> None:
        """Answer everybody who waits, and nobody any more."""
        self._closed = True
        for future in self._waiting.values():
            if not future.done():
                future.set_result(None)
        self._waiting.clear()
        self._streams.clear()
        self._lines.clear()
        for offer in self._offers.values():
            offer.timer.cancel()

    def _leave(self, session: Session) -> None:
        self._waiting.pop(session.id, None)
        self._streams.discard(session.id)
        agents = self._lines.get(session.line)
        if agents is not None:
            agents.pop(session.id, None)
            if not agents:
                del self._lines[session.line]

    def _offer(self, job: ReadyJob, agent_id: str) -> None:
        timer = asyncio.get_running_loop().call_later(self._offer_seconds, self._expire, job.id)
        self._offers[job.id] = _Offer(job, agent_id, timer)
        self._offered[agent_id] = job.id

    def _expire(self, job_id: str) -> None:
        offer = self._offers.get(job_id)
        if offer is not None:
            self.discard(job_id)
            self.add_all([offer.job])

    def _fit(self, rules: Rules, tags: Tags) -> bool:
        key = (rules, tags)
        fit = self._fits.get(key)
        if fit is None:
            if len(self._fits) > 100_000:
                self._fits.clear()
            fit = self._fits[key] = matches(rules, tags)
        return fit

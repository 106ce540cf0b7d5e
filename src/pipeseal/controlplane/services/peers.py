"""The other servers of the same database: telling them what happened here, and hearing what happened there.

Everything that decides anything is in the database. What is told are hints, so that an agent that waits at one server
wakes within milliseconds of a change made at another; a hint that is lost is made up for by `heal`, which looks into
the database after every gap and every few seconds. With a database of its own a server has no peers, and nothing here
does anything.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable
from sqlite3 import Row
from typing import TYPE_CHECKING, Any

import msgspec

from pipeseal.agentapi.routes import Token
from pipeseal.controlplane.services.dispatch import Session
from pipeseal.controlplane.store import agents as agent_store
from pipeseal.controlplane.store import servers
from pipeseal.controlplane.store.jobs import ReadyJob, ready_jobs
from pipeseal.errors import PipesealError

if TYPE_CHECKING:
    from pipeseal.controlplane.services.plane import ControlPlane
    from pipeseal.controlplane.store.channel import Channel
    from pipeseal.controlplane.store.database import Transaction

_HEAL_SECONDS = 5.0
_MAX_PRESENCE_SECONDS = 15.0
# A server whose offer runs out must find the job free in the database, so it is free there a little earlier.
_OFFER_SHARE = 0.9
_log = logging.getLogger("pipeseal.server")


class _Hint(msgspec.Struct, omit_defaults=True):
    """One line to the other servers."""

    topic: str = ""
    ready: ReadyJob | None = None
    gone: str = ""
    agent: str = ""
    holder: str = ""
    look: bool = False


_decode = msgspec.json.Decoder(_Hint).decode


def make_session(row: Row, *, last_seen: float) -> Session:
    """The session of an agent from its row.

    Parameters:
        row: as `store.servers` gives it.
        last_seen: seconds by the server's steady clock.
    """
    tags = frozenset((key, value) for key, value in msgspec.json.decode(row["tags"]))
    session = Session(
        id=row["id"],
        name=row["name"],
        tags=tags,
        priority=row["priority"],
        digest=row["token_digest"],
        last_seen=last_seen,
    )
    update_session(session, row, now=last_seen)
    return session


def update_session(session: Session, row: Row, *, now: float) -> bool:
    """Bring a session to what its row says; says whether a waiting agent should look again.

    Parameters:
        now: seconds by the server's steady clock.
    """
    before = _standing(session)
    session.state = row["state"]
    session.paused = bool(row["paused"])
    session.pause_note = row["pause_note"]
    session.stopping = bool(row["stopping"])
    session.ignored = bool(row["ignore_in_dispatches"])
    if session.job_id != row["held_job_id"]:
        session.job_id = row["held_job_id"]
        session.job_accepted_at = now
    return before != _standing(session)


def _standing(session: Session) -> tuple[object, ...]:
    """What a session has in common with its row."""
    return (
        session.state,
        session.paused,
        session.stopping,
        session.ignored,
        session.job_id,
        session.job_accepted_at,
    )


def _noted_at(agent: Row) -> int:
    return int(agent["last_seen_at"] or agent["registered_at"])


class Peers:
    """The other servers of a control plane's database. Everything but `topic` is to be called on the event loop.

    Parameters:
        plane: the control plane of this server.
    """

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane
        self._channel: Channel | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._healed_at = self._noted_at = -_MAX_PRESENCE_SECONDS  # by the steady clock
        # When each agent was last noted as seen, and since when that is the latest note, by the steady clock.
        self._notes: dict[str, tuple[int, float]] = {}
        self._is_listening = False
        self._in_doubt = False

    @property
    def is_shared(self) -> bool:
        """Whether there may be others."""
        return self._plane.database.is_shared

    @property
    def is_listening(self) -> bool:
        """Whether the channel to the others stands, or stood before."""
        return self._is_listening

    def start(self) -> None:
        """Begin to listen; what was missed before is looked up as soon as the channel stands."""
        self._plane.database.on_doubt = lambda: self._plane.events.call(self._doubt)
        if not self.is_shared:
            return
        from pipeseal.controlplane.store.postgres import PostgresDatabase

        database = self._plane.database
        assert isinstance(database, PostgresDatabase)
        events = self._plane.events
        events.relay = self.topic
        self._channel = database.open_channel(
            lambda line: events.call(lambda: self._hear(line)), lambda: events.call(self._hear_again)
        )
        self._channel.start()

    def close(self) -> None:
        """Send what is still to be sent, and stop."""
        self._plane.events.relay = None
        if self._channel is not None:
            self._channel.close()

    def topic(self, topic: str) -> None:
        """A topic was published here. From any thread."""
        self._tell(_Hint(topic=topic))

    def ready(self, jobs: Iterable[ReadyJob]) -> None:
        """Jobs became scheduled."""
        for job in jobs:
            self._tell(_Hint(ready=job))

    def gone(self, job_ids: Iterable[str]) -> None:
        """Jobs are no longer to be had, or are on offer here."""
        for job_id in job_ids:
            self._tell(_Hint(gone=job_id))

    def agent(self, agent_id: str) -> None:
        """Something about an agent was changed in the database."""
        self._tell(_Hint(agent=agent_id))

    def holder(self, agent_id: str) -> None:
        """An agent took a job here, or has none any more; only a server that streams to it needs to know at once."""
        if not self._plane.dispatcher.is_streaming(agent_id):
            self._tell(_Hint(holder=agent_id))

    def _tell(self, hint: _Hint) -> None:
        if self._channel is None:
            return
        line = msgspec.json.encode(hint)
        if len(line) > self._channel.max_line_bytes:
            line = msgspec.json.encode(_Hint(look=True))
        self._channel.send(line.decode())

    def _doubt(self) -> None:
        """A commit failed. If it was kept all the same, nobody was told of what it changed."""
        self._in_doubt = True
        self._run(self.heal())

    def _hear_again(self) -> None:
        self._is_listening = True
        self._run(self.heal())

    def _hear(self, line: str) -> None:
        try:
            hint = _decode(line)
        except msgspec.DecodeError:
            hint = _Hint(look=True)  # of another version of this program
        if hint.topic:
            self._plane.events.wake(hint.topic)
        if hint.ready is not None:
            self._plane.dispatcher.add(hint.ready)
        if hint.gone:
            self._plane.dispatcher.discard(hint.gone)
        if hint.agent:
            self._run(self._look_at(hint.agent))
        session = self._plane.sessions.get(hint.holder)
        if session is not None and self._plane.dispatcher.is_streaming(session.id):
            self._plane.dispatcher.wake(session)  # it looks into the database
        if hint.look:
            self._run(self.heal())

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        async def guarded() -> None:
            try:
                await work
            except PipesealError as error:
                _log.warning("what another server changed could not be read: %s", error.message)

        task = asyncio.get_running_loop().create_task(guarded())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _look_at(self, agent_id: str) -> None:
        session = self._plane.sessions.get(agent_id)
        if session is not None and await self.refresh(session):
            self._plane.dispatcher.wake(session)

    async def refresh(self, session: Session) -> bool:
        """Bring a session up to date with the database; says whether anything changed. It may have been ended."""
        if not self.is_shared:
            return False
        while True:
            known = _standing(session)
            row = await self._plane.database.read(lambda tx: servers.find_agent_with_session(tx, session.id))
            if row is None:
                session.stopping = True
                self._plane.sessions.remove(session.id)
                return True
            if known == _standing(session):  # else the row may be older than what the session has learnt meanwhile
                return update_session(session, row, now=self._plane.steady())

    async def find_session(self, digest: str) -> Session | None:
        """The session that a token opens, also when another server made it."""
        session = self._plane.sessions.find(digest)
        if session is not None or not self.is_shared:
            return session
        return self._keep(await self._plane.database.read(lambda tx: servers.find_agent_by_token(tx, digest)))

    async def get_session(self, agent_id: str) -> Session | None:
        """The session of an agent, also when another server made it."""
        session = self._plane.sessions.get(agent_id)
        if session is not None or not self.is_shared:
            return session
        return self._keep(await self._plane.database.read(lambda tx: servers.find_agent_with_session(tx, agent_id)))

    def _keep(self, row: Row | None) -> Session | None:
        if row is None:
            return None
        known = self._plane.sessions.get(row["id"])  # made while the row was read
        if known is not None:
            return known
        session = make_session(row, last_seen=self._plane.steady())
        self._plane.sessions.add(session)
        return session

    async def reserve(self, session: Session, job_id: str) -> bool:
        """Keep a job that is about to be told to an agent from being offered by other servers.

        Returns:
            False when another server was quicker; the job has then left the queue of this one.
        """
        if not self.is_shared:
            return True
        plane = self._plane
        now = plane.now()
        until = now + int(plane.settings.offer_timeout * _OFFER_SHARE * 1_000_000)
        try:
            free = await plane.database.write_apart(
                lambda tx: servers.reserve_job(
                    tx, job_id, session.id, now=now, until=until, longest=self.longest_offer(now)
                )
            )
        except PipesealError:
            plane.dispatcher.take_back(job_id)
            raise
        if free:
            self.gone([job_id])
        else:
            plane.dispatcher.discard(job_id)
        return free

    def longest_offer(self, now: int) -> int:
        """Until when an offer can last that was made under the same clock, or nearly; microseconds like `now`."""
        return now + int(2 * self._plane.settings.offer_timeout * 1_000_000)

    async def keep_up(self) -> None:
        """What is due of the regular work: tell the database which agents live, and look for what was missed."""
        if self._in_doubt:
            await self.heal()
        if not self.is_shared:
            return
        now = self._plane.steady()
        if now - self._noted_at >= min(self._plane.settings.heartbeat_timeout / 4, _MAX_PRESENCE_SECONDS):
            await self._note_presence(now)
        if now - self._healed_at >= _HEAL_SECONDS:
            await self.heal()

    async def _note_presence(self, now: float) -> None:
        plane, since = self._plane, self._noted_at
        living = [
            session.id
            for session in plane.sessions
            if session.last_seen >= since or plane.dispatcher.is_asking(session.id)
        ]
        self._noted_at = now
        if living:
            moment = plane.now()
            await plane.database.write_apart(lambda tx: servers.note_seen(tx, living, now=moment))

    async def silent_agents(self) -> list[tuple[str, str]]:
        """Id and name of agents that no server has heard of for too long.

        What counts is for how long no server has noted anything new, and not what time the notes say: clocks of
        servers differ, and are put. Nobody could reach servers that were all down: to a server that has just started
        every note is new, so every agent gets its full time.
        """
        timeout = self._plane.settings.heartbeat_timeout
        before, now = self._notes, self._plane.steady()
        rows = await self._plane.database.read(servers.connected_agents)
        self._notes = {}
        silent = []
        for row in rows:
            seen, since = before.get(row["id"], (-1, now))
            if seen != _noted_at(row):
                since = now
            self._notes[row["id"]] = (_noted_at(row), since)
            if now - since > timeout and not self._is_living(row["id"], now - timeout):
                silent.append((row["id"], row["name"]))
        return silent

    def was_noted(self, agent: Row) -> bool:
        """Whether an agent was noted as seen after `silent_agents` looked."""
        seen, _ = self._notes.get(agent["id"], (-1, 0.0))
        return seen != _noted_at(agent)

    def _is_living(self, agent_id: str, since: float) -> bool:
        """Whether this server has heard of an agent, and may not have told the database yet."""
        session = self._plane.sessions.get(agent_id)
        return self._plane.dispatcher.is_asking(agent_id) or (session is not None and session.last_seen >= since)

    async def heal(self) -> None:
        """Read from the database what others may have said in vain, or a commit changed that seemed to fail."""
        plane = self._plane
        self._healed_at = plane.steady()
        queued = set(plane.dispatcher.ready_ids())
        known = {session.id: _standing(session) for session in plane.sessions}
        now = plane.now()

        def look(tx: Transaction) -> tuple[list[Row], list[ReadyJob], set[str], dict[str, str]]:
            return (
                servers.agents_with_session(tx),
                ready_jobs(tx),
                servers.offered_jobs(tx, now, self.longest_offer(now)),
                agent_store.tokens_of_kind(tx, Token.REGISTRATION.value),
            )

        # A server alone knows best what it has just changed: it looks in line with its own writing transactions, so
        # that what it reads is not older than what it remembers.
        ask = plane.database.read if self.is_shared else plane.database.write
        agents, jobs, offered, plane.registration_digests = await ask(look)
        self._in_doubt = False
        rows = {row["id"]: row for row in agents}
        if not self.is_shared:
            for agent_id in rows.keys() - {session.id for session in plane.sessions}:
                # Registered, and never heard of it: it will be lost like any agent that is silent.
                plane.sessions.add(make_session(rows[agent_id], last_seen=plane.steady()))
        for session in plane.sessions:
            row = rows.get(session.id)
            if row is None:
                if session.last_seen < self._healed_at - _HEAL_SECONDS:  # not one that was registered meanwhile
                    session.stopping = True
                    plane.sessions.remove(session.id)
                    plane.dispatcher.wake(session)
            elif known.get(session.id, _standing(session)) != _standing(session):
                continue  # it has learnt something meanwhile that its row may not say yet
            elif update_session(session, row, now=self._healed_at):
                plane.dispatcher.wake(session)
        free = [job for job in jobs if job.id not in offered]
        for job_id in queued - {job.id for job in free}:
            plane.dispatcher.discard(job_id)
        for job in free:
            plane.dispatcher.add(job)
        plane.events.wake_all()

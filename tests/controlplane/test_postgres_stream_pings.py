"""What `test_stream_pings` demands, once more with PostgreSQL in SQLite's place, and what takes a slow database."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from sqlite3 import Row

import pytest

from pipeseal.controlplane.services.dispatch import Session
from pipeseal.controlplane.store import servers
from pipeseal.controlplane.store.agents import set_ignored
from pipeseal.controlplane.store.database import Transaction
from tests.controlplane.postgres_server import on_postgresql as on_postgresql
from tests.controlplane.running import FakeAgent, RunningServer, until
from tests.controlplane.stream_client import open_stream
from tests.controlplane.test_stream_pings import *  # noqa: F403  (its tests and fixtures, to be collected here)
from tests.controlplane.test_stream_pings import waiting


def test_an_earlier_ping_does_not_come_back_to_life(running: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = FakeAgent(running.api)
    gates: list[asyncio.Event] = []

    async def look(_session: Session) -> bool:
        """A database so slow that a stream comes while the ping looks into it."""
        if not gates:
            gates.append(asyncio.Event())
            await gates[0].wait()
        return False

    monkeypatch.setattr(running.plane.peers, "refresh", look)
    with ThreadPoolExecutor(1) as pool:
        ping = pool.submit(agent.ping)
        until(lambda: len(gates) == 1, "the ping to look")
        with open_stream(agent) as stream:
            waiting(running)
            running.plane.events.call(gates[0].set)
            assert ping.result(60).get("job") is None
            running.api.create_build()
            assert agent.accept(stream.next_job()).finish().status == 200


def test_a_row_read_before_the_agent_was_told_something_takes_nothing_back(
    running: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = FakeAgent(running.api)
    session = running.plane.sessions.get(agent.id)
    assert session is not None
    find, told, heard = servers.find_agent_with_session, threading.Event(), Future[bool]()

    def find_slowly(tx: Transaction, agent_id: str) -> Row | None:
        """While the first row is on its way, its agent says that it wants no more jobs."""
        row = find(tx, agent_id)
        if not told.is_set():
            told.set()
            running.plane.database.submit(lambda writing: set_ignored(writing, agent.id)).result(60)
            session.ignored = True
        return row

    async def look() -> None:
        await running.plane.peers.refresh(session)
        heard.set_result(session.ignored)

    monkeypatch.setattr(servers, "find_agent_with_session", find_slowly)
    tasks: list[asyncio.Task[None]] = []
    running.plane.events.call(lambda: tasks.append(asyncio.get_running_loop().create_task(look())))
    assert heard.result(60)

"""Every write of the server fails once, lost and kept; what was asked for happens all the same, and once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest

from pipeseal.clock import Clock
from pipeseal.controlplane.services.events import log_topic
from pipeseal.controlplane.store import postgres
from tests.controlplane.postgres_server import fresh_database
from tests.controlplane.running import QUICK, FakeAgent, RunningServer, running_server, until
from tests.controlplane.test_notify import receiving
from tests.faults.breaking import (
    BreakingLogs,
    Twin,
    Writes,
    break_files,
    break_postgresql,
    break_sqlite,
    give_up_at_once,
)
from tests.faults.clocks import JumpingClock
from tests.faults.life import Life
from tests.faults.thorough import is_thorough

# A job that was accepted and whose agent never heard of it is given back after some seconds; here they are short.
CLOCK_SPEED = 30
SETTINGS = replace(
    QUICK,
    ping_hold=0.02,
    sweep_interval=0.05,
    offer_timeout=0.2,
    heartbeat_timeout=600.0,
    notify_http=True,
    notify_networks=("127.0.0.0/8",),
)


def on_postgresql(folder: Path, url: str, clock: Clock) -> AbstractContextManager[RunningServer]:
    """A server with its memory there, and an object store in a folder."""
    objects = str(folder / "objects")
    return running_server(folder / "data", SETTINGS, clock=clock, database_url=url, object_store=objects)


def every_write_fails_once(
    running: RunningServer, writes: Writes, twin: Twin, folder: Path, *, step: int = 1
) -> None:
    """Builds, and in each another one of its writes fails, until there are no more.

    Parameters:
        step: leave out the writes between each and the one so many after it.
    """
    life = Life(running.api, folder)
    with receiving() as receiver:
        life.prepare(receiver)
        writes.arm(twin, 0)
        life.run()
        expected, struck, number = set(writes.seen), set[str](), 1
        while True:
            writes.arm(twin, number)
            try:
                life.run()
            except AssertionError as error:
                raise AssertionError(f"write {number}, {writes.struck}, {twin.value}: {error}") from error
            if not writes.struck:
                break
            struck.update(writes.struck)
            number += step
    assert expected >= {"commit", "object"}
    assert step > 1 or struck >= expected


@pytest.mark.parametrize("twin", list(Twin))
def test_every_write_fails_once_on_sqlite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, twin: Twin) -> None:
    writes = Writes()
    break_sqlite(monkeypatch, writes)
    with running_server(tmp_path / "data", SETTINGS, clock=JumpingClock(CLOCK_SPEED)) as running:
        break_files(running.plane, writes)
        every_write_fails_once(running, writes, twin, tmp_path)


@pytest.mark.parametrize("twin", list(Twin))
def test_every_write_fails_once_on_postgresql(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, twin: Twin) -> None:
    writes = Writes()
    with fresh_database() as url:
        break_postgresql(monkeypatch, writes)
        with on_postgresql(tmp_path, url, JumpingClock(CLOCK_SPEED)) as running:
            break_files(running.plane, writes)
            give_up_at_once(monkeypatch)
            # A build takes five times as long here as on SQLite, where each write is tried in every test run.
            every_write_fails_once(running, writes, twin, tmp_path, step=1 if is_thorough() else 10)


@pytest.mark.parametrize("twin", list(Twin))
def test_nobody_hears_of_a_connection_to_postgresql_that_broke_and_came_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, twin: Twin
) -> None:
    writes = Writes()
    with fresh_database() as url:
        break_postgresql(monkeypatch, writes)
        monkeypatch.setattr(postgres, "_RETRY_PAUSE", 0.01)
        with on_postgresql(tmp_path, url, JumpingClock()) as running:
            troubles: list[str] = []
            life = Life(running.api, tmp_path, on_trouble=lambda: troubles.append("an error was heard"))
            life.prepare()
            for number in range(1, 7):
                writes.arm(twin, number, every=6)  # each fails in one of the six builds
                life.run()
                assert len(writes.struck) > 3
            assert not troubles


def test_a_chunk_sent_twice_while_its_storing_fails_is_to_be_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_server(tmp_path / "data", SETTINGS) as running:
        running.api.create_pipeline("steps: [{command: x}]")
        build = running.api.create_build()
        job = FakeAgent(running.api).take()
        began, may_end = threading.Event(), threading.Event()
        writes = Writes()
        writes.arm(Twin.LOST, 1)
        logs = BreakingLogs(running.plane.logs, writes)  # type: ignore[arg-type]  # on SQLite they are files
        monkeypatch.setattr(running.plane, "logs", logs)

        def wait_before_writing(job_id: str, start: int, data: bytes) -> None:
            began.set()
            assert may_end.wait(60)
            BreakingLogs.write(logs, job_id, start, data)

        monkeypatch.setattr(logs, "write", wait_before_writing)
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(job.chunk, 1, 0, b"hello")
            assert began.wait(60)
            # The agent has heard nothing for so long that it sends the chunk once more.
            state = running.plane.log_states.recall(job.id)
            second = pool.submit(job.chunk, 1, 0, b"hello")
            until(
                lambda: log_topic(job.id) in running.plane.events._listeners,
                "the second request to wait for the first",
            )
            may_end.set()
            assert first.result(10).status == 503
            assert second.result(10).status == 503  # an agent takes any 4xx as final, and would drop the chunk
        assert state is not None and not state.in_flight
        assert job.chunk(1, 0, b"hello").status == 200
        assert job.finish().status == 200
        assert running.api.log(build, job.id) == b"hello"

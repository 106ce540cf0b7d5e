"""The server is killed in the middle of things: nothing that was acknowledged is lost, nothing runs twice."""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from sqlite3 import Row
from typing import TypeVar

import pytest

from pipeseal.controlplane.services.plane import Settings, open_plane
from pipeseal.controlplane.store.database import Database, Transaction
from pipeseal.errors import ConfigurationError, MalformedInput, Unavailable
from tests.controlplane.running import (
    QUICK,
    Api,
    FakeAgent,
    FakeJob,
    find_job,
    job_states,
    running_server,
    server_process,
)
from tests.loops import run_coroutine

T = TypeVar("T")


def test_a_build_survives_kills_and_every_job_runs_once(tmp_path: Path) -> None:
    with server_process(tmp_path / "data", "--ping-hold", "0.3", "--accept-timeout", "0.5") as server:
        api = server.start()
        steps = "steps: [{command: a, parallelism: 40}, wait, {command: b, parallelism: 40}]"
        api.create_pipeline(steps)
        api.create_build()
        started: list[str] = []
        finished: list[str] = []
        stopping = threading.Event()

        def work(number: int) -> None:
            agent = retry(lambda: FakeAgent(api, name=f"agent-{number}"))
            while not stopping.is_set():
                found = retry(agent.ping).get("job")
                if found is None:
                    continue
                job = accept(agent, str(found["id"]))
                if job is None:
                    continue
                if retry(job.start).status != 200:
                    continue
                started.append(job.id)
                data = f"log of {job.id}\n".encode() * 50
                assert retry(partial(job.chunk, 1, 0, data)).status == 200
                assert retry(job.finish).status == 200
                finished.append(job.id)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        chance = random.Random(5)
        for _ in range(4):
            time.sleep(0.1 + chance.random() * 0.25)
            server.kill()
            server.start()
        build = api.wait_build("passed", seconds=60)
        stopping.set()
        for thread in threads:
            thread.join(60)
        assert len(build["jobs"]) == 81
        assert max(Counter(started).values()) == 1, "nothing ran twice"
        scripts = [job for job in build["jobs"] if job["type"] == "script"]
        assert {job["id"] for job in scripts} == set(finished)
        for job in scripts[::10]:
            assert api.log(build, job["id"]) == f"log of {job['id']}\n".encode() * 50


def accept(agent: FakeAgent, job_id: str) -> FakeJob | None:
    """Accept as an agent does: again and again while the network fails, and not at all when the server says no."""
    answer = retry(lambda: agent.api.agent_call("PUT", f"/jobs/{job_id}/accept", agent.token))
    return FakeJob(agent.api, answer.json) if answer.status == 200 else None


def retry(call: Callable[[], T]) -> T:
    """Repeat a call while the server is away, as agents do."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return call()
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.03)


def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    with server_process(tmp_path / "data", "--ping-hold", "0.2") as server:
        api = server.start()
        api.create_pipeline("steps: [{command: a, key: a}, {command: b, key: b}, {block: B, key: k}, {command: c}]")
        api.create_build(commit="a" * 40, message="m")
        agent = FakeAgent(api, "queue=default")
        running = agent.take()
        assert running.chunk(1, 0, b"first ").status == 200
        assert running.chunk(3, 12, b"third").status == 200
        assert running.call("POST", "/data/set", {"key": "k", "value": "v"}).status == 200
        assert running.upload({"steps": [{"command": "x", "key": "x"}]}).status == 200
        before = api.build()
        server.kill()
        server.start()
        assert api.build() == before
        assert running.state().json["state"] == "running"
        assert api.log(before, running.id) == b"first "
        assert running.chunk(2, 6, b"second").status == 200
        assert running.chunk(3, 12, b"third").status == 200
        assert running.call("POST", "/data/get", {"key": "k"}).json["value"] == "v"
        assert running.finish().status == 200
        assert api.log(api.build(), running.id) == b"first secondthird"
        assert {agent.run().env["BUILDKITE_STEP_KEY"] for _ in range(2)} == {"b", "x"}
        assert api.wait_build("blocked")["state"] == "blocked"


def test_an_agent_asks_again_for_a_job_it_accepted_before_the_crash(tmp_path: Path) -> None:
    with server_process(tmp_path / "data", "--ping-hold", "0.2") as server:
        api = server.start()
        api.create_pipeline("steps: [{command: a}]")
        api.create_build()
        agent = FakeAgent(api)
        job = agent.accept(agent.next_job())
        server.kill()
        server.start()
        again = agent.accept(job.id)
        assert again.token == job.token
        assert again.start().status == 200
        assert again.finish().status == 200
        assert api.wait_build("passed")


def test_an_offer_forgotten_in_a_crash_goes_to_exactly_one_agent(tmp_path: Path) -> None:
    with server_process(tmp_path / "data", "--ping-hold", "0.2") as server:
        api = server.start()
        api.create_pipeline("steps: [{command: a}]")
        api.create_build()
        one, two = FakeAgent(api), FakeAgent(api)
        job_id = one.next_job()
        server.kill()
        server.start()
        assert two.next_job() == job_id
        statuses = [api.agent_call("PUT", f"/jobs/{job_id}/accept", agent.token).status for agent in (two, one)]
        assert statuses == [200, 409]


def test_an_agent_that_died_with_the_server_is_noticed_later(tmp_path: Path) -> None:
    with server_process(tmp_path / "data", "--heartbeat-timeout", "5") as server:
        api = server.start()
        api.create_pipeline("steps: [{command: a, key: a, retry: {automatic: true}}]")
        api.create_build()
        FakeAgent(api).take()
        server.kill()
        server.start()
        deadline = time.monotonic() + 60
        while find_job(api.build(), "a")["retry_type"] != "automatic":
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert job_states(api.build()) == {"a": "failed", "a#2": "scheduled"}


def test_a_stopped_server_ends_promptly_while_pings_are_held(tmp_path: Path) -> None:
    with server_process(tmp_path / "data", "--ping-hold", "50") as server:
        api = server.start()
        agents = [FakeAgent(api) for _ in range(5)]

        def ping(agent: FakeAgent) -> None:
            try:
                agent.ping()
            except OSError:
                pass

        threads = [threading.Thread(target=ping, args=(agent,)) for agent in agents]
        for thread in threads:
            thread.start()
        time.sleep(0.3)
        assert server.stop() == 0
        for thread in threads:
            thread.join(60)


def test_a_folder_serves_one_server(tmp_path: Path) -> None:
    with running_server(tmp_path / "data"):
        with pytest.raises(ConfigurationError) as error:
            open_plane(tmp_path / "data", Settings())
        assert error.value.code == "server.data"


def test_a_folder_that_cannot_be_used_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigurationError) as error:
        open_plane(tmp_path / "file" / "data", Settings())
    assert error.value.code == "server.data"
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "control-plane.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(ConfigurationError) as error:
        open_plane(tmp_path / "data", Settings())
    assert error.value.code == "server.data"


def test_a_newer_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "db.sqlite"
    Database.open(path).close()
    connection = sqlite3.connect(path)
    connection.execute("INSERT INTO schema_version VALUES (999)")
    connection.commit()
    connection.close()
    with pytest.raises(ConfigurationError) as error:
        Database.open(path)
    assert error.value.code == "server.data"
    assert "999" in error.value.message


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database.open(tmp_path / "db.sqlite")
    yield database
    database.close()


def set_value(tx: Transaction, name: str, value: str) -> None:
    tx.run("INSERT INTO settings (name, value) VALUES (:name, :value)", name=name, value=value)


def get_values(database: Database) -> dict[str, str]:
    rows: list[Row] = database.read_now(lambda tx: tx.all("SELECT name, value FROM settings"))
    return {row["name"]: row["value"] for row in rows}


def test_many_writers_share_commits_and_each_is_durable(database: Database) -> None:
    first = threading.Event()
    database.submit(lambda tx: first.wait(60))
    futures = [database.submit(partial(set_value, name=f"n{n}", value=str(n))) for n in range(200)]
    first.set()
    for future in futures:
        future.result(60)
    assert len(get_values(database)) == 200
    assert database.commits <= 5


def test_a_failing_transaction_is_undone_alone(database: Database) -> None:
    gate = threading.Event()
    called: list[str] = []

    def fail(tx: Transaction) -> None:
        set_value(tx, "half", "x")
        tx.after_commit(lambda: called.append("failed"))
        raise MalformedInput("request.malformed", "no")

    def succeed(tx: Transaction) -> str:
        set_value(tx, "whole", "x")
        tx.after_commit(lambda: called.append("whole"))
        return "done"

    database.submit(lambda tx: gate.wait(60))
    failing, succeeding = database.submit(fail), database.submit(succeed)
    gate.set()
    assert succeeding.result(60) == "done"
    with pytest.raises(MalformedInput):
        failing.result(60)
    assert get_values(database) == {"whole": "x"}
    assert called == ["whole"]


def test_what_comes_before_a_write_comes_before_it_or_nothing_is_written(database: Database) -> None:
    order: list[str] = []

    def refuse() -> None:
        raise Unavailable("server.store", "no room")

    async def write() -> None:
        await database.write_after(lambda: order.append("prepared"), lambda tx: set_value(tx, "first", str(order)))
        with pytest.raises(Unavailable, match="no room"):
            await database.write_after(refuse, lambda tx: set_value(tx, "second", "x"))
        with pytest.raises(MalformedInput):
            await database.write_after(lambda: None, fail)

    def fail(tx: Transaction) -> None:
        set_value(tx, "third", "x")
        raise MalformedInput("request.malformed", "no")

    run_coroutine(write())
    assert get_values(database) == {"first": "['prepared']"}


def test_a_commit_that_fails_is_told_to_everybody_in_it(database: Database) -> None:
    gate = threading.Event()
    database.submit(lambda tx: gate.wait(60))
    # With a full disk SQLite gives up the whole transaction; a page limit makes it behave so.
    database.submit(lambda tx: tx.all("PRAGMA max_page_count = 1"))
    futures = [database.submit(partial(set_value, name=f"big{n}", value="x" * 500_000)) for n in range(3)]
    gate.set()
    for future in futures:
        with pytest.raises(Unavailable) as error:
            future.result(60)
        assert error.value.code == "server.store"
    assert get_values(database) == {}
    database.submit(lambda tx: tx.all("PRAGMA max_page_count = 1000000")).result(60)
    database.submit(lambda tx: set_value(tx, "later", "x")).result(60)
    assert get_values(database) == {"later": "x"}


def test_a_closed_database_says_so(tmp_path: Path) -> None:
    database = Database.open(tmp_path / "db.sqlite")
    database.close()
    database.close()
    with pytest.raises(Unavailable):
        database.submit(lambda tx: None).result(60)


def test_a_full_disk_is_503_and_passes(tmp_path: Path) -> None:
    with running_server(tmp_path / "data", replace(QUICK, ping_hold=0.2)) as running:
        api: Api = running.api
        api.create_pipeline("steps: [{command: x}]")
        database = running.plane.database
        database.submit(lambda tx: tx.all("PRAGMA max_page_count = 1")).result(60)
        answer = api.rest("POST", "/pipelines/demo/builds", {"message": "m" * 60_000})
        assert (answer.status, answer.json["code"]) == (503, "server.store")
        database.submit(lambda tx: tx.all("PRAGMA max_page_count = 1000000")).result(60)
        assert api.rest("GET", "/pipelines/demo/builds").json == []
        assert api.create_build()["number"] == 1

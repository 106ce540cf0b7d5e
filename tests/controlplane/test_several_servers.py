"""Several servers on one database: any of them may be asked, and any of them may die."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import pytest

from pipeseal.controlplane.services.plane import open_plane
from pipeseal.errors import ConfigurationError
from tests.controlplane.postgres_server import fresh_database
from tests.controlplane.running import (
    QUICK,
    Answer,
    Api,
    FakeAgent,
    FakeJob,
    RunningServer,
    ServerProcess,
    job_states,
    running_server,
    until,
)
from tests.faults.clocks import JumpingClock

T = TypeVar("T")


@pytest.fixture
def url() -> Iterator[str]:
    with fresh_database() as fresh:
        yield fresh


@pytest.fixture
def pair(tmp_path: Path, url: str) -> Iterator[tuple[RunningServer, RunningServer]]:
    """Two servers in threads, on one database and one folder of objects."""
    settings = replace(QUICK, ping_hold=100.0, heartbeat_timeout=600.0)
    objects = str(tmp_path / "objects")
    with (
        running_server(tmp_path / "a", settings, database_url=url, object_store=objects) as a,
        running_server(tmp_path / "b", settings, database_url=url, object_store=objects, tokens=tmp_path / "a") as b,
    ):
        until(lambda: a.plane.peers.is_listening and b.plane.peers.is_listening, "the servers to hear each other")
        yield a, b


def at(agent: FakeAgent, server: RunningServer) -> FakeAgent:
    """The same agent, whose requests now reach another server."""
    agent.api = server.api
    return agent


def test_a_held_ping_is_woken_by_a_build_made_at_another_server(
    pair: tuple[RunningServer, RunningServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeseal.controlplane.services.peers._HEAL_SECONDS", 10_000.0)  # only what servers say helps
    a, b = pair
    a.api.create_pipeline("steps: [{command: x}]")
    agent = FakeAgent(a.api)
    for _ in range(5):
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(agent.ping)
            until(lambda: a.plane.dispatcher.waiting_count == 1, "a held ping")
            b.api.create_build()
            action = answer.result(60)
        assert agent.accept(action["job"]["id"]).finish().status == 200


def test_one_job_is_told_to_one_agent_of_all_that_wait_everywhere(pair: tuple[RunningServer, RunningServer]) -> None:
    a, b = pair
    a.api.create_pipeline("steps: [{command: x}]")
    agents = [FakeAgent(server.api) for server in pair for _ in range(3)]
    with ThreadPoolExecutor(len(agents)) as pool:
        answers = [pool.submit(agent.ping) for agent in agents]
        until(lambda: a.plane.dispatcher.waiting_count + b.plane.dispatcher.waiting_count == 6, "six held pings")
        for _ in range(4):
            b.api.create_build()
        until(lambda: sum(answer.done() for answer in answers) == 4, "four agents to be told")
        time.sleep(0.2)
        told = [answer.result()["job"]["id"] for answer in answers if answer.done()]
        assert len(set(told)) == len(told) == 4
        for agent in agents:
            if answers[agents.index(agent)].done():
                continue
            at_once = agent.api.rest("PUT", f"/agents/{agent.id}/stop", {})
            assert at_once.status in (200, 204)


def test_an_agent_may_ask_a_different_server_each_time(pair: tuple[RunningServer, RunningServer]) -> None:
    a, b = pair
    a.api.create_pipeline("steps: [{command: x, key: x}, wait, {command: y, key: y}]")
    build = b.api.create_build()
    agent = FakeAgent(a.api)
    job_id = at(agent, b).next_job()
    job = at(agent, a).accept(job_id)
    again = at(agent, b).accept(job_id)
    assert again.token == job.token  # the same agent hears the same answer everywhere
    assert FakeJob(b.api, job.assignment).start().status == 200
    assert FakeJob(a.api, job.assignment).state().json["state"] == "running"
    assert FakeJob(b.api, job.assignment).finish().status == 200
    assert FakeJob(a.api, job.assignment).finish().status == 200  # said again
    at(agent, a).run()
    states = job_states(b.api.wait_build("passed", number=build["number"]))
    assert states == {"x": "passed", "waiter": "passed", "y": "passed"}
    agent = at(agent, b)
    agent.disconnect()
    until(lambda: a.api.agent_call("GET", "/ping", agent.token).status == 401, "the token to end everywhere")


def test_a_log_written_through_two_servers_is_one_log(pair: tuple[RunningServer, RunningServer]) -> None:
    a, b = pair
    a.api.create_pipeline("steps: [{command: x}]")
    build = a.api.create_build()
    job = FakeAgent(a.api).take()
    here, there = FakeJob(a.api, job.assignment), FakeJob(b.api, job.assignment)
    data = random.Random(3).randbytes(400_000)
    pieces = [
        (number, start, data[start : start + 9_999]) for number, start in enumerate(range(0, 400_000, 9_999), 1)
    ]
    twice = [(server, *piece) for piece in pieces for server in (here, there)]
    random.Random(4).shuffle(twice)
    with ThreadPoolExecutor(6) as pool:
        statuses = Counter(pool.map(lambda item: item[0].chunk(*item[1:]).status, twice))
    assert statuses == {200: len(twice)}
    assert a.api.log(build, job.id) == b.api.log(build, job.id) == data
    other = data[:50]
    assert there.chunk(1, 0, other).status == 422
    assert there.chunk(99, 10, other).status == 422
    assert there.chunk(100, 400_100, b"behind a hole").status == 200
    assert here.finish().status == 200
    logs = a.api.log(build, job.id), b.api.log(build, job.id)
    assert logs[0] == logs[1]
    assert logs[0].startswith(data)
    assert logs[0].endswith(b"behind a hole")
    assert b"never reached the server" in logs[0]
    assert len(logs[0]) == 400_113
    assert there.chunk(101, 400_113, b"too late").status == 422


def test_a_follower_at_one_server_hears_of_a_chunk_sent_to_another(pair: tuple[RunningServer, RunningServer]) -> None:
    a, b = pair
    a.api.create_pipeline("steps: [{command: x}]")
    a.api.create_build()
    job = FakeAgent(a.api).take()
    path = f"/pipelines/demo/builds/1/jobs/{job.id}/log.txt?offset=0&wait=20"
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(b.api.rest, "GET", path)
        time.sleep(0.3)  # it waits there by then, most likely
        assert job.chunk(1, 0, b"hello\n").status == 200
        assert answer.result(60).body == b"hello\n"


def test_pausing_and_stopping_reach_an_agent_that_waits_elsewhere(pair: tuple[RunningServer, RunningServer]) -> None:
    a, b = pair
    agent = FakeAgent(a.api)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(agent.ping)
        until(lambda: a.plane.dispatcher.waiting_count == 1, "a held ping")
        assert b.api.rest("PUT", f"/agents/{agent.id}/pause", {"note": "maintenance"}).status in (200, 204)
        assert answer.result(60)["action"] == "pause"
        answer = pool.submit(agent.ping)
        until(lambda: a.plane.dispatcher.waiting_count == 1, "the paused agent's held ping")
        assert b.api.rest("PUT", f"/agents/{agent.id}/resume", {}).status in (200, 204)
        answer.result(60)
        answer = pool.submit(agent.ping)
        until(lambda: a.plane.dispatcher.waiting_count == 1, "a held ping")
        assert b.api.rest("PUT", f"/agents/{agent.id}/stop", {}).status in (200, 204)
        assert answer.result(60)["action"] == "disconnect"


def test_servers_find_each_other_again_when_the_database_cut_them_off(
    pair: tuple[RunningServer, RunningServer], url: str
) -> None:
    a, b = pair
    a.api.create_pipeline("steps: [{command: x}]")
    agent = FakeAgent(a.api)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(agent.ping)
        until(lambda: a.plane.dispatcher.waiting_count == 1, "a held ping")
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        b.api.create_build()
        assert answer.result(60)["job"]["id"]


def test_an_agent_is_lost_only_when_no_server_hears_of_it(tmp_path: Path, url: str) -> None:
    settings = replace(QUICK, ping_hold=0.2, heartbeat_timeout=600.0)
    objects, clock = str(tmp_path / "objects"), JumpingClock()
    options: Any = {"clock": clock, "database_url": url, "object_store": objects}
    with (
        running_server(tmp_path / "a", settings, **options) as a,
        running_server(tmp_path / "b", settings, tokens=tmp_path / "a", **options) as b,
    ):
        a.api.create_pipeline("steps: [{command: x, parallelism: 2}]")
        a.api.create_build()
        living, dead = FakeAgent(a.api), FakeAgent(a.api)
        kept, lost = living.take(), dead.take()
        at(living, b)  # the first server never hears of it again
        deadline = time.monotonic() + 60
        while lost.state().status == 200:
            assert living.heartbeat().status == 200
            clock.jump(settings.heartbeat_timeout / 8)
            assert time.monotonic() < deadline, "the dead agent was never noticed"
            time.sleep(0.1)  # for what servers tell each other by way of the database
        for _ in range(20):
            assert living.heartbeat().status == 200
            clock.jump(settings.heartbeat_timeout / 8)
            time.sleep(0.1)
        assert kept.state().json["state"] == "running"
        states = {agent["id"]: agent["connection_state"] for agent in b.api.rest("GET", "/agents").json}
        assert states.get(living.id) == "connected"
        assert states.get(dead.id, "lost") == "lost"


def test_servers_of_one_database_must_share_their_objects(tmp_path: Path, url: str) -> None:
    open_plane(tmp_path / "a", QUICK, database_url=url, object_store=str(tmp_path / "objects")).close()
    open_plane(tmp_path / "b", QUICK, database_url=url, object_store=str(tmp_path / "objects")).close()
    for elsewhere in ("", str(tmp_path / "others")):
        with pytest.raises(ConfigurationError) as error:
            open_plane(tmp_path / "b", QUICK, database_url=url, object_store=elsewhere)
        assert error.value.code == "server.objects"


def retry(call: Callable[[Api], T], apis: list[Api]) -> T:
    """Repeat a call at one server after the other, as an agent behind a balancer does, until one answers."""
    deadline = time.monotonic() + 60
    number = 0
    while True:
        try:
            return call(apis[number % len(apis)])
        except OSError:
            assert time.monotonic() < deadline, "no server answers"
            number += 1
            time.sleep(0.02)


def test_one_of_two_servers_is_killed_and_each_of_200_jobs_runs_once(tmp_path: Path, url: str) -> None:
    options = ["--database-url", url, "--object-store", str(tmp_path / "objects")]
    options += ["--ping-hold", "0.5", "--accept-timeout", "1"]
    with ExitStack() as stack:
        servers = [ServerProcess(tmp_path / name, *options, tokens=tmp_path / "a") for name in ("a", "b")]
        for server in servers:
            stack.callback(server.kill_if_running)
        apis = [server.start() for server in servers]
        apis[0].create_pipeline("steps: [{command: a, parallelism: 100}, wait, {command: b, parallelism: 100}]")
        apis[1].create_build()
        accepted: set[tuple[str, int]] = set()
        finished: list[str] = []
        stopping = threading.Event()

        def work(number: int) -> None:
            mine = apis[number % 2 :] + apis[: number % 2]
            agent = retry(lambda api: FakeAgent(api, name=f"agent-{number}"), mine)

            def call(method: str, path: str, token: str, body: object = None) -> Answer:
                def once(api: Api) -> Answer:
                    answer = api.agent_call(method, path, token, body)
                    if answer.status >= 500:
                        raise OSError(f"{method} {path}: {answer.status}")
                    return answer

                return retry(once, mine)

            while not stopping.is_set():
                found = call("GET", "/ping", agent.token).json.get("job")
                if found is None:
                    continue
                answer = call("PUT", f"/jobs/{found['id']}/accept", agent.token)
                if answer.status != 200:
                    continue
                job = FakeJob(mine[0], answer.json)
                accepted.add((job.id, number))
                call("PUT", f"/jobs/{job.id}/start", job.token, {"started_at": "2026-01-01T00:00:00Z"})

                def send(api: Api, job: FakeJob = job) -> None:
                    answer = FakeJob(api, job.assignment).chunk(1, 0, f"log of {job.id}\n".encode())
                    if answer.status >= 500:
                        raise OSError("again")
                    assert answer.status == 200, answer.json

                retry(send, mine)

                def finish(api: Api, job: FakeJob = job) -> None:
                    answer = FakeJob(api, job.assignment).finish()
                    if answer.status >= 500:
                        raise OSError("again")
                    assert answer.status == 200, answer.json

                retry(finish, mine)
                finished.append(job.id)

        with ThreadPoolExecutor(4) as pool:
            workers = [pool.submit(work, number) for number in range(4)]
            try:
                until(lambda: len(finished) >= 60 or any(worker.done() for worker in workers), "a third of it", 60)
                servers[1].kill()
                build = apis[0].wait_build("passed", "failed", seconds=90)
            finally:
                stopping.set()
            for worker in workers:
                worker.result(60)
        assert build["state"] == "passed"
        jobs = [job["id"] for job in build["jobs"] if job["type"] == "script"]
        assert Counter(finished) == Counter(jobs)
        assert Counter(job_id for job_id, _ in accepted) == Counter(jobs)
        assert all(job["retries_count"] in (0, None) for job in build["jobs"] if job["type"] == "script")
        for job_id in jobs[::10]:
            assert apis[0].log(build, job_id) == f"log of {job_id}\n".encode()

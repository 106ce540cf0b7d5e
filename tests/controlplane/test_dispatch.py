"""Dispatch over real HTTP: held pings, each job once, agents that vanish, pause and stop."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.controlplane.running import QUICK, FakeAgent, RunningServer, find_job, job_states, running_server, until


@pytest.fixture
def running(tmp_path: Path) -> Iterator[RunningServer]:
    with running_server(tmp_path / "data", replace(QUICK, ping_hold=10, offer_timeout=0.5)) as server:
        yield server


def test_a_held_ping_is_answered_as_soon_as_there_is_work(running: RunningServer) -> None:
    running.api.create_pipeline("steps: [{command: x}]")
    agent = FakeAgent(running.api)
    answered: list[float] = []

    def wait() -> None:
        agent.next_job()
        answered.append(time.monotonic())

    waiter = threading.Thread(target=wait)
    waiter.start()
    until(lambda: running.plane.dispatcher.waiting_count == 1, "a held ping")
    begin = time.monotonic()
    running.api.create_build()
    waiter.join(10)
    assert answered[0] - begin < 2, "milliseconds when the machine is idle; never the next poll"


def test_two_agents_and_200_jobs_each_run_once(running: RunningServer) -> None:
    running.api.create_pipeline("steps: [{command: x, parallelism: 200}]")
    running.api.create_build()
    taken: list[str] = []

    def work(agent: FakeAgent) -> None:
        while True:
            found = agent.ping().get("job")
            if found is None:
                return
            job = agent.accept(str(found["id"]))
            assert job.start().status == 200
            taken.append(job.id)
            assert job.finish().status == 200

    running.plane.settings = replace(running.plane.settings, ping_hold=0.3)
    threads = [threading.Thread(target=work, args=(FakeAgent(running.api),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(taken) == 200
    assert max(Counter(taken).values()) == 1
    build = running.api.wait_build("passed")
    assert {job["id"] for job in build["jobs"]} == set(taken)


def test_only_one_of_many_agents_gets_a_job_they_all_want(running: RunningServer) -> None:
    running.api.create_pipeline("steps: [{command: x}]")
    agents = [FakeAgent(running.api) for _ in range(8)]
    for _ in range(5):
        running.api.create_build()
    for agent in agents[:5]:
        job_id = agent.next_job()
        statuses: list[int] = []
        barrier = threading.Barrier(len(agents))

        def accept(
            one: FakeAgent, wanted: str = job_id, into: list[int] = statuses, at: threading.Barrier = barrier
        ) -> None:
            at.wait()
            into.append(one.api.agent_call("PUT", f"/jobs/{wanted}/accept", one.token).status)

        threads = [threading.Thread(target=accept, args=(one,)) for one in agents]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert sorted(statuses) == [200] + [409] * 7


def test_accept_may_be_repeated_and_gives_the_same_working_token(running: RunningServer) -> None:
    running.api.create_pipeline("steps: [{command: x}]")
    running.api.create_build()
    agent = FakeAgent(running.api)
    job_id = agent.next_job()
    first, second = agent.accept(job_id), agent.accept(job_id)
    assert first.assignment == second.assignment
    assert second.start().status == 200
    assert first.finish().status == 200


def test_a_job_that_is_not_accepted_is_offered_again(running: RunningServer) -> None:
    running.api.create_pipeline("steps: [{command: x}]")
    running.api.create_build()
    sleeper, worker = FakeAgent(running.api), FakeAgent(running.api)
    job_id = sleeper.next_job()
    assert running.api.agent_call("PUT", f"/jobs/{job_id}/accept", worker.token).json["code"] == "state.unavailable"
    assert worker.next_job() == job_id, "after half a second it goes to the other agent"
    worker.accept(job_id)
    assert running.api.agent_call("PUT", f"/jobs/{job_id}/accept", sleeper.token).status == 409


def test_a_ping_whose_agent_hung_up_takes_no_job_with_it(running: RunningServer) -> None:
    running.plane.dispatcher._offer_seconds = 60
    running.api.create_pipeline("steps: [{command: x}]")
    gone, worker = FakeAgent(running.api), FakeAgent(running.api)
    with socket.create_connection((running.api.host, running.api.port)) as connection:
        connection.sendall(f"GET /v3/ping HTTP/1.1\r\nHost: x\r\nAuthorization: Token {gone.token}\r\n\r\n".encode())
        until(lambda: running.plane.dispatcher.waiting_count == 1, "a held ping")
    until(lambda: running.plane.dispatcher.waiting_count == 0, "the held ping to be given up")
    running.api.create_build()
    assert worker.next_job(seconds=5)


def test_a_second_ping_of_the_same_agent_ends_the_first(running: RunningServer) -> None:
    agent = FakeAgent(running.api)
    first: list[dict[str, object]] = []
    thread = threading.Thread(target=lambda: first.append(agent.ping()))
    thread.start()
    until(lambda: running.plane.dispatcher.waiting_count == 1, "the first ping")
    second = threading.Thread(target=agent.ping)
    second.start()
    thread.join(5)
    assert first
    assert first[0].get("job") is None
    running.server.should_exit = True
    second.join(5)
    assert not second.is_alive(), "a stopping server lets held pings go"


def test_jobs_go_only_to_agents_with_their_tags(running: RunningServer) -> None:
    running.plane.settings = replace(running.plane.settings, ping_hold=0.2)
    steps = """
agents: {queue: build}
steps:
  - {command: a, key: a}
  - {command: b, key: b, agents: {queue: deploy, os: "*"}}
  - {command: c, key: c, agents: ["queue=default"]}
"""
    running.api.create_pipeline(steps)
    running.api.create_build()
    agents = {
        "a": FakeAgent(running.api, "queue=build"),
        "none": FakeAgent(running.api, "queue=deploy"),
        "b": FakeAgent(running.api, "queue=deploy", "os=linux"),
        "c": FakeAgent(running.api),
    }
    assert agents["none"].ping().get("job") is None
    other = find_job(running.api.build(), "b")["id"]
    answer = running.api.agent_call("PUT", f"/jobs/{other}/accept", agents["none"].token)
    assert answer.json["code"] == "state.unavailable"
    for key in "abc":
        assert agents[key].run().env["BUILDKITE_STEP_KEY"] == key


def test_the_agent_of_higher_priority_is_chosen(running: RunningServer) -> None:
    running.api.create_pipeline("steps: [{command: x}]")
    agents = [FakeAgent(running.api, priority=priority) for priority in (None, "9", "-3")]
    chosen: list[int] = []

    def wait(number: int) -> None:
        if agents[number].ping().get("job") is not None:
            chosen.append(number)

    threads = [threading.Thread(target=wait, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    until(lambda: running.plane.dispatcher.waiting_count == 3, "three held pings")
    running.api.create_build()
    until(lambda: bool(chosen), "an agent to be chosen")
    assert chosen == [1]
    running.server.should_exit = True
    for thread in threads:
        thread.join(5)


def test_a_paused_agent_gets_nothing_until_it_is_resumed(running: RunningServer) -> None:
    running.api.create_pipeline("steps: [{command: x}]")
    agent = FakeAgent(running.api)
    assert running.api.rest("PUT", f"/agents/{agent.id}/pause", {"note": "lunch"}).status == 204
    assert agent.ping() == {"action": "pause", "message": "lunch", "job": None}
    running.api.create_build()
    actions: list[dict[str, object]] = []
    thread = threading.Thread(target=lambda: actions.append(agent.ping()))
    thread.start()
    until(lambda: running.plane.dispatcher.waiting_count == 1, "the paused agent's held ping")
    assert running.api.rest("GET", "/agents").json[0]["paused"] is True
    assert running.api.rest("PUT", f"/agents/{agent.id}/resume").status == 204
    thread.join(5)
    assert actions[0]["action"] == ""
    assert agent.next_job()


def test_a_stopped_agent_is_told_to_disconnect(running: RunningServer) -> None:
    agent = FakeAgent(running.api)
    actions: list[dict[str, object]] = []
    thread = threading.Thread(target=lambda: actions.append(agent.ping()))
    thread.start()
    until(lambda: running.plane.dispatcher.waiting_count == 1, "a held ping")
    assert running.api.rest("PUT", f"/agents/{agent.id}/stop").status == 204
    thread.join(5)
    assert actions[0]["action"] == "disconnect"
    agent.disconnect()
    assert running.api.rest("GET", "/agents").json == []
    assert running.api.rest("GET", f"/agents/{agent.id}").json["connection_state"] == "disconnected"


def test_an_agent_that_wants_no_more_jobs_gets_none(running: RunningServer) -> None:
    running.plane.settings = replace(running.plane.settings, ping_hold=0.2)
    running.api.create_pipeline("steps: [{command: x, parallelism: 2}]")
    running.api.create_build()
    agent = FakeAgent(running.api)
    agent.run(ignore_agent_in_dispatches=True)
    assert agent.ping().get("job") is None


def test_an_agent_that_vanishes_is_noticed_and_its_job_retried(tmp_path: Path) -> None:
    settings = replace(QUICK, ping_hold=0.2, heartbeat_timeout=0.6)
    with running_server(tmp_path / "data", settings) as running:
        steps = (
            "steps: [{command: a, key: a, retry: {automatic: [{exit_status: -1, limit: 1}]}}, {command: b, key: b}]"
        )
        running.api.create_pipeline(steps)
        running.api.create_build()
        lost = FakeAgent(running.api)
        held = lost.take()
        assert held.chunk(2, 3, b"end").status == 200
        until(lambda: find_job(running.api.build(), "a")["retry_type"] == "automatic", "the retry")
        first = running.api.build()["jobs"][0]
        assert (first["state"], first["exit_status"], first["signal_reason"]) == ("failed", -1, "agent_lost")
        assert running.api.log(running.api.build(), first["id"])[3:] == b"end"
        assert first["log_missing_bytes"] == 3
        assert held.state().status == 401, "an agent that comes back hears that the job is no longer its own"
        assert held.finish(0).status == 401
        assert running.api.rest("GET", f"/agents/{lost.id}").json["connection_state"] == "lost"
        other = FakeAgent(running.api)
        other.run()
        lost.run()
        assert job_states(running.api.wait_build("passed")) == {"a": "failed", "a#2": "passed", "b": "passed"}
        assert running.api.rest("GET", f"/agents/{lost.id}").json["connection_state"] == "connected"


def test_an_agent_whose_ping_is_held_is_not_lost(tmp_path: Path) -> None:
    with running_server(tmp_path / "data", replace(QUICK, ping_hold=1.5, heartbeat_timeout=0.3)) as running:
        running.api.create_pipeline("steps: [{command: a}]")
        agent = FakeAgent(running.api)
        ping = threading.Thread(target=agent.ping)
        ping.start()
        time.sleep(0.9)
        assert running.api.rest("GET", f"/agents/{agent.id}").json["connection_state"] == "connected"
        ping.join(5)


def test_an_agent_that_asks_for_work_has_given_up_its_job(
    running: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeseal.controlplane.services.ping._ABANDONED_AFTER", 0.1)
    running.api.create_pipeline(
        "steps: [{command: a, key: a, retry: {automatic: {signal_reason: agent_lost, limit: 1}}}]"
    )
    running.api.create_build()
    agent = FakeAgent(running.api)
    job = agent.take()
    time.sleep(0.2)
    again = agent.take()
    assert again.env["BUILDKITE_RETRY_COUNT"] == "1"
    assert job.finish().status == 401
    again.finish()
    running.api.wait_build("passed")


def test_a_job_accepted_and_never_started_goes_back_to_the_queue(tmp_path: Path) -> None:
    with running_server(tmp_path / "data", replace(QUICK, ping_hold=0.2, heartbeat_timeout=0.5)) as running:
        running.api.create_pipeline("steps: [{command: a, key: a}]")
        running.api.create_build()
        lost = FakeAgent(running.api)
        held = lost.accept(lost.next_job())
        until(lambda: job_states(running.api.build())["a"] == "scheduled", "the job to come back")
        assert held.start().status == 401, "the agent that lost it cannot start it after all"
        job = FakeAgent(running.api).run()
        assert job.id == held.id
        assert job.token != held.token
        running.api.wait_build("passed")


def test_a_disconnecting_agent_leaves_no_job_behind(running: RunningServer) -> None:
    running.api.create_pipeline("steps: [{command: a, key: a}]")
    running.api.create_build()
    agent = FakeAgent(running.api)
    agent.take()
    agent.disconnect()
    assert running.api.wait_build("failed")["jobs"][0]["signal_reason"] == "agent_lost"


def test_heartbeats_keep_an_agent_alive(tmp_path: Path) -> None:
    with running_server(tmp_path / "data", replace(QUICK, heartbeat_timeout=0.6)) as running:
        running.api.create_pipeline("steps: [{command: a, key: a}]")
        running.api.create_build()
        agent = FakeAgent(running.api)
        job = agent.take()
        for _ in range(8):
            time.sleep(0.2)
            assert agent.heartbeat().status == 200
        assert job.finish().status == 200
        running.api.wait_build("passed")

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
from tests.faults.clocks import JumpingClock

# By a clock that jumps, so that nothing lapses because the machine is slow.
HEARTBEAT_TIMEOUT = 600.0
OFFER_TIMEOUT = 600.0


@pytest.fixture
def clock() -> JumpingClock:
    return JumpingClock()


@pytest.fixture
def running(tmp_path: Path, clock: JumpingClock) -> Iterator[RunningServer]:
    settings = replace(QUICK, ping_hold=600, offer_timeout=OFFER_TIMEOUT, heartbeat_timeout=100_000)
    with running_server(tmp_path / "data", settings, clock=clock) as server:
        yield server


@pytest.fixture
def impatient(tmp_path: Path, clock: JumpingClock) -> Iterator[RunningServer]:
    """A server that waits `HEARTBEAT_TIMEOUT` for signs of life."""
    settings = replace(QUICK, ping_hold=0.2, heartbeat_timeout=HEARTBEAT_TIMEOUT)
    with running_server(tmp_path / "data", settings, clock=clock) as server:
        yield server


def wait_for_loss(
    running: RunningServer, agent: FakeAgent, clock: JumpingClock, living: FakeAgent | None = None
) -> None:
    """Let time go by, in which only `living` gives signs of life, until the server knows that `agent` is lost."""

    def is_lost() -> bool:
        if living is not None:
            assert living.heartbeat().status == 200
        clock.jump(HEARTBEAT_TIMEOUT / 4)
        return bool(running.api.rest("GET", f"/agents/{agent.id}").json["connection_state"] == "lost")

    until(is_lost, "the agent to be lost")


def test_a_held_ping_is_answered_as_soon_as_there_is_work(running: RunningServer) -> None:
    running.api.create_pipeline("steps: [{command: x}]")
    agent = FakeAgent(running.api)
    told: list[str] = []
    waiter = threading.Thread(target=lambda: told.append(agent.next_job()))
    waiter.start()
    until(lambda: running.plane.dispatcher.waiting_count == 1, "a held ping")
    running.api.create_build()
    waiter.join(60)
    assert told, "at once; never when the ping would have ended"


def test_two_agents_and_200_jobs_each_run_once(running: RunningServer) -> None:
    running.api.create_pipeline("steps: [{command: x, parallelism: 200}]")
    running.api.create_build()
    taken: list[str] = []

    def work(agent: FakeAgent) -> None:
        while len(taken) < 200:
            found = agent.ping().get("job")
            if found is None:
                continue
            job = agent.accept(str(found["id"]))
            assert job.start().status == 200
            taken.append(job.id)
            assert job.finish().status == 200

    running.plane.settings = replace(running.plane.settings, ping_hold=0.3)
    threads = [threading.Thread(target=work, args=(FakeAgent(running.api),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(240)
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
            thread.join(60)
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


def test_a_job_that_is_not_accepted_is_offered_again(running: RunningServer, clock: JumpingClock) -> None:
    running.api.create_pipeline("steps: [{command: x}]")
    running.api.create_build()
    sleeper, worker = FakeAgent(running.api), FakeAgent(running.api)
    job_id = sleeper.next_job()
    assert running.api.agent_call("PUT", f"/jobs/{job_id}/accept", worker.token).json["code"] == "state.unavailable"
    clock.jump(2 * OFFER_TIMEOUT)
    running.plane.events.call(lambda: running.plane.dispatcher._expire(job_id))  # what its timer does by then
    assert worker.next_job() == job_id
    worker.accept(job_id)
    assert running.api.agent_call("PUT", f"/jobs/{job_id}/accept", sleeper.token).status == 409


def test_a_ping_whose_agent_hung_up_takes_no_job_with_it(running: RunningServer) -> None:
    running.api.create_pipeline("steps: [{command: x}]")
    gone, worker = FakeAgent(running.api), FakeAgent(running.api)
    with socket.create_connection((running.api.host, running.api.port)) as connection:
        connection.sendall(f"GET /v3/ping HTTP/1.1\r\nHost: x\r\nAuthorization: Token {gone.token}\r\n\r\n".encode())
        until(lambda: running.plane.dispatcher.waiting_count == 1, "a held ping")
    until(lambda: running.plane.dispatcher.waiting_count == 0, "the held ping to be given up")
    running.api.create_build()
    assert worker.next_job(seconds=60)


def test_a_second_ping_of_the_same_agent_ends_the_first(running: RunningServer) -> None:
    agent = FakeAgent(running.api)
    first: list[dict[str, object]] = []
    thread = threading.Thread(target=lambda: first.append(agent.ping()))
    thread.start()
    until(lambda: running.plane.dispatcher.waiting_count == 1, "the first ping")
    second = threading.Thread(target=agent.ping)
    second.start()
    thread.join(60)
    assert first
    assert first[0].get("job") is None
    running.server.should_exit = True
    second.join(60)
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
        thread.join(60)


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
    thread.join(60)
    assert actions[0]["action"] == ""
    assert agent.next_job()


def test_a_stopped_agent_is_told_to_disconnect(running: RunningServer) -> None:
    agent = FakeAgent(running.api)
    actions: list[dict[str, object]] = []
    thread = threading.Thread(target=lambda: actions.append(agent.ping()))
    thread.start()
    until(lambda: running.plane.dispatcher.waiting_count == 1, "a held ping")
    assert running.api.rest("PUT", f"/agents/{agent.id}/stop").status == 204
    thread.join(60)
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


def test_an_agent_that_vanishes_is_noticed_and_its_job_retried(impatient: RunningServer, clock: JumpingClock) -> None:
    api = impatient.api
    api.create_pipeline(
        "steps: [{command: a, key: a, retry: {automatic: [{exit_status: -1, limit: 1}]}}, {command: b, key: b}]"
    )
    api.create_build()
    lost = FakeAgent(api)
    held = lost.take()
    assert held.chunk(2, 3, b"end").status == 200
    wait_for_loss(impatient, lost, clock)
    until(lambda: find_job(api.build(), "a")["retry_type"] == "automatic", "the retry")
    first = api.build()["jobs"][0]
    assert (first["state"], first["exit_status"], first["signal_reason"]) == ("failed", -1, "agent_lost")
    assert api.log(api.build(), first["id"])[3:] == b"end"
    assert first["log_missing_bytes"] == 3
    assert held.state().status == 401, "an agent that comes back hears that the job is no longer its own"
    assert held.finish(0).status == 401
    assert api.rest("GET", f"/agents/{lost.id}").json["connection_state"] == "lost"
    other = FakeAgent(api)
    other.run()
    lost.run()
    assert job_states(api.wait_build("passed")) == {"a": "failed", "a#2": "passed", "b": "passed"}
    assert api.rest("GET", f"/agents/{lost.id}").json["connection_state"] == "connected"


def test_an_agent_whose_ping_is_held_is_not_lost(impatient: RunningServer, clock: JumpingClock) -> None:
    impatient.plane.settings = replace(impatient.plane.settings, ping_hold=600)
    agent, silent = FakeAgent(impatient.api), FakeAgent(impatient.api)
    ping = threading.Thread(target=agent.ping)
    ping.start()
    until(lambda: impatient.plane.dispatcher.waiting_count == 1, "a held ping")
    wait_for_loss(impatient, silent, clock)
    assert impatient.api.rest("GET", f"/agents/{agent.id}").json["connection_state"] == "connected"
    impatient.server.should_exit = True
    ping.join(60)


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


def test_a_job_accepted_and_never_started_goes_back_to_the_queue(
    impatient: RunningServer, clock: JumpingClock
) -> None:
    api = impatient.api
    api.create_pipeline("steps: [{command: a, key: a}]")
    api.create_build()
    lost = FakeAgent(api)
    held = lost.accept(lost.next_job())
    wait_for_loss(impatient, lost, clock)
    until(lambda: job_states(api.build())["a"] == "scheduled", "the job to come back")
    assert held.start().status == 401, "the agent that lost it cannot start it after all"
    job = FakeAgent(api).run()
    assert job.id == held.id
    assert job.token != held.token
    api.wait_build("passed")


def test_a_disconnecting_agent_leaves_no_job_behind(running: RunningServer) -> None:
    running.api.create_pipeline("steps: [{command: a, key: a}]")
    running.api.create_build()
    agent = FakeAgent(running.api)
    agent.take()
    agent.disconnect()
    assert running.api.wait_build("failed")["jobs"][0]["signal_reason"] == "agent_lost"


def test_heartbeats_keep_an_agent_alive(impatient: RunningServer, clock: JumpingClock) -> None:
    impatient.api.create_pipeline("steps: [{command: a, key: a}]")
    impatient.api.create_build()
    agent, silent = FakeAgent(impatient.api), FakeAgent(impatient.api)
    job = agent.take()
    wait_for_loss(impatient, silent, clock, living=agent)
    assert job.finish().status == 200
    impatient.api.wait_build("passed")

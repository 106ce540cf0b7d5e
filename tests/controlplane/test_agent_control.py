"""Agents stopped, paused and resumed by their jobs; timeouts, promised failures, and jobs acquired by name."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeseal.clock import SystemClock
from tests.controlplane.job_side import command, running_jobs
from tests.controlplane.running import (
    QUICK,
    Answer,
    FakeAgent,
    FakeJob,
    RunningServer,
    find_job,
    running_server,
    until,
)


class MovableClock:
    """The system's clock, some seconds ahead."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def now(self) -> float:
        return SystemClock().now() + self.ahead


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
def running(tmp_path: Path, clock: MovableClock) -> Iterator[RunningServer]:
    settings = replace(QUICK, ping_hold=0.3, heartbeat_timeout=10_000.0)
    with running_server(tmp_path / "data", settings, clock=clock) as server:
        yield server


def agent_and_job(
    running: RunningServer, steps: str = "steps: [{command: a}, {command: b}]"
) -> tuple[FakeAgent, FakeJob]:
    running.api.create_pipeline(steps)
    running.api.create_build()
    agent = FakeAgent(running.api)
    return agent, agent.take()


def control(job: FakeJob, what: str, body: Any = None) -> Answer:
    return job.api.agent_call("POST", f"/{what}", job.token, body)


def test_an_agent_is_stopped_after_its_job(running: RunningServer) -> None:
    agent, job = agent_and_job(running)
    assert control(job, "stop").status == 200
    assert control(job, "stop", {"force": False}).status == 200, "said again"
    assert job.state().json["state"] == "running"
    job.finish()
    assert agent.ping()["action"] == "disconnect"


def test_an_agent_is_stopped_at_once(running: RunningServer) -> None:
    agent, job = agent_and_job(running)
    assert control(job, "stop", {"force": True}).status == 200
    assert job.state().json["state"] == "canceling"
    job.finish(-1, signal_reason="agent_stop")
    assert agent.ping()["action"] == "disconnect"


def test_an_agent_is_paused_and_resumed(running: RunningServer) -> None:
    agent, job = agent_and_job(running)
    assert control(job, "pause", {"note": "why not"}).status == 200
    assert agent.ping() | {"job": None} == {"action": "pause", "message": "why not", "job": None}
    assert control(job, "resume").status == 200
    job.finish()
    assert agent.next_job()


def test_a_pause_ends_by_itself(running: RunningServer, clock: MovableClock) -> None:
    agent, job = agent_and_job(running)
    assert control(job, "pause", {"timeout_in_minutes": 5}).status == 200
    job.finish()
    assert agent.ping()["action"] == "pause"
    clock.ahead = 4 * 60
    assert not agent.ping().get("job")
    clock.ahead = 5 * 60 + 1
    assert agent.next_job()


@pytest.mark.parametrize(
    ("what", "body"),
    [
        ("pause", {"timeout_in_minutes": -1}),
        ("pause", {"timeout_in_minutes": 100_000}),
        ("pause", {"note": "n" * 501}),
        ("pause", {"note": 1}),
        ("stop", {"force": "yes"}),
        ("stop", []),
    ],
)
def test_what_agents_are_not_told(running: RunningServer, what: str, body: Any) -> None:
    agent, job = agent_and_job(running)
    assert control(job, what, body).status == 422
    assert agent.ping()["action"] == ""


def test_only_running_jobs_control_agents(running: RunningServer) -> None:
    agent, job = agent_and_job(running)
    job.finish()
    for what in ("stop", "pause", "resume"):
        assert control(job, what).json["code"] == "state.not_running"
        assert job.api.agent_call("POST", f"/{what}", agent.token).status == 401
    large = job.api.agent_call("POST", "/pause", "wrong", {"note": "n" * 100_000})
    assert large.status == 401


def test_a_timeout_is_changed(running: RunningServer, clock: MovableClock) -> None:
    _, job = agent_and_job(running)
    answer = job.call("PUT", "", {"timeout": "20"})
    assert (answer.status, answer.json) == (200, {"id": job.id})
    clock.ahead = 21 * 60
    until(lambda: job.state().json["state"] == "timing_out", "the timeout")


@pytest.mark.parametrize(
    "body",
    [{}, {"timeout": "0"}, {"timeout": "soon"}, {"timeout": "-1"}, {"label": "x"}, {"timeout": "1", "a": "b"}, []],
)
def test_what_of_a_job_cannot_be_changed(running: RunningServer, body: Any) -> None:
    _, job = agent_and_job(running)
    answer = job.call("PUT", "", body)
    assert (answer.status, answer.json["code"]) == (422, "request.malformed")


def promise(job: FakeJob, status: Any, **more: Any) -> Answer:
    return job.call("PUT", "/promise_failure", {"exit_status": status, **more})


def test_a_promised_failure_fails_the_build_early_and_is_kept(running: RunningServer) -> None:
    _, job = agent_and_job(running, "steps: [{command: a, key: a}]")
    answer = promise(job, 3, reason="a test failed")
    assert (answer.status, answer.body) == (204, b"")
    assert promise(job, 3).status == 204, "the same again"
    answer = promise(job, 4)
    assert (answer.status, answer.json["code"]) == (409, "promise.conflict")
    assert running.api.build()["state"] == "failing"
    job.finish(0)
    build = running.api.wait_build("failed")
    assert find_job(build, "a")["exit_status"] == 3
    answer = promise(job, 3)
    assert (answer.status, answer.json["code"]) == (422, "state.not_running")


def test_another_failure_than_promised_is_reported_as_it_was(running: RunningServer) -> None:
    _, job = agent_and_job(running, "steps: [{command: a, key: a}]")
    promise(job, 3)
    job.finish(7)
    assert find_job(running.api.wait_build("failed"), "a")["exit_status"] == 7


def test_a_promise_that_is_forgiven_fails_nothing(running: RunningServer) -> None:
    _, job = agent_and_job(running, "steps: [{command: a, key: a, soft_fail: [{exit_status: 3}]}]")
    assert promise(job, 3).status == 204
    assert running.api.build()["state"] == "running"
    job.finish(0)
    build = running.api.wait_build("passed")
    assert find_job(build, "a")["soft_failed"] is True


@pytest.mark.parametrize("status", [0, -1, 2**31, "3", None])
def test_what_cannot_be_promised(running: RunningServer, status: Any) -> None:
    _, job = agent_and_job(running)
    assert promise(job, status).status == 422
    assert promise(job, 1, reason="r" * 3000).status == 422


def test_only_the_job_itself_promises(running: RunningServer) -> None:
    job, other = running_jobs(running, count=2)
    answer = job.api.agent_call("PUT", f"/jobs/{job.id}/promise_failure", other.token, {"exit_status": 1})
    assert (answer.status, answer.json["code"]) == (403, "access.other_job")


def acquire(agent: FakeAgent, job_id: str) -> Answer:
    return agent.api.agent_call("PUT", f"/jobs/{job_id}/acquire", agent.token)


def test_a_job_is_acquired_by_name(running: RunningServer) -> None:
    running.api.create_pipeline("steps: [{command: a, key: a}, wait, {command: b, key: b}]")
    build = running.api.create_build()
    first, second = find_job(build, "a")["id"], find_job(build, "b")["id"]
    agent, other = FakeAgent(running.api), FakeAgent(running.api)
    answer = acquire(agent, second)
    assert (answer.status, answer.json["code"]) == (423, "state.locked")
    assert int(answer.headers["retry-after"]) > 0
    answer = acquire(agent, first)
    assert answer.status == 200
    assert acquire(agent, first).json["token"] == answer.json["token"], "said again before it starts"
    job = FakeJob(running.api, answer.json)
    refused = acquire(other, first)
    assert (refused.status, refused.json["code"]) == (422, "state.not_acquirable")
    job.start()
    job.finish()
    assert acquire(agent, first).status == 422
    assert acquire(agent, second).status == 200
    assert acquire(agent, str(uuid.uuid4())).status == 404
    assert acquire(agent, "x").status == 404


def test_an_offered_job_is_locked_and_other_tags_never_fit(running: RunningServer) -> None:
    running.api.create_pipeline("steps: [{command: a, key: a}, {command: b, key: b, agents: {os: mac}}]")
    build = running.api.create_build()
    holder, other = FakeAgent(running.api), FakeAgent(running.api)
    offered = holder.next_job()
    assert offered == find_job(build, "a")["id"]
    assert acquire(other, offered).status == 423
    assert acquire(holder, offered).status == 200
    answer = acquire(other, find_job(build, "b")["id"])
    assert (answer.status, answer.json["code"]) == (422, "state.not_acquirable")


def test_the_real_commands(running: RunningServer) -> None:
    agent, job = agent_and_job(running)
    done = command(job, "job", "update", "timeout", "20")
    assert done.status == 0, done.err
    assert command(job, "job", "promise-failure", "2", "--reason", "r").status == 0
    assert command(job, "job", "promise-failure", "3").status != 0
    assert command(job, "pause", "--note", "n").status == 0
    assert agent.ping()["action"] == "pause"
    assert command(job, "resume").status == 0
    assert command(job, "stop", "--force").status == 0
    assert job.state().json["state"] == "canceling"

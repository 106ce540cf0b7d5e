"""An agent and its server: asking for work, signs of life, trouble, and saying goodbye."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from tests.agent.agent_process import agent_process
from tests.agent.fake_server import FakeServer, Request, fake_server

OPEN = ("--no-verification", "--skip-checkout")
JOB = {"token": "JOBTOKEN", "env": {"BUILDKITE_COMMAND": "true", "BUILDKITE_REPO": "r"}, "step": {"command": "true"}}


def run(server: FakeServer, job_id: str) -> float:
    """Run a job; the seconds from handing it out to its end."""
    started = time.monotonic()
    job = server.add_job({**JOB, "id": job_id}, job_id)
    assert job.finished.wait(20)
    return time.monotonic() - started


def test_held_ping_is_asked_once_and_answered_at_once(tmp_path: Path) -> None:
    with fake_server(hold_seconds=20) as server, agent_process(server, tmp_path, *OPEN):
        server.wait_for(lambda: bool(server.calls("GET", "/ping")))
        time.sleep(0.6)
        assert len(server.calls("GET", "/ping")) == 1
        times = sorted(run(server, f"job-{number}") for number in range(7))
        assert times[3] < 0.3
        server.wait_for(lambda: len(server.calls("GET", "/ping")) == 8)


def test_server_that_answers_at_once_is_polled_at_its_interval(tmp_path: Path) -> None:
    with fake_server(hold_seconds=0) as server, agent_process(server, tmp_path, *OPEN):
        server.wait_for(lambda: bool(server.calls("GET", "/ping")))
        time.sleep(2.6)
        assert 2 <= len(server.calls("GET", "/ping")) <= 4
        assert run(server, "a") < 4
        pings = len(server.calls("GET", "/ping"))
        time.sleep(0.3)
        assert len(server.calls("GET", "/ping")) <= pings + 1


def test_registration_says_who_this_is(tmp_path: Path) -> None:
    flags = (
        "--tags",
        "os=linux,size=big",
        "--queue",
        "deploy",
        "--priority",
        "5",
        "--name",
        "w-%spawn",
        "--spawn",
        "2",
    )
    with fake_server(20) as server, agent_process(server, tmp_path, *OPEN, *flags) as agent:
        server.wait_for(lambda: len(server.calls("GET", "/ping")) == 2)
        requests = server.calls("POST", "/register")
        assert {request.headers["authorization"] for request in requests} == {"Token REGISTRATION"}
        assert {request.json()["name"] for request in requests} == {"w-1", "w-2"}
        first = requests[0].json()
        assert first["meta_data"] == ["os=linux", "size=big", "queue=deploy"] and first["priority"] == "5"
        assert server.calls("POST", "/connect")[0].headers["authorization"] == "Token SESSION"
        assert server.calls("GET", "/ping")[0].headers["user-agent"].startswith("pipeseal-agent/")
        assert "REGISTRATION" not in agent.log and "SESSION" not in agent.log


def test_jobs_run_side_by_side(tmp_path: Path) -> None:
    with fake_server(20) as server, agent_process(server, tmp_path, *OPEN, "--spawn", "3"):
        slow = {**JOB, "env": {**JOB["env"], "BUILDKITE_COMMAND": "sleep 0.6"}}  # type: ignore[dict-item]
        server.wait_for(lambda: len(server.calls("GET", "/ping")) == 3)
        started = time.monotonic()
        jobs = [server.add_job({**slow, "id": f"job-{number}"}, f"job-{number}") for number in range(3)]
        assert all(job.finished.wait(10) for job in jobs)
        assert time.monotonic() - started < 1.7


def test_trouble_of_the_server_is_waited_out(tmp_path: Path) -> None:
    with fake_server(0) as server:
        broken = {"on": True}

        def interfere(request: Request) -> tuple[int, bytes] | None:
            return (503, b'{"message":"busy"}') if broken["on"] and request.path == "/v3/ping" else None

        server.interfere = interfere
        with agent_process(server, tmp_path, *OPEN) as agent:
            server.wait_for(lambda: len(server.calls("GET", "/ping")) >= 2)
            broken["on"] = False
            run(server, "a")
            assert agent.log.count("Ping failed") == 1 and "The server answers again" in agent.log


def test_server_that_goes_away_and_comes_back(tmp_path: Path) -> None:
    server = FakeServer(hold_seconds=20)
    port = server.port
    with agent_process(server, tmp_path, *OPEN) as agent:
        server.wait_for(lambda: bool(server.calls("GET", "/ping")))
        server.close()
        server.wait_for(lambda: "Ping failed" in agent.log)
        with fake_server(20, port=port) as second:
            run(second, "a")
            assert not second.calls("POST", "/register")
        assert "The server answers again" in agent.log


@pytest.mark.parametrize("status", [401, 403, 404, 422])
def test_server_that_does_not_want_this_agent(tmp_path: Path, status: int) -> None:
    with fake_server(0) as server:
        server.interfere = lambda request: (status, b'{"message":"go"}') if request.path == "/v3/ping" else None
        with agent_process(server, tmp_path, *OPEN) as agent:
            assert agent.wait() == 0
            assert "does not want to hear from this agent" in agent.log
            assert server.calls("POST", "/disconnect")


def test_refused_registration_ends_the_agent(tmp_path: Path) -> None:
    with fake_server(0) as server:
        server.interfere = lambda _request: (401, b'{"message":"no such token"}')
        with agent_process(server, tmp_path, *OPEN) as agent:
            assert agent.wait() == 1
            assert "no such token" in agent.log and "api.status" in agent.log


def test_heartbeats_go_on_during_a_job_and_a_refused_one_cancels_it(tmp_path: Path) -> None:
    with fake_server(20) as server, agent_process(server, tmp_path, *OPEN) as agent:
        env = {**JOB["env"], "BUILDKITE_COMMAND": "sleep 60"}  # type: ignore[dict-item]
        job = server.add_job({**JOB, "env": env, "id": "a"}, "a")
        server.wait_for(lambda: job.started and len(server.calls("POST", "/heartbeat")) >= 2)
        server.interfere = lambda request: (404, b"{}") if request.path == "/v3/heartbeat" else None
        assert job.finished.wait(10)
        assert job.finish is not None and job.finish["signal_reason"] == "agent_stop"
        assert agent.wait() == 0


def test_accept_that_fails_leaves_the_job_and_asks_again(tmp_path: Path) -> None:
    with fake_server(20) as server:
        server.interfere = lambda request: (500, b"{}") if request.path == "/v3/jobs/a/accept" else None
        with agent_process(server, tmp_path, *OPEN) as agent:
            job = server.add_job({**JOB, "id": "a"}, "a")
            run(server, "b")
            assert not job.started and "Could not accept job a" in agent.log


def test_start_that_is_refused_abandons_the_job(tmp_path: Path) -> None:
    with fake_server(20) as server:
        server.interfere = lambda request: (422, b"{}") if request.path == "/v3/jobs/a/start" else None
        with agent_process(server, tmp_path, *OPEN):
            job = server.add_job({**JOB, "id": "a"}, "a")
            run(server, "b")
            assert job.accepted and job.finish is None and not job.chunks


def test_server_may_pause_and_disconnect(tmp_path: Path) -> None:
    with fake_server(0) as server:
        server.ping_answers = [
            (200, b'{"action":"pause","message":"tea\\u001b[2J","job":{"id":"a"}}'),
            (200, b'{"action":"dance"}'),
            (200, b'{"action":"disconnect","message":"enough","endpoint":"http://127.0.0.1:1/"}'),
        ]
        with agent_process(server, tmp_path, *OPEN) as agent:
            assert agent.wait() == 0
            assert "tea\\x1b[2J" in agent.log and "enough" in agent.log
            assert not any("accept" in request.path for request in server.requests)


def test_one_job_and_then_no_more(tmp_path: Path) -> None:
    with fake_server(20) as server, agent_process(server, tmp_path, *OPEN, "--disconnect-after-job") as agent:
        job = server.add_job({**JOB, "id": "a"}, "a")
        server.add_job({**JOB, "id": "b"}, "b")
        assert agent.wait() == 0
        assert job.finish is not None and job.finish["ignore_agent_in_dispatches"] is True
        assert server.queue == ["b"]


def test_idle_agents_end_together(tmp_path: Path) -> None:
    flags = ("--disconnect-after-idle-timeout", "0.7", "--spawn", "2")
    with fake_server(20) as server, agent_process(server, tmp_path, *OPEN, *flags) as agent:
        env = {**JOB["env"], "BUILDKITE_COMMAND": "sleep 1.2"}  # type: ignore[dict-item]
        job = server.add_job({**JOB, "env": env, "id": "a"}, "a")
        assert job.finished.wait(10)
        assert agent.process.poll() is None
        assert agent.wait(10) == 0
        assert len(server.calls("POST", "/disconnect")) == 2


def test_idle_agent_is_small(tmp_path: Path) -> None:
    import psutil

    with fake_server(20) as server, agent_process(server, tmp_path, *OPEN) as agent:
        run(server, "a")
        assert psutil.Process(agent.process.pid).memory_info().rss < 45_000_000

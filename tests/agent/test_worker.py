"""An agent and its server: asking for work, signs of life, trouble, and saying goodbye."""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.agent.agent_process import agent_process
from tests.agent.fake_server import FakeServer, Request, fake_server
from tests.ports import hold_port

OPEN = ("--no-verification", "--skip-checkout")
JOB = {"token": "JOBTOKEN", "env": {"BUILDKITE_COMMAND": "true", "BUILDKITE_REPO": "r"}, "step": {"command": "true"}}


def run(server: FakeServer, job_id: str) -> None:
    """Run a job."""
    job = server.add_job({**JOB, "id": job_id}, job_id)
    assert job.finished.wait(60)


def test_held_ping_is_asked_once_and_answered_at_once(tmp_path: Path) -> None:
    with fake_server(hold_seconds=600) as server, agent_process(server, tmp_path, *OPEN):
        server.wait_for(lambda: bool(server.calls("GET", "/ping")))
        time.sleep(0.6)
        assert len(server.calls("GET", "/ping")) == 1
        for number in range(7):
            run(server, f"job-{number}")
        server.wait_for(lambda: len(server.calls("GET", "/ping")) == 8)


def test_server_that_answers_at_once_is_polled_at_its_interval(tmp_path: Path) -> None:
    began = time.monotonic()
    with fake_server(hold_seconds=0) as server, agent_process(server, tmp_path, *OPEN):
        server.wait_for(lambda: len(server.calls("GET", "/ping")) == 4)
        assert time.monotonic() - began > 2.5  # three pauses of a second or so
        run(server, "a")


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
        (tmp_path / "met").mkdir()
        meet = f"cd {tmp_path}/met && touch $$ && until [ $(ls | wc -l) = 3 ]; do sleep 0.05; done"
        meeting = {**JOB, "env": {**JOB["env"], "BUILDKITE_COMMAND": meet}}  # type: ignore[dict-item]
        server.wait_for(lambda: len(server.calls("GET", "/ping")) == 3)
        jobs = [server.add_job({**meeting, "id": f"job-{number}"}, f"job-{number}") for number in range(3)]
        assert all(job.finished.wait(60) for job in jobs)


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
        with hold_port(port):
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
        assert job.finished.wait(60)
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
    with fake_server(20) as server:
        env = {**JOB["env"], "BUILDKITE_COMMAND": "sleep 1.2"}  # type: ignore[dict-item]
        server.add_job({**JOB, "env": env, "id": "a"}, "a")
        with agent_process(server, tmp_path, *OPEN, *flags) as agent:
            assert agent.wait() == 0
        paths = [request.path for request in server.requests]
        assert paths.count("/v3/disconnect") == 2
        assert paths.index("/v3/disconnect") > paths.index("/v3/jobs/a/finish")


def test_idle_agent_is_small(tmp_path: Path) -> None:
    import psutil

    with fake_server(20) as server, agent_process(server, tmp_path, *OPEN) as agent:
        run(server, "a")
        assert psutil.Process(agent.process.pid).memory_info().rss < 45_000_000


# --- one job alone, pauses, and how the agent is -------------------------------------------------------------------


def acquire(server: FakeServer, folder: Path, *flags: str, command: str = "exit 7") -> tuple[int, str]:
    """An agent that is started for job `a`; its exit status and log."""
    env = {**JOB["env"], "BUILDKITE_COMMAND": command}  # type: ignore[dict-item]
    server.add_job({**JOB, "env": env, "id": "a"}, "a")
    server.queue.clear()
    with agent_process(server, folder, *OPEN, "--acquire-job", "a", *flags) as agent:
        return agent.wait(), agent.log


def test_job_is_acquired_run_and_its_status_reflected(tmp_path: Path) -> None:
    with fake_server(0) as server:
        server.acquire_answers = [
            (423, b'{"message":"dependencies"}', {"Retry-After": "0.1"}),
            (429, b"{}", {"Retry-After": "0"}),
        ]
        status, log = acquire(server, tmp_path, "--reflect-exit-status")
        assert status == 7 and "dependencies" in log
        requests = server.calls("PUT", "/jobs/a/acquire")
        assert [request.headers["x-buildkite-backoff-sequence"] for request in requests] == ["0", "1", "2"]
        assert {request.headers["x-buildkite-lock-acquire-job"] for request in requests} == {"1"}
        assert {request.headers["authorization"] for request in requests} == {"Token SESSION"}
        registered = server.calls("POST", "/register")[0].json()
        assert registered["ignore_in_dispatches"] is True and "acquire-job" in registered["features"]
        finish = server.jobs["a"].finish
        assert finish is not None and finish["exit_status"] == "7"
        assert server.calls("POST", "/disconnect")
        assert acquire(server, tmp_path, command="exit 7")[0] == 0
        assert acquire(server, tmp_path, "--reflect-exit-status", command="kill -9 $$")[0] == 1


@pytest.mark.parametrize(("answer", "status"), [(422, 27), (404, 1), (401, 1)])
def test_job_that_cannot_be_acquired(tmp_path: Path, answer: int, status: int) -> None:
    with fake_server(0) as server:
        server.acquire_answers = [(answer, b'{"message":"not yours"}')]
        ended, log = acquire(server, tmp_path)
        assert ended == status and "not yours" in log
        assert server.jobs["a"].finish is None and server.calls("POST", "/disconnect")


def test_job_that_stays_locked_ends_with_28(tmp_path: Path) -> None:
    with fake_server(0) as server:
        server.acquire_answers = [(423, b"{}", {"Retry-After": "0"})] * 7
        assert acquire(server, tmp_path)[0] == 28


def test_job_to_acquire_is_checked_before_it_goes_into_a_path(tmp_path: Path) -> None:
    with fake_server(0) as server, agent_process(server, tmp_path, *OPEN, "--acquire-job", "../x") as agent:
        assert agent.wait() == 1 and not any("acquire" in request.path for request in server.requests)


def test_agent_stays_while_it_is_paused_after_its_last_job(tmp_path: Path) -> None:
    with fake_server(0) as server:
        server.ping_answers = [(200, b'{"job":{"id":"a"}}')]
        with agent_process(server, tmp_path, *OPEN, "--disconnect-after-job") as agent:
            env = {**JOB["env"], "BUILDKITE_COMMAND": "sleep 0.3"}  # type: ignore[dict-item]
            job = server.add_job({**JOB, "env": env, "id": "a"}, "a")
            server.queue.clear()
            server.wait_for(lambda: job.started)
            server.ping_answers = [(200, b'{"action":"pause","message":"let me look"}')] * 2
            assert job.finished.wait(60)
            server.wait_for(lambda: len(server.ping_answers) == 0)  # it goes on asking
            assert agent.wait() == 0 and "let me look" in agent.log


def test_paused_agent_is_not_idle_and_takes_up_work_again(tmp_path: Path) -> None:
    with fake_server(0) as server:
        server.ping_answers = [(200, b'{"action":"pause","message":"tea"}')] * 3
        job = server.add_job({**JOB, "id": "a"}, "a")  # told when the agent, paused for longer than 0.8 s, still asks
        with agent_process(server, tmp_path, *OPEN, "--disconnect-after-idle-timeout", "0.8") as agent:
            assert job.finished.wait(60)
            assert "The server pauses this agent: tea" in agent.log and "resumes this agent" in agent.log
            assert agent.log.count("tea") == 1
            assert agent.wait() == 0


def test_server_cannot_move_the_agent(tmp_path: Path) -> None:
    with fake_server(0) as server:
        server.ping_answers = [
            (200, b'{"endpoint":"http://127.0.0.1:1/evil\\u001b[2J"}'),
            (200, b'{"endpoint":"http://127.0.0.1:1/evil\\u001b[2J"}'),
            (200, b'{"endpoint":17}'),
        ]
        with agent_process(server, tmp_path, *OPEN) as agent:
            run(server, "a")
            assert agent.log.count("The server wants this agent to use http://127.0.0.1:1/evil") == 1
            assert "\x1b" not in agent.log


def test_agent_ends_when_its_time_is_over_and_its_job_done(tmp_path: Path) -> None:
    with fake_server(20) as server:
        env = {**JOB["env"], "BUILDKITE_COMMAND": "sleep 4"}  # type: ignore[dict-item]
        job = server.add_job({**JOB, "env": env, "id": "a"}, "a")
        with agent_process(server, tmp_path, *OPEN, "--disconnect-after-uptime", "3") as agent:
            assert agent.wait() == 0
        assert job.finish is not None and job.finish["exit_status"] == "0"


def test_workers_have_priorities_when_asked(tmp_path: Path) -> None:
    flags = ("--spawn", "2", "--spawn-with-priority")
    with fake_server(20) as server, agent_process(server, tmp_path, *OPEN, *flags):
        server.wait_for(lambda: len(server.calls("POST", "/register")) == 2)
        assert {request.json()["priority"] for request in server.calls("POST", "/register")} == {"1", "2"}


def test_health_of_a_running_agent(tmp_path: Path) -> None:
    flags = ("--health-check-addr", "127.0.0.1:0", "--spawn", "2")
    with fake_server(20) as server, agent_process(server, tmp_path, *OPEN, *flags) as agent:
        server.wait_for(lambda: len(server.calls("POST", "/heartbeat")) >= 2)
        run(server, "a")
        address = re.search(r"Health checks at (http://127\.0\.0\.1:\d+/)", agent.log)
        assert address is not None
        server.wait_for(lambda: fetch(address[1] + "status.json")[1].count('"idle"') == 2)
        assert fetch(address[1]) == (200, "OK: the agent is running\n")
        status, text = fetch(address[1] + "agent/1")
        assert status == 200 and text.startswith("OK: idle, last heartbeat: 2")
        assert fetch(address[1] + "agent/3")[0] == 404 and fetch(address[1] + "nothing")[0] == 404
        workers = json.loads(fetch(address[1] + "status.json")[1])["workers"]
        assert sum(worker["jobs"]["passed"] for worker in workers) == 1
        metrics = fetch(address[1] + "metrics")[1]
        assert 'pipeseal_agent_jobs_total{outcome="passed"} 1\n' in metrics
        assert 'pipeseal_agent_workers{state="idle"} 2\n' in metrics
        assert not {"REGISTRATION", "SESSION"} & set(re.findall(r"[A-Z]{5,}", metrics + text))


def fetch(url: str) -> tuple[int, str]:
    """Status and text of a page."""
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_health_that_cannot_be_served_stops_the_start(tmp_path: Path) -> None:
    with fake_server(20) as server:
        for address in ("nonsense", f"127.0.0.1:{server.port}"):
            with agent_process(server, tmp_path, *OPEN, "--health-check-addr", address) as agent:
                assert agent.wait() == 6 and "health.address" in agent.log

"""Our agent and our control plane, as two processes: work, trouble and restart."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from pipeseal.cli.build_render import render_build
from tests.agent.agent_process import AgentProcess, agent_process
from tests.agent.test_trust import Place
from tests.ports import hold_port


class Server:
    """A `pipeseal server` process that can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = 0
        self.process: subprocess.Popen[str] | None = None
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "pipeseal",
                "server",
                "--data",
                str(self.folder),
                "--listen",
                f"127.0.0.1:{self.port}",
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if match := re.search(r"http://127\.0\.0\.1:(\d+)", line):
                self.port = int(match[1])
                return
        pytest.fail("the server did not start")

    def kill(self, number: int = signal.SIGKILL) -> None:
        assert self.process is not None and self.process.stdout is not None
        self.process.send_signal(number)
        self.process.wait(60)
        self.process.stdout.close()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}/v3"

    def rest(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        token = (self.folder / "api-token").read_text().strip()
        request = Request(
            f"http://127.0.0.1:{self.port}/v2/organizations/local{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        with urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def build(self, command: str, slug: str) -> int:
        return self.build_steps(f"steps: [{{command: {json.dumps(command)}}}]", slug)

    def build_steps(self, steps: str, slug: str) -> int:
        pipeline = {"name": slug, "slug": slug, "repository": "r", "configuration": steps}
        self.rest("POST", "/pipelines", pipeline)
        build = self.rest("POST", f"/pipelines/{slug}/builds", {"commit": "HEAD", "branch": "main", "message": "m"})
        return int(build["number"])

    def wait(self, slug: str, number: int, states: set[str]) -> Any:
        deadline = time.monotonic() + 60
        while True:
            build = self.rest("GET", f"/pipelines/{slug}/builds/{number}?include_retried_jobs=true")
            if build["state"] in states:
                return build
            assert time.monotonic() < deadline, build
            time.sleep(0.05)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    running = Server(tmp_path / "server")
    try:
        yield running
    finally:
        running.kill(signal.SIGTERM)


@pytest.fixture
def agent(server: Server, tmp_path: Path) -> Iterator[AgentProcess]:
    token = f"file://{server.folder / 'agent-token'}"
    process = AgentProcess(server, tmp_path / "agent", "--token", token, "--no-verification", "--skip-checkout")
    try:
        yield process
    finally:
        process.close()


def test_server_hears_what_the_policy_makes_of_jobs_and_shows_it(server: Server, tmp_path: Path) -> None:
    trust = tmp_path / "trust"
    trust.mkdir(mode=0o700)
    place = Place(trust)
    place.write("policy.toml", 'version = 1\nmode = "observe"\n')
    token = f"file://{server.folder / 'agent-token'}"
    with agent_process(server, tmp_path / "agent", "--token", token, *place.flags("--skip-checkout")):
        observed = server.wait("a", server.build("echo it ran", "a"), {"passed", "failed"})["jobs"][0]
        assert observed["decision"]["findings"] == [{"code": "signature.missing", "fields": []}]
        assert (observed["decision"]["mode"], observed["decision"]["proof"]) == ("observe", "none")
        place.write("policy.toml", "version = 1\n")
        refused = server.wait("b", server.build("echo it ran", "b"), {"failed"})["jobs"][0]
        assert refused["refusal"]["code"] == "signature.missing"
        assert refused["decision"]["mode"] == "enforce" and refused["decision"]["findings"] == []
    report = server.rest("GET", "/pipelines/a/signing")
    assert [(one["code"], one["jobs"]) for one in report["would_be_refused"]] == [("signature.missing", 1)]
    assert report["modes"] == {"observe": 1} and report["proposal"]["next"] == "warn"
    shown = render_build(server.rest("GET", "/pipelines/a/builds/1"))
    assert "would have been refused: signature.missing (the policy's mode is observe)" in shown


def _log(server: Server, slug: str, build: Any) -> str:
    answer = server.rest("GET", f"/pipelines/{slug}/builds/{build['number']}/jobs/{build['jobs'][0]['id']}/log")
    return str(answer["content"])


def test_build_runs_and_its_log_can_be_read(server: Server, agent: AgentProcess) -> None:
    number = server.build("echo hello from $BUILDKITE_PIPELINE_SLUG; exit 3", "hello")
    build = server.wait("hello", number, {"failed"})
    assert build["jobs"][0]["exit_status"] == 3
    assert "hello from hello" in _log(server, "hello", build)


def test_cancelled_build_stops_the_job(server: Server, agent: AgentProcess) -> None:
    number = server.build("echo begun; sleep 60", "slow")
    server.wait("slow", number, {"running"})
    server.rest("PUT", f"/pipelines/slow/builds/{number}/cancel")
    server.wait("slow", number, {"canceled"})


def test_server_killed_during_a_job_loses_nothing(server: Server, agent: AgentProcess, tmp_path: Path) -> None:
    count = tmp_path / "count"
    number = server.build(f"echo run >> {count}; echo first part; sleep 1.5; echo second part", "lives")
    deadline = time.monotonic() + 60
    while not count.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.2)
    server.kill()
    with hold_port(server.port):
        time.sleep(0.3)
        server.start()
    build = server.wait("lives", number, {"passed"})
    log = _log(server, "lives", build)
    assert "first part" in log and "second part" in log
    assert count.read_text() == "run\n"
    assert agent.log_file.stat().st_size < 20_000  # trouble is told once, not over and over


def _jobs(server: Server, slug: str, number: int) -> list[Any]:
    jobs: list[Any] = server.rest("GET", f"/pipelines/{slug}/builds/{number}?include_retried_jobs=true")["jobs"]
    return [job for job in jobs if job.get("type", "script") == "script"]


def test_artifacts_and_secrets_go_through(server: Server, agent: AgentProcess) -> None:
    server.rest("PUT", "/secrets/deploy_key", {"value": "open-sesame-17"})
    first_step = {
        "command": "mkdir -p out; echo ${#DEPLOY_KEY} > out/length.txt; echo $DEPLOY_KEY",
        "artifact_paths": "out/*.txt",
        "secrets": {"DEPLOY_KEY": "deploy_key"},
    }
    download = "mkdir -p got; buildkite-agent artifact download 'out/*' got; cat got/out/length.txt"
    number = server.build_steps(json.dumps({"steps": [first_step, "wait", {"command": download}]}), "keeps")
    build = server.wait("keeps", number, {"passed", "failed"})
    first, last = _jobs(server, "keeps", number)
    log = server.rest("GET", f"/pipelines/keeps/builds/{number}/jobs/{first['id']}/log")["content"]
    assert build["state"] == "passed", log
    assert "[REDACTED]" in log and "open-sesame-17" not in log
    told = server.rest("GET", f"/pipelines/keeps/builds/{number}/jobs/{last['id']}/log")["content"]
    assert told.splitlines()[-1].endswith("\x0714"), told


def test_job_stops_its_agent(server: Server, agent: AgentProcess) -> None:
    number = server.build("buildkite-agent stop; echo asked to stop", "stops")
    server.wait("stops", number, {"passed"})
    assert agent.wait() == 0
    assert "asks this agent to disconnect" in agent.log


def test_job_pauses_and_another_one_resumes_its_agent(server: Server, tmp_path: Path) -> None:
    token = f"file://{server.folder / 'agent-token'}"
    flags = ("--token", token, "--no-verification", "--skip-checkout", "--disconnect-after-job")
    agent = AgentProcess(server, tmp_path / "agent", *flags)
    try:
        number = server.build("buildkite-agent pause --note look; echo paused", "pauses")
        server.wait("pauses", number, {"passed"})
        deadline = time.monotonic() + 60
        while "The server pauses this agent: look" not in agent.log:
            assert agent.process.poll() is None and time.monotonic() < deadline, agent.log
            time.sleep(0.05)
        time.sleep(0.5)
        assert agent.process.poll() is None, "it stays after its only job"
    finally:
        agent.close()


def test_one_job_is_acquired(server: Server, tmp_path: Path) -> None:
    number = server.build("exit 9", "takes")
    job = _jobs(server, "takes", number)[0]["id"]
    token = f"file://{server.folder / 'agent-token'}"
    flags = ("--token", token, "--no-verification", "--skip-checkout", "--reflect-exit-status", "--acquire-job")
    for job_id, status in (("no-such-job", 1), (job, 9), (job, 27)):
        agent = AgentProcess(server, tmp_path / f"agent-{status}", *flags, job_id)
        try:
            assert agent.wait() == status, agent.log
        finally:
            agent.close()
    server.wait("takes", number, {"failed"})

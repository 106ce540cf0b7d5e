"""The stock agent listening on its stream of pings: no pause between jobs, no trouble where none can pass."""

from __future__ import annotations

import signal
import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.controlplane.running import QUICK, RunningServer, ServerProcess, job_states, running_server, until
from tests.controlplane.stream_client import PATH
from tests.controlplane.test_stock_agent import stock_agent

pytestmark = pytest.mark.peer("buildkite-agent")
SETTINGS = replace(QUICK, ping_hold=25.0, offer_timeout=60.0)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[RunningServer]:
    with running_server(tmp_path / "data", SETTINGS) as server:
        server.api.create_pipeline("steps: [{command: x, key: x}]")
        yield server


def listening(running: RunningServer, count: int = 1) -> None:
    """Wait until so many agents listen on streams."""

    def listen() -> bool:
        ids = [session.id for session in running.plane.sessions]
        return sum(running.plane.dispatcher.is_streaming(agent_id) for agent_id in ids) == count

    until(listen, f"{count} streams")


def counting(folder: Path) -> tuple[Path, str]:
    """A file in which each job that runs leaves its id, and the program that does so."""
    ran, program = folder / "ran", folder / "bootstrap"
    program.write_text(f'#!/bin/sh\necho "$BUILDKITE_JOB_ID" >>{ran}\n')
    program.chmod(0o700)
    return ran, str(program)


def seconds_of_builds(running: RunningServer, slug: str, count: int = 6) -> list[float]:
    """How long each of some builds took, the first left out."""
    seconds = []
    for number in range(1, count + 2):
        begun = time.monotonic()
        running.api.create_build(slug)
        running.api.wait_build("passed", number=number, slug=slug)
        seconds.append(time.monotonic() - begun)
    return seconds[1:]


def test_the_next_job_starts_without_the_pause_of_polling(running: RunningServer, tmp_path: Path) -> None:
    for mode in ("auto", "poll-only"):
        running.api.create_pipeline(f"steps: [{{command: x, agents: {{queue: {mode}}}}}]", slug=mode)
    seconds = {}
    for mode in ("auto", "poll-only"):
        with stock_agent(running, tmp_path, "--ping-mode", mode, "--tags", f"queue={mode}", bootstrap="true"):
            seconds[mode] = seconds_of_builds(running, mode)
    assert statistics.median(seconds["auto"]) < statistics.median(seconds["poll-only"]) / 2, seconds


def test_each_job_runs_once_and_pauses_hold(running: RunningServer, tmp_path: Path) -> None:
    ran, bootstrap = counting(tmp_path)
    running.api.create_pipeline("steps: [{command: x, parallelism: 20}]", slug="many")
    with stock_agent(running, tmp_path, "--ping-mode", "stream-only", "--spawn", "3", bootstrap=bootstrap) as process:
        listening(running, 3)
        running.api.create_build("many")
        build = running.api.wait_build("passed", slug="many", seconds=60)
        assert Counter(ran.read_text().split()) == Counter(job["id"] for job in build["jobs"])
        agents = [agent["id"] for agent in running.api.rest("GET", "/agents").json]
        for agent_id in agents:
            assert running.api.rest("PUT", f"/agents/{agent_id}/pause", {"note": "lunch"}).status in (200, 204)
        until(lambda: (tmp_path / "agent.log").read_text().count("lunch") == 3, "the agents to hear of the pause")
        running.api.create_build()
        time.sleep(0.5)
        assert job_states(running.api.build()) == {"x": "scheduled"}
        assert running.api.rest("PUT", f"/agents/{agents[0]}/resume", {}).status in (200, 204)
        assert running.api.wait_build("passed")["jobs"][0]["agent"]["id"] == agents[0]
        for agent_id in agents:
            assert running.api.rest("PUT", f"/agents/{agent_id}/stop", {}).status in (200, 204)
        assert process.wait(60) == 0
    assert running.api.rest("GET", "/agents").json == []


def test_it_leaves_at_once_when_asked(running: RunningServer, tmp_path: Path) -> None:
    with stock_agent(running, tmp_path, "--ping-mode", "stream-only", bootstrap="true") as process:
        listening(running)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


def test_modes_for_one_job_end_by_themselves(running: RunningServer, tmp_path: Path) -> None:
    for option in ("--disconnect-after-job", "--disconnect-after-idle-timeout=1"):
        running.api.create_build()
        with stock_agent(running, tmp_path, "--ping-mode", "stream-only", option, bootstrap="true") as process:
            assert process.wait(60) == 0
    assert running.api.wait_build("passed", number=2)["number"] == 2


def test_it_goes_on_when_the_server_was_killed(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "data", "--accept-timeout", "2")
    try:
        api = server.start()
        api.create_pipeline("steps: [{command: x, key: x}]")
        shown = RunningServer(api, None, None, tmp_path)  # type: ignore[arg-type]  # only its address is asked for
        ran, bootstrap = counting(tmp_path)
        log = tmp_path / "agent.log"
        with stock_agent(shown, tmp_path, bootstrap=bootstrap):
            until(lambda: log.read_text().count("Ping stream connection established") == 1, "the stream")
            api.create_build()
            api.wait_build("passed")
            server.kill()
            api = server.start()
            for number in (2, 3):
                api.create_build()
                api.wait_build("passed", number=number, seconds=60)
            until(lambda: log.read_text().count("Ping stream connection established") == 2, "a new stream")
        assert len(set(ran.read_text().split())) == len(ran.read_text().split()) == 3
    finally:
        server.kill_if_running()


class _Proxy(BaseHTTPRequestHandler):
    """Hands requests on and keeps each answer until it is whole; the stream of pings it may refuse."""

    protocol_version = "HTTP/1.1"
    host, port, status = "", 0, 0

    def answer(self) -> None:
        """Any request."""
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size + 2)[:-2]
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if self.path == PATH and self.status:
            status, headers, content = self.status, [], b"no"
        else:
            connection = HTTPConnection(self.host, self.port, timeout=70)
            kept = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
            connection.request(self.command, self.path, body, kept)
            response = connection.getresponse()
            status, headers, content = response.status, response.getheaders(), response.read()
            connection.close()
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_DELETE = answer

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


HOP_BY_HOP = ("connection", "content-length", "transfer-encoding", "te", "host", "date", "server")


@contextmanager
def proxy(running: RunningServer, status: int) -> Iterator[str]:
    """A proxy that keeps answers until they are whole; its URL.

    Parameters:
        status: with which it refuses streams; 0: it treats them like everything else.
    """
    handler = type("Handler", (_Proxy,), {"host": running.api.host, "port": running.api.port, "status": status})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    server.block_on_close = False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("status", [404, 502, 0])
def test_where_streams_cannot_pass_it_polls(running: RunningServer, tmp_path: Path, status: int) -> None:
    if status == 0:  # what is told on the stream is not heard, and has to lapse
        running.plane.settings = replace(SETTINGS, offer_timeout=2.0)
        running.plane.dispatcher._offer_seconds = 2.0
    with (
        proxy(running, status) as url,
        stock_agent(running, tmp_path, url=url, bootstrap="true"),
    ):
        for number in (1, 2, 3):
            running.api.create_build()
            running.api.wait_build("passed", number=number, seconds=60)
    assert [session.unheard for session in running.plane.sessions] == [status == 0]

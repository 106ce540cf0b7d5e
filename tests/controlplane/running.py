"""A real control plane for tests, in a thread or as a process of its own, and a small agent that speaks to it."""

from __future__ import annotations

import gzip
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from pipeseal.clock import Clock
from pipeseal.controlplane.http.serve import Server, listen, url_of
from pipeseal.controlplane.services.plane import ControlPlane, Settings, open_plane
from pipeseal.tracing.spans import Tracing
from tests.ports import hold_port

ORGANIZATION = "local"
QUICK = Settings(ping_hold=2.0, sweep_interval=0.05)


class Answer(NamedTuple):
    """Status, decoded JSON (None when there is none), raw body and headers of an answer."""

    status: int
    json: Any
    body: bytes
    headers: Mapping[str, str]


class Api:
    """Requests to one server, over one kept connection for each thread."""

    def __init__(self, url: str, folder: Path, tokens: Path | None = None) -> None:
        folder = tokens or folder  # servers that share a database have one set of tokens, in the first one's folder
        self.url = url
        self.host, _, port = url.removeprefix("http://").partition(":")
        self.port = int(port)
        self.registration_token = (folder / "agent-token").read_text().strip()
        self.api_token = (folder / "api-token").read_text().strip()
        self._local = threading.local()
        self._connections: list[HTTPConnection] = []

    def close(self) -> None:
        """Close the connections of all threads."""
        for connection in self._connections:
            connection.close()

    def call(
        self,
        method: str,
        path: str,
        *,
        authorization: str | None = None,
        body: Any = None,
        raw: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 120,
    ) -> Answer:
        """One request; `body` is sent as JSON, `raw` as it is."""
        content = raw if raw is not None else None if body is None else json.dumps(body).encode()
        sent = dict(headers or {})
        if authorization is not None:
            sent["Authorization"] = authorization
        connection: HTTPConnection | None = getattr(self._local, "connection", None)
        for attempt in (0, 1):
            if connection is None:
                connection = self._local.connection = HTTPConnection(self.host, self.port, timeout=timeout)
                self._connections.append(connection)
            try:
                connection.request(method, path, content, sent)
                response = connection.getresponse()
                data = response.read()
                break
            except (HTTPException, OSError):
                connection.close()
                self._local.connection = connection = None
                if attempt:
                    raise
        try:
            decoded = json.loads(data) if data else None
        except ValueError:
            decoded = None
        return Answer(response.status, decoded, data, {name.lower(): value for name, value in response.getheaders()})

    def agent_call(self, method: str, path: str, token: str, body: Any = None, **more: Any) -> Answer:
        """A request of the Agent API."""
        return self.call(method, f"/v3{path}", authorization=f"Token {token}", body=body, **more)

    def rest(self, method: str, path: str, body: Any = None, **more: Any) -> Answer:
        """A request of the REST API, below the organisation."""
        prefix = f"/v2/organizations/{ORGANIZATION}"
        return self.call(method, prefix + path, authorization=f"Bearer {self.api_token}", body=body, **more)

    def create_pipeline(self, steps: str, slug: str = "demo") -> None:
        """A pipeline with these steps in its settings."""
        body = {"name": slug, "slug": slug, "repository": "https://git.example.test/r.git", "configuration": steps}
        answer = self.rest("POST", "/pipelines", body)
        assert answer.status == 201, answer.json

    def create_build(self, slug: str = "demo", **body: Any) -> dict[str, Any]:
        """A build."""
        answer = self.rest("POST", f"/pipelines/{slug}/builds", body)
        assert answer.status == 201, answer.json
        build: dict[str, Any] = answer.json
        return build

    def build(self, number: int = 1, slug: str = "demo") -> dict[str, Any]:
        """A build as it is now, with all of its jobs."""
        answer = self.rest("GET", f"/pipelines/{slug}/builds/{number}?include_retried_jobs=true")
        assert answer.status == 200, answer.json
        build: dict[str, Any] = answer.json
        return build

    def wait_build(self, *states: str, number: int = 1, slug: str = "demo", seconds: float = 60) -> dict[str, Any]:
        """Wait until a build is in one of `states`."""
        build = self.build(number, slug)
        deadline = time.monotonic() + seconds
        while build["state"] not in states:
            assert time.monotonic() < deadline, f"build is {build['state']}: {job_states(build)}"
            time.sleep(0.02)
            build = self.build(number, slug)
        return build

    def log(self, build: Mapping[str, Any], job_id: str) -> bytes:
        """The whole log of a job."""
        path = f"/pipelines/{build['pipeline']['slug']}/builds/{build['number']}/jobs/{job_id}/log.txt"
        answer = self.rest("GET", path)
        assert answer.status == 200, answer.json
        return answer.body


class RunningServer(NamedTuple):
    """A server in a thread of this process."""

    api: Api
    plane: ControlPlane
    server: Server
    folder: Path


@contextmanager
def running_server(
    folder: Path,
    settings: Settings = QUICK,
    *,
    clock: Clock | None = None,
    steady: Callable[[], float] | None = None,
    database_url: str = "",
    object_store: str = "",
    tokens: Path | None = None,
    tracing: Tracing | None = None,
) -> Iterator[RunningServer]:
    """A control plane in a thread, on a free port of loopback."""
    database_url = database_url or os.environ.get("PIPESEAL_SERVER_DATABASE_URL", "")
    listener = listen("127.0.0.1:0")
    plane = open_plane(
        folder,
        settings,
        clock=clock,
        steady=steady,
        database_url=database_url,
        object_store=object_store,
        tracing=tracing,
    )
    plane.url = url_of(listener)
    ready = threading.Event()
    server = Server(plane, listener, lambda _url: ready.set())
    thread = threading.Thread(target=server.serve_until_stopped, daemon=True)
    thread.start()
    assert ready.wait(60), "the server did not start"
    api = Api(plane.url, folder, tokens)
    try:
        yield RunningServer(api, plane, server, folder)
    finally:
        api.close()
        server.should_exit = True
        thread.join(60)
        listener.close()
        assert not thread.is_alive(), "the server did not stop"


class ServerProcess:
    """A server as a process of its own, which can be killed and started again on the same folder and port."""

    # What Python runs in the command's place.
    program: tuple[str, ...] = ("-c", "from pipeseal.cli import main; main()")

    def __init__(
        self,
        folder: Path,
        *options: str,
        tokens: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.tokens = tokens
        self.environment = None if environment is None else {**os.environ, **environment}
        self.options = options
        self._port = 0
        self.process: subprocess.Popen[str] | None = None
        self._apis: list[Api] = []
        self._held: socket.socket | None = None

    def start(self) -> Api:
        """Start it; returns once it answers."""
        command = [
            sys.executable,
            *self.program,
            "server",
            "--data",
            str(self.folder),
        ]
        command += ["--listen", f"127.0.0.1:{self._port}", "--sweep-interval", "0.1", *self.options]
        with tempfile.TemporaryFile("w+", encoding="utf-8") as said:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, text=True, stderr=said, env=self.environment
            )
            assert self.process.stdout is not None
            line = self.process.stdout.readline()
            if not line.startswith("Listening on http://"):
                said.seek(0)
                raise AssertionError(f"the server did not start, status {self.process.wait()}: {line}{said.read()}")
        url = line.split()[-1]
        self._port = int(url.rpartition(":")[2])
        self._release_port()
        api = Api(url, self.folder, self.tokens)
        self._apis.append(api)
        return api

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        assert self.process is not None
        self.process.kill()
        self._reap()
        self._held = hold_port(self._port)

    def kill_if_running(self) -> None:
        """SIGKILL, unless it has ended; it will not be started again."""
        if self.process is not None:
            self.process.kill()
            self._reap()
        self._release_port()

    def _release_port(self) -> None:
        if self._held is not None:
            self._held.close()
            self._held = None

    def stop(self) -> int:
        """SIGTERM; returns the exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self._reap()

    def _reap(self) -> int:
        assert self.process is not None
        assert self.process.stdout is not None
        status = self.process.wait(60)
        self.process.stdout.close()
        self.process = None
        for api in self._apis:
            api.close()
        return status


@contextmanager
def server_process(folder: Path, *options: str) -> Iterator[ServerProcess]:
    """A server process, killed at the end if it still runs."""
    server = ServerProcess(folder, *options)
    try:
        yield server
    finally:
        server.kill_if_running()


class FakeAgent:
    """An agent that speaks the Agent API and runs nothing."""

    def __init__(self, api: Api, *tags: str, name: str = "", priority: str | None = None) -> None:
        self.api = api
        body = {"name": name, "hostname": "host", "meta_data": list(tags), "priority": priority, "version": "3.137.0"}
        answer = api.agent_call("POST", "/register", api.registration_token, body)
        assert answer.status == 200, answer.json
        self.id: str = answer.json["id"]
        self.name: str = answer.json["name"]
        self.token: str = answer.json["access_token"]
        self.registered: dict[str, Any] = answer.json
        assert api.agent_call("POST", "/connect", self.token).status == 200

    def ping(self) -> dict[str, Any]:
        """What to do."""
        answer = self.api.agent_call("GET", "/ping", self.token)
        assert answer.status == 200, answer.json
        action: dict[str, Any] = answer.json
        return action

    def next_job(self, seconds: float = 60) -> str:
        """Ping until there is a job."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            job = self.ping().get("job")
            if job is not None:
                return str(job["id"])
        raise AssertionError("there was no job")

    def accept(self, job_id: str) -> FakeJob:
        """Accept a job."""
        answer = self.api.agent_call("PUT", f"/jobs/{job_id}/accept", self.token)
        assert answer.status == 200, answer.json
        return FakeJob(self.api, answer.json)

    def take(self) -> FakeJob:
        """Ping, accept and start the next job."""
        job = self.accept(self.next_job())
        assert job.start().status == 200
        return job

    def run(self, exit_status: int | str = 0, log: bytes = b"", **finish: Any) -> FakeJob:
        """Take the next job and finish it."""
        job = self.take()
        if log:
            assert job.chunk(1, 0, log).status == 200
        assert job.finish(exit_status, **finish).status == 200
        return job

    def heartbeat(self) -> Answer:
        """A sign of life."""
        return self.api.agent_call("POST", "/heartbeat", self.token, {"sent_at": "2026-01-01T00:00:00Z"})

    def disconnect(self) -> None:
        """Say goodbye."""
        assert self.api.agent_call("POST", "/disconnect", self.token).status == 200


class FakeJob:
    """A job in the hands of a `FakeAgent`."""

    def __init__(self, api: Api, assignment: dict[str, Any]) -> None:
        self.api = api
        self.assignment = assignment
        self.id: str = assignment["id"]
        self.token: str = assignment["token"]
        self.env: dict[str, str] = assignment["env"]

    def call(self, method: str, path: str, body: Any = None, **more: Any) -> Answer:
        """A request below the job, with its token."""
        return self.api.agent_call(method, f"/jobs/{self.id}{path}", self.token, body, **more)

    def start(self) -> Answer:
        """The job begins."""
        return self.call("PUT", "/start", {"started_at": "2026-01-01T00:00:00Z"})

    def finish(self, exit_status: int | str = 0, **more: Any) -> Answer:
        """The job ends."""
        body = {
            "exit_status": str(exit_status),
            "finished_at": "2026-01-01T00:00:01Z",
            "chunks_failed_count": 0,
            **more,
        }
        return self.call("PUT", "/finish", body)

    def state(self) -> Answer:
        """How the job stands."""
        return self.call("GET", "")

    def chunk(self, sequence: int, offset: int, data: bytes, *, size: int | None = None) -> Answer:
        """A chunk of the log."""
        query = f"?sequence={sequence}&offset={offset}&size={len(data) if size is None else size}"
        headers = {"Content-Encoding": "gzip", "Content-Type": "text/plain"}
        return self.call("POST", f"/chunks{query}", raw=gzip.compress(data, 1), headers=headers)

    def upload(self, pipeline: Any, *, upload_id: str | None = None, replace: bool = False) -> Answer:
        """Upload a pipeline: a value, or JSON text that is sent as it stands."""
        text = pipeline if isinstance(pipeline, str) else json.dumps(pipeline)
        more = ',"replace":true' if replace else ""
        body = f'{{"uuid":"{upload_id or uuid.uuid4()}","pipeline":{text}{more}}}'
        headers = {"Content-Type": "application/json"}
        return self.call("POST", "/pipelines?async=true", raw=body.encode(), headers=headers)


def job_states(build: Mapping[str, Any]) -> dict[str, str]:
    """Key or label of each job to its state; numbered where several have the same."""
    states: dict[str, str] = {}
    for job in build["jobs"]:
        name = job["step_key"] or job["label"] or job["type"]
        count = sum(1 for known in states if known == name or known.startswith(f"{name}#"))
        states[f"{name}#{count + 1}" if count else name] = job["state"]
    return states


def find_job(build: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The newest job of a step, by key or label."""
    found = [job for job in build["jobs"] if name in (job["step_key"], job["label"])]
    job: dict[str, Any] = found[-1]
    return job


def until(check: Callable[[], bool], what: str, seconds: float = 60) -> None:
    """Wait until `check` holds."""
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, f"never came: {what}"
        time.sleep(0.01)


def quoted(text: str) -> str:
    """`text` for a path segment."""
    return quote(text, safe="")


def is_alive(pid: int) -> bool:
    """Whether a process exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True

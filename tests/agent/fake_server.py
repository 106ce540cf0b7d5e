"""A small control plane for tests: real sockets, everything it is told is kept, everything it says can be chosen."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from pipeseal.lab.hostile_server import Request as Request
from pipeseal.lab.hostile_server import has_hung_up


@dataclass
class JobRecord:
    """A job and what became of it."""

    id: str
    raw: bytes
    accepted: bool = False
    started: bool = False
    state: str = "running"
    chunks: dict[int, tuple[int, bytes]] = field(default_factory=dict)
    finish: dict[str, Any] | None = None
    finished: threading.Event = field(default_factory=threading.Event)
    first_chunk_at: float = 0.0
    given_at: float = 0.0

    @property
    def log(self) -> bytes:
        """The log, put together by offset; fails when bytes are missing or told twice differently."""
        length = 0
        for offset, data in sorted(self.chunks.values()):
            assert offset == length, f"a chunk begins at {offset}, and {length} bytes are there"
            length += len(data)
        assert sorted(self.chunks) == list(range(1, len(self.chunks) + 1))
        return b"".join(data for _, data in sorted(self.chunks.values()))

    @property
    def text(self) -> str:
        """The log without the times of its lines."""
        import re

        return re.sub(r"\x1b_bk;t=\d+\x07", "", self.log.decode("utf-8", "replace")).replace("\r\n", "\n")


Answer = tuple[int, bytes] | tuple[int, bytes, dict[str, str]]


class FakeServer:
    """The control plane.

    Parameters:
        hold_seconds: how long a ping is held open while there is nothing to do; 0 answers at once.
        port: where to listen; any free one by default.
    """

    def __init__(self, hold_seconds: float = 0.0, port: int = 0) -> None:
        self.hold_seconds = hold_seconds
        self.requests: list[Request] = []
        self.jobs: dict[str, JobRecord] = {}
        self.queue: list[str] = []
        self.meta_data: dict[str, str] = {}
        self.uploads: list[dict[str, Any]] = []
        self.ping_answers: list[Answer] = []
        # After a job whose finish says so, this server offers no more, and holds no ping.
        self.offers_no_more = False
        # Answers to acquiring a job before it can be had.
        self.acquire_answers: list[Answer] = []
        self.secrets: dict[str, str] = {}
        # Path of each artifact to its bytes, and the states that were told.
        self.artifacts: dict[str, bytes] = {}
        self.artifact_states: list[dict[str, Any]] = []
        self.stall_uploads = threading.Event()
        self.promises: list[dict[str, Any]] = []
        self.ping_interval = 1
        self.job_status_interval = 1
        self.heartbeat_interval = 1
        # What else it answers to `register`.
        self.registration: dict[str, Any] = {}
        # Endpoint name such as `POST /heartbeat` to what to answer instead, or None to go on as usual.
        self.interfere: Callable[[Request], Answer | None] = lambda _request: None
        self._changed = threading.Condition()
        self._closing = False
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def _serve(self) -> None:
                parts = urlsplit(self.path)
                length = int(self.headers.get("Content-Length") or 0)
                request = Request(
                    self.command,
                    unquote(parts.path),
                    parse_qs(parts.query),
                    {name.lower(): value for name, value in self.headers.items()},
                    self.rfile.read(length),
                )
                answer = server._answer(request, self.connection)
                status, body = answer[0], answer[1]
                headers = answer[2] if len(answer) == 3 else {}
                self.close_connection = self.close_connection or server._closing
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                try:
                    self.wfile.write(body)
                except OSError:
                    self.close_connection = True

            do_GET = do_POST = do_PUT = do_DELETE = _serve

            def log_message(self, *_: object) -> None:
                pass

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, *_: object) -> None:
                pass  # a client that goes away is part of the tests

        self._http = Quiet(("127.0.0.1", port), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._http.server_address[1])

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}/v3"

    def close(self) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def add_job(self, raw: dict[str, Any] | bytes, job_id: str) -> JobRecord:
        """Hand this job to the next agent that asks. `raw` is what accept answers."""
        data = raw if isinstance(raw, bytes) else json.dumps(raw).encode()
        record = JobRecord(job_id, data)
        with self._changed:
            self.jobs[job_id] = record
            self.queue.append(job_id)
            self._changed.notify_all()
        return record

    def calls(self, method: str, path: str) -> list[Request]:
        """The requests to one endpoint so far."""
        return [
            request for request in list(self.requests) if (request.method, request.path) == (method, "/v3" + path)
        ]

    def wait_for(self, condition: Callable[[], bool], seconds: float = 60.0) -> None:
        """Wait until something has happened; fails when it does not."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"waited {seconds} s in vain; requests: {self._summary()}"
            time.sleep(0.005)

    def _summary(self) -> list[str]:
        return [f"{request.method} {request.path}" for request in self.requests[-20:]]

    def _answer(self, request: Request, connection: socket.socket) -> Answer:
        self.requests.append(request)
        chosen = self.interfere(request)
        if chosen is not None:
            return chosen
        path = request.path.removeprefix("/v3")
        match request.method, path.strip("/").split("/"):
            case "POST", ["register"]:
                return _json(
                    {
                        "id": "agent-1",
                        "name": request.json()["name"] or "agent",
                        "access_token": "SESSION",
                        "ping_interval": self.ping_interval,
                        "job_status_interval": self.job_status_interval,
                        "heartbeat_interval": self.heartbeat_interval,
                        **self.registration,
                    }
                )
            case "POST", ["connect" | "disconnect"]:
                return 200, b""
            case "POST", ["heartbeat"]:
                return _json({"sent_at": request.json()["sent_at"], "received_at": "2026-01-01T00:00:00Z"})
            case "GET", ["ping"]:
                return self._ping(connection)
            case "POST", ["store", artifact_id]:
                return self._store(artifact_id, request)
            case _, ["jobs", job_id, *rest] if job_id in self.jobs:
                return self._job(request, self.jobs[job_id], "/".join(rest))
        return 404, b'{"message":"no such thing"}'

    def _ping(self, connection: socket.socket) -> Answer:
        deadline = time.monotonic() + self.hold_seconds
        with self._changed:
            while True:
                if has_hung_up(connection):
                    return _json({})  # an agent that has ended: what it is told now would be lost
                if self.ping_answers:
                    return self.ping_answers.pop(0)
                if self.offers_no_more:
                    return _json({})
                if self.queue:
                    job_id = self.queue.pop(0)
                    self.jobs[job_id].given_at = time.monotonic()
                    return _json({"job": {"id": job_id}})
                left = deadline - time.monotonic()
                if left <= 0 or self._closing:
                    return _json({})
                self._changed.wait(left)

    def _job(self, request: Request, job: JobRecord, what: str) -> Answer:
        match request.method, what:
            case "PUT", "accept":
                job.accepted = True
                return 200, job.raw
            case "PUT", "acquire":
                if self.acquire_answers:
                    return self.acquire_answers.pop(0)
                job.accepted = True
                return 200, job.raw
            case "PUT", "start":
                job.started = True
                return 200, b""
            case "GET", "":
                return _json({"state": job.state})
            case "POST", "chunks":
                data = gzip.decompress(request.body)
                assert len(data) == int(request.query["size"][0])
                job.first_chunk_at = job.first_chunk_at or time.monotonic()
                job.chunks[int(request.query["sequence"][0])] = (int(request.query["offset"][0]), data)
                return 201, b""
            case "PUT", "finish":
                job.finish = request.json()
                self.offers_no_more = self.offers_no_more or bool(job.finish["ignore_agent_in_dispatches"])
                job.finished.set()
                return 200, b""
            case "POST", "pipelines":
                self.uploads.append(request.json())
                return 200, b""
            case "POST", "data/exists":
                return _json({"exists": request.json()["key"] in self.meta_data})
            case "POST", "data/set":
                self.meta_data[request.json()["key"]] = request.json()["value"]
                return 200, b""
            case "GET", "secrets" if request.query["key"][0] in self.secrets:
                key = request.query["key"][0]
                return _json({"key": key, "value": self.secrets[key], "uuid": "u"})
            case "POST", "artifacts":
                return self._create_artifacts(request.json())
            case "PUT", "artifacts":
                self.artifact_states += request.json()["artifacts"]
                return 200, b""
            case "PUT", "promise_failure":
                self.promises.append(request.json())
                return 204, b""
        return 404, b'{"message":"no such thing"}'

    def _create_artifacts(self, batch: dict[str, Any]) -> Answer:
        ids = [f"artifact-{number}" for number in range(len(batch["artifacts"]))]
        each = {
            artifact_id: {
                "data": {"path": "${artifact:path}"},
                "action": {
                    "url": f"http://127.0.0.1:{self.port}",
                    "method": "POST",
                    "path": f"/v3/store/{artifact_id}",
                    "file_input": "file",
                },
            }
            for artifact_id in ids
        }
        return _json(
            {
                "id": batch["id"],
                "artifact_ids": ids,
                "upload_instructions": next(iter(each.values())),
                "per_artifact_instructions": each,
            }
        )

    def _store(self, _artifact_id: str, request: Request) -> Answer:
        while self.stall_uploads.is_set() and not self._closing:
            time.sleep(0.02)
        boundary = request.headers["content-type"].partition("boundary=")[2].encode()
        parts = [part.partition(b"\r\n\r\n")[2][:-2] for part in request.body.split(b"--" + boundary)[1:-1]]
        self.artifacts[parts[0].decode()] = parts[-1]
        return 204, b""


def _json(value: object) -> Answer:
    return 200, json.dumps(value).encode()


@contextmanager
def fake_server(hold_seconds: float = 0.0, port: int = 0) -> Iterator[FakeServer]:
    """A control plane, gone at the end."""
    server = FakeServer(hold_seconds, port)
    try:
        yield server
    finally:
        server.close()

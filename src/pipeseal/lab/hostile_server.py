"""A control plane in the attacker's hands: it keeps every request, and answers whatever it is told to answer.

Plain HTTP on loopback, because no refusal may depend on TLS. Left alone it is an honest server of the Agent API for
the jobs that it is given. A `Trap` is another listener, on another port, where nobody has any business: whoever
connects to it has let the server choose an address.
"""

from __future__ import annotations

import gzip
import json
import re
import socket
import socketserver
import threading
import time
import uuid
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

# How long a ping is held open while there is nothing to do.
HOLD_SECONDS = 20.0
TRAP_HOST = "127.0.0.2"
_TIMES = re.compile(r"\x1b_bk;t=\d+\x07")


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came.

    Parameters:
        method, path: the path is decoded and has no query.
        query: name to values.
        headers: names in lower case.
        body: as sent.
    """

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes

    @property
    def token(self) -> str:
        """Whose call it is."""
        return self.headers.get("authorization", "").removeprefix("Token ")

    @property
    def content(self) -> bytes:
        """The body, unpacked."""
        if self.headers.get("content-encoding") != "gzip":
            return self.body
        try:
            return gzip.decompress(self.body)
        except (OSError, EOFError, zlib.error):
            return self.body

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Answer(NamedTuple):
    """What to answer.

    Parameters:
        status, body, headers: of the answer; its length is added.
        write: writes the whole answer itself, status line and all, and has the connection closed.
    """

    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    write: Callable[[BufferedIOBase], object] | None = None


Interference = Callable[[Request], Answer | None]


def answer_json(value: object, status: int = 200) -> Answer:
    """An answer with this JSON body."""
    return Answer(status, json.dumps(value).encode(), (("Content-Type", "application/json"),))


def has_hung_up(connection: socket.socket) -> bool:
    """Whether the other side of a connection is gone, so that an answer would reach nobody."""
    try:
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


@dataclass
class JobRecord:
    """A job that was given to an agent, and what became of it."""

    id: str
    answer: bytes
    agent: str
    accepted: bool = False
    started: bool = False
    state: str = "running"
    chunks: dict[int, tuple[int, bytes]] = field(default_factory=dict)
    finish: dict[str, Any] | None = None
    finished: threading.Event = field(default_factory=threading.Event)
    promises: list[dict[str, Any]] = field(default_factory=list)

    @property
    def log(self) -> str:
        """The job's log without the times of its lines."""
        data = b"".join(data for _, data in sorted(self.chunks.values()))
        return _TIMES.sub("", data.decode("utf-8", "replace")).replace("\r\n", "\n")

    @property
    def code(self) -> str:
        """The code that the agent refused the job with; empty when it did not refuse it."""
        refusal = (self.finish or {}).get("refusal")
        return str(refusal.get("code", "")) if isinstance(refusal, dict) else ""


class Trap:
    """A listener that nobody should ever reach; keeps what came."""

    def __init__(self) -> None:
        self.touched: list[bytes] = []
        touched = self.touched

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                self.request.settimeout(1.0)
                touched.append(b"connected")
                try:
                    touched[-1] = bytes(self.request.recv(4096)) or b"connected"
                    self.request.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
                except OSError:
                    pass  # that somebody came is all that counts

        # Another host than the server's, which Linux has without being asked.
        self._server = _TrapServer((TRAP_HOST, 0), Handler)
        self.port = int(self._server.server_address[1])
        self.url = f"http://{TRAP_HOST}:{self.port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _TrapServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False


class HostileServer:
    """The server, on a loopback port of its own, until closed.

    Attributes:
        interfere: sees each request first; what it returns is the answer, and None leaves the request alone.
        requests: everything that was asked.
        jobs: by id.
        secrets: what jobs may fetch, by key.
        artifacts: path to the bytes that were uploaded.
        registration: members added to every answer to `register`.
    """

    def __init__(self, registration_token: str) -> None:
        self.interfere: Interference = lambda _request: None
        self.registration_token = registration_token
        self.requests: list[Request] = []
        self.jobs: dict[str, JobRecord] = {}
        self.secrets: dict[str, str] = {}
        self.meta_data: dict[str, str] = {}
        self.artifacts: dict[str, bytes] = {}
        self.uploads: list[dict[str, Any]] = []
        self.registration: dict[str, Any] = {}
        # Token of a session to the agent's name, and its id.
        self.agents: dict[str, tuple[str, str]] = {}
        self._queues: dict[str, list[str]] = {}
        self._woken: set[str] = set()
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
                try:
                    if answer.write is not None:
                        self.close_connection = True
                        answer.write(self.wfile)
                        return
                    self.send_response(answer.status)
                    for name, value in answer.headers:
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(answer.body)))
                    self.end_headers()
                    self.wfile.write(answer.body)
                except OSError:
                    self.close_connection = True  # the agent went away, which is its right

            do_GET = do_POST = do_PUT = do_DELETE = _serve

            def log_message(self, *_: object) -> None:
                pass  # requests are kept, not printed

        self._http = _QuietServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self.endpoint = f"{self.url}/v3"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving; pings that are held are answered."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def give(self, answer: bytes, job_id: str, agent: str) -> JobRecord:
        """Offer a job to an agent the next time it asks.

        Parameters:
            answer: what accepting it answers.
            job_id: what it is offered as.
            agent: the agent's name.
        """
        record = JobRecord(job_id, answer, agent)
        with self._changed:
            self.jobs[job_id] = record
            self._queues.setdefault(agent, []).append(job_id)
            self._changed.notify_all()
        return record

    def wake(self, agent: str) -> None:
        """Answer an agent's ping that is held, so that it asks again."""
        with self._changed:
            self._woken.add(agent)
            self._changed.notify_all()

    def wait_for(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Whether something happens in that time."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.005)
        return True

    # --- the honest answers -----------------------------------------------------------------------------------------

    def _answer(self, request: Request, connection: socket.socket) -> Answer:
        self.requests.append(request)
        chosen = self.interfere(request)
        if chosen is not None:
            return chosen
        path = request.path.removeprefix("/v3").strip("/").split("/")
        match request.method, path:
            case "POST", ["register"]:
                return self._register(request)
            case "POST", ["connect" | "disconnect"]:
                return Answer()
            case "POST", ["heartbeat"]:
                return answer_json({"sent_at": request.json()["sent_at"], "received_at": "2026-01-01T00:00:00Z"})
            case "GET", ["ping"]:
                return self._ping(request, connection)
            case "POST", ["store", _]:
                return self._store(request)
            case _, ["jobs", job_id, *rest] if job_id in self.jobs:
                return self._job(request, self.jobs[job_id], "/".join(rest))
        return answer_json({"message": "no such thing"}, 404)

    def _register(self, request: Request) -> Answer:
        name = request.json()["name"]
        token, agent_id = f"session-{uuid.uuid4().hex}", str(uuid.uuid5(uuid.NAMESPACE_URL, f"agent:{name}"))
        self.agents[token] = (name, agent_id)
        intervals = {"ping_interval": 1, "job_status_interval": 1, "heartbeat_interval": 60}
        return answer_json({"id": agent_id, "name": name, "access_token": token, **intervals, **self.registration})

    def _ping(self, request: Request, connection: socket.socket) -> Answer:
        name = self.agents.get(request.token, ("", ""))[0]
        deadline = time.monotonic() + HOLD_SECONDS
        with self._changed:
            # What an agent that has ended is told would be lost.
            while not self._closing and not has_hung_up(connection):
                queue = self._queues.get(name)
                if queue:
                    return answer_json({"job": {"id": queue.pop(0)}})
                if name in self._woken:
                    self._woken.discard(name)
                    break
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
        return answer_json({})

    def _job(self, request: Request, job: JobRecord, what: str) -> Answer:
        match request.method, what:
            case "PUT", "accept" | "acquire":
                job.accepted = True
                return Answer(200, job.answer)
            case "PUT", "start":
                job.started = True
                return Answer()
            case "GET", "":
                return answer_json({"state": job.state})
            case "POST", "chunks":
                job.chunks[int(request.query["sequence"][0])] = (int(request.query["offset"][0]), request.content)
                return Answer(201)
            case "PUT", "finish":
                job.finish = request.json()
                job.finished.set()
                return Answer()
            case "POST", "pipelines":
                self.uploads.append(request.json())
                return Answer()
            case "POST", "data/exists":
                return answer_json({"exists": request.json()["key"] in self.meta_data})
            case "POST", "data/set":
                self.meta_data[request.json()["key"]] = request.json()["value"]
                return Answer()
            case "POST", "data/get":
                key = request.json()["key"]
                found = key in self.meta_data
                return answer_json({"key": key, "value": self.meta_data.get(key, "")}, 200 if found else 404)
            case "GET", "secrets" if request.query["key"][0] in self.secrets:
                key = request.query["key"][0]
                return answer_json({"key": key, "value": self.secrets[key], "uuid": "u"})
            case "POST", "artifacts":
                return self._create_artifacts(request.json())
            case "PUT", "artifacts":
                return Answer()
            case "PUT", "promise_failure":
                job.promises.append(request.json())
                return Answer(204)
        return answer_json({"message": "no such thing"}, 404)

    def _create_artifacts(self, batch: dict[str, Any]) -> Answer:
        ids = [f"artifact-{uuid.uuid4()}" for _ in batch["artifacts"]]
        each = {artifact_id: self.upload_instructions(artifact_id) for artifact_id in ids}
        return answer_json(
            {
                "id": batch["id"],
                "artifact_ids": ids,
                "upload_instructions": next(iter(each.values())),
                "per_artifact_instructions": each,
            }
        )

    def upload_instructions(self, artifact_id: str) -> dict[str, Any]:
        """Where an honest server wants an artifact's bytes: at itself."""
        path = f"/v3/store/{artifact_id}"
        action = {"url": self.url, "method": "POST", "path": path, "file_input": "file"}
        return {"data": {"path": "${artifact:path}"}, "action": action}

    def _store(self, request: Request) -> Answer:
        boundary = request.headers["content-type"].partition("boundary=")[2].encode()
        parts = [part.partition(b"\r\n\r\n")[2][:-2] for part in request.body.split(b"--" + boundary)[1:-1]]
        self.artifacts[parts[0].decode()] = parts[-1]
        return Answer(204)


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def handle_error(self, *_: object) -> None:
        pass  # a client that goes away in the middle is what some attacks are about

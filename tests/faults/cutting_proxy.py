"""A proxy in front of a server that breaks connections: before a request arrives, or before its answer does."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from enum import Enum
from http.client import HTTPConnection, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from pipeseal.agentapi.routes import ROUTES, Token

SEND_ARTIFACT = "send_artifact"


class Cut(Enum):
    """When a connection breaks."""

    BEFORE = "before the server has the request"
    AFTER = "after the server acted, before it answers"
    HALF = "in the middle of the answer"


class CuttingProxy:
    """What is to be cut, and what went through. Of each job, and of all sessions together, by the names of routes.

    Parameters:
        upstream: URL of the server.
    """

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream.removeprefix("http://")
        self.url = ""
        # By job: the route whose first call is cut.
        self.of_jobs: Mapping[str, tuple[str, Cut]] = {}
        # By route of a session: how its first calls are cut, one after the other.
        self.of_sessions: dict[str, list[Cut]] = {}
        self.seen: dict[str, Counter[str]] = {}
        self.cuts: list[tuple[str, str, Cut]] = []
        self._jobs_of_artifacts: dict[str, str] = {}
        self._lock = threading.Lock()
        # Requests wait while it is not set: then nothing gets through before it is known what is to be cut.
        self.open = threading.Event()
        self.open.set()

    def decide(self, method: str, path: str) -> Cut | None:
        """Note a request, and say whether it is cut."""
        assert self.open.wait(60)
        route, job_id = self._recognise(method, path.partition("?")[0])
        with self._lock:
            seen = self.seen.setdefault(job_id, Counter())
            seen[route] += 1
            planned = self.of_jobs.get(job_id)
            cut = None
            if planned is not None and planned[0] == route and seen[route] == 1:
                cut = planned[1]
            elif not job_id and self.of_sessions.get(route):
                cut = self.of_sessions[route].pop(0)
            if cut is not None:
                self.cuts.append((job_id, route, cut))
            return cut

    def note_answer(self, path: str, body: bytes) -> None:
        """Learn from an answer which artifacts a job has."""
        match = re.match(r"/v3/jobs/([^/]+)/artifacts", path)
        if match is not None:
            with suppress(ValueError, KeyError, TypeError):
                for artifact_id in json.loads(body)["artifact_ids"]:
                    self._jobs_of_artifacts[artifact_id] = match[1]

    def _recognise(self, method: str, path: str) -> tuple[str, str]:
        for route in ROUTES:
            pattern = "/v3" + re.sub(r"\{[a-z_]+\}", r"([^/]+)", route.path)
            match = re.fullmatch(pattern, path)
            if match is not None and method == route.method:
                of_job = route.token is Token.JOB or "{job_id}" in route.path
                return route.name, match[1] if of_job and match.groups() else ""
        for artifact_id, job_id in self._jobs_of_artifacts.items():
            if artifact_id in path:
                return SEND_ARTIFACT, job_id
        return f"{method} {path}", ""


@contextmanager
def cutting_proxy(upstream: str) -> Iterator[CuttingProxy]:
    """A proxy on a port of its own, gone at the end."""
    proxy = CuttingProxy(upstream)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 60

        def _pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            cut = proxy.decide(self.command, self.path)
            if cut is Cut.BEFORE:
                self._break()
                return
            connection = HTTPConnection(proxy.upstream, timeout=60)
            try:
                headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
                connection.request(self.command, self.path, body, headers)
                response = connection.getresponse()
                answer = response.read()
            finally:
                connection.close()
            proxy.note_answer(self.path, answer)
            if cut is Cut.AFTER:
                self._break()
                return
            data = _render(response, answer)
            self.wfile.write(data[: len(data) // 2] if cut is Cut.HALF else data)
            if cut is Cut.HALF:
                self._break()

        do_GET = do_POST = do_PUT = do_DELETE = _pass_on

        def _break(self) -> None:
            self.close_connection = True
            with suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)

        def handle(self) -> None:
            with suppress(OSError):  # the agent hung up, or was killed
                super().handle()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    proxy.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def _render(response: HTTPResponse, body: bytes) -> bytes:
    left_out = {"transfer-encoding", "connection", "content-length"}
    lines = [f"HTTP/1.1 {response.status} {response.reason}"]
    lines += [f"{name}: {value}" for name, value in response.getheaders() if name.lower() not in left_out]
    if response.status != 204:
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body

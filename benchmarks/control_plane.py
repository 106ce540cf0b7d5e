"""Our server as a child, with the two clients that rows need: one of its REST API, one that acts as an agent."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from benchmarks.generate import COMMIT, REPOSITORY_URL
from benchmarks.measure import CommandFailed
from benchmarks.workspace import PIPESEAL

READY = "Listening on "
READY_SECONDS = 30
# More jobs than a build may have by default, in a longer text: 10,000 sealed steps with their matrices.
LIMITS = (
    "--max-jobs-per-upload", "20000", "--max-jobs-per-build", "20000", "--max-upload-bytes", str(64 * 1024 * 1024),
)  # fmt: skip


class Server(AbstractContextManager["Server"]):
    """`pipeseal server` on loopback, with an empty data directory.

    Parameters:
        data: its data directory, made by the server.
        env: its whole environment.

    After entering, `url` is where it listens and `ready_seconds` how long it took to say so.
    """

    def __init__(self, data: Path, env: Mapping[str, str], *options: str) -> None:
        self.data = data
        self._env = dict(env)
        self._options = options
        self.url = ""
        self.ready_seconds = 0.0

    def __enter__(self) -> Server:
        start = time.monotonic()
        command = [str(PIPESEAL), "server", "--data", str(self.data), "--listen", "127.0.0.1:0", *self._options]
        log = self.data.with_suffix(".log")
        with log.open("wb") as sink:
            self.process = subprocess.Popen(
                command, env=self._env, cwd=self.data.parent, stdout=sink, stderr=subprocess.STDOUT
            )
        said = ""
        while READY not in said or not said.endswith("\n"):
            if self.process.poll() is not None or time.monotonic() - start > READY_SECONDS:
                self.__exit__(None, None, None)
                raise CommandFailed(f"the server did not get ready: {said[-600:]}")
            time.sleep(0.002)
            said = log.read_text(encoding="utf-8", errors="replace")
        self.ready_seconds = time.monotonic() - start
        self.url = said.split(READY, 1)[1].split()[0]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    @property
    def agent_endpoint(self) -> str:
        return f"{self.url}/v3"

    @property
    def registration_token(self) -> str:
        return (self.data / "agent-token").read_text(encoding="utf-8").strip()

    def rest(self) -> Connection:
        """A client of the REST API."""
        token = (self.data / "api-token").read_text(encoding="utf-8").strip()
        return Connection(self.url + "/v2/organizations/local", f"Bearer {token}")


class Connection:
    """One kept-alive connection that speaks JSON.

    Parameters:
        base: URL that paths are appended to.
        authorization: value of the Authorization header.
    """

    def __init__(self, base: str, authorization: str) -> None:
        parts = urlsplit(base)
        self._http = http.client.HTTPConnection(parts.netloc, timeout=60)
        self._prefix = parts.path
        self.authorization = authorization

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """The decoded answer; None when it has no body.

        Raises:
            CommandFailed: any status but 2xx.
        """
        headers = {"Authorization": self.authorization}
        if body is not None:
            headers["Content-Type"] = "application/json"
        self._http.request(method, self._prefix + path, json.dumps(body) if body is not None else None, headers)
        answer = self._http.getresponse()
        content = answer.read()
        if answer.status // 100 != 2:
            raise CommandFailed(f"{method} {self._prefix}{path}: {answer.status} {content[:500]!r}")
        return json.loads(content) if content else None

    def close(self) -> None:
        self._http.close()


def create_pipeline(rest: Connection, slug: str, steps: str) -> None:
    """A pipeline whose settings hold `steps` (YAML or JSON text)."""
    body = {
        "name": slug,
        "slug": slug,
        "repository": REPOSITORY_URL,
        "default_branch": "main",
        "configuration": steps,
    }
    rest.call("POST", "/pipelines", body)


def create_build(rest: Connection, slug: str, commit: str = COMMIT) -> int:
    """A new build; its number."""
    body = {"commit": commit, "branch": "main", "message": "Measure"}
    number: int = rest.call("POST", f"/pipelines/{slug}/builds", body)["number"]
    return number


class PretendAgent:
    """Takes jobs and keeps them running without running anything, so that commands inside them can be measured.

    Parameters:
        server: where it registers.
    """

    def __init__(self, server: Server) -> None:
        self._connection = Connection(server.agent_endpoint, f"Token {server.registration_token}")
        body = {
            "name": "pretend",
            "hostname": "bench",
            "version": "3.137.0",
            "meta_data": ["queue=default"],
            "pid": 1,
        }
        registered = self._connection.call("POST", "/register", body)
        self._connection.authorization = f"Token {registered['access_token']}"
        self._connection.call("POST", "/connect")

    def start_next_job(self) -> dict[str, Any]:
        """Wait for a job, accept and start it; the job as the server sent it."""
        while not (job := self._connection.call("GET", "/ping").get("job")):
            pass
        accepted: dict[str, Any] = self._connection.call("PUT", f"/jobs/{job['id']}/accept")
        self._as_job(accepted, "start", {"started_at": _now()})
        return accepted

    def finish(self, job: Mapping[str, Any]) -> None:
        """Say that `job` ended well."""
        body = {"exit_status": "0", "finished_at": _now(), "chunks_failed_count": 0}
        self._as_job(job, "finish", body)

    def close(self) -> None:
        self._connection.call("POST", "/disconnect")
        self._connection.close()

    def _as_job(self, job: Mapping[str, Any], action: str, body: dict[str, Any]) -> None:
        session = self._connection.authorization
        self._connection.authorization = f"Token {job['token']}"
        try:
            self._connection.call("PUT", f"/jobs/{job['id']}/{action}", body)
        finally:
            self._connection.authorization = session


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())

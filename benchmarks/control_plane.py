"""Our server as a child, with the two clients that rows need: one of its REST API, one that acts as an agent."""

from __future__ import annotations

import gzip
import http.client
import json
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from email.message import Message
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from benchmarks.generate import COMMIT, REPOSITORY_URL
from benchmarks.measure import CommandFailed
from benchmarks.workspace import PIPESEAL

READY = "Listening on "
READY_SECONDS = 30
# Servers close connections that are idle for longer; while another side of a row runs, this one's are.
IDLE_SECONDS = 20.0
STREAM_PATH = "/agentedge.v1.AgentEdgeService/StreamPings"
_UNFINISHED = ("scheduled", "running")
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
        try:
            while READY not in said or not said.endswith("\n"):
                if self.process.poll() is not None or time.monotonic() - start > READY_SECONDS:
                    raise CommandFailed(f"the server did not get ready: {said[-600:]}")
                time.sleep(0.002)
                said = log.read_text(encoding="utf-8", errors="replace")
        except BaseException:  # a signal too: nobody else would end the server
            self.__exit__(None, None, None)
            raise
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


class Answer(NamedTuple):
    """Headers and body of an answer."""

    headers: Message
    content: bytes


class Connection:
    """One kept-alive connection that speaks JSON.

    Parameters:
        base: URL that paths are appended to.
        authorization: value of the Authorization header.
    """

    def __init__(self, base: str, authorization: str) -> None:
        parts = urlsplit(base)
        self.netloc = parts.netloc
        self._http = http.client.HTTPConnection(parts.netloc, timeout=60)
        self._used_at = time.monotonic()
        self._prefix = parts.path
        self.authorization = authorization

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """The decoded answer; None when it has no body.

        Raises:
            CommandFailed: any status but 2xx.
        """
        headers = {} if body is None else {"Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        content = self.fetch(method, path, data, headers).content
        return json.loads(content) if content else None

    def fetch(
        self, method: str, path: str, data: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """The answer as it is.

        Raises:
            CommandFailed: no answer, or any status but 2xx, and 304 which has no content.
        """
        now = time.monotonic()
        if now - self._used_at > IDLE_SECONDS:
            self._http.close()  # the next request connects again
        self._used_at = now
        sent = {"Authorization": self.authorization, **(headers or {})}
        try:
            self._http.request(method, self._prefix + path, data, sent)
            answer = self._http.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise CommandFailed(f"{method} {self._prefix}{path}: {error!r}") from error
        if answer.status // 100 != 2 and answer.status != 304:
            raise CommandFailed(f"{method} {self._prefix}{path}: {answer.status} {content[:500]!r}")
        return Answer(answer.headers, content)

    def close(self) -> None:
        self._http.close()


def create_pipeline(rest: Connection, slug: str, steps: str, *, repository: str = REPOSITORY_URL) -> None:
    """A pipeline whose settings hold `steps` (YAML or JSON text)."""
    body = {
        "name": slug,
        "slug": slug,
        "repository": repository,
        "default_branch": "main",
        "configuration": steps,
    }
    rest.call("POST", "/pipelines", body)


def create_build(rest: Connection, slug: str, commit: str = COMMIT) -> int:
    """A new build; its number."""
    number: int = start_build(rest, slug, commit)["number"]
    return number


def start_build(rest: Connection, slug: str, commit: str = COMMIT) -> dict[str, Any]:
    """A new build, as the server answers."""
    body = {"commit": commit, "branch": "main", "message": "Measure"}
    build: dict[str, Any] = rest.call("POST", f"/pipelines/{slug}/builds", body)
    return build


def log_path(build: Mapping[str, Any], slug: str) -> str:
    """Where the text of the log of a build's first job is."""
    return f"/pipelines/{slug}/builds/{build['number']}/jobs/{build['jobs'][0]['id']}/log.txt"


def wait_for_output(rest: Connection, path: str, mark: bytes, *, seconds: float = 60) -> None:
    """Follow a log until `mark` can be read in it.

    Raises:
        CommandFailed: the log ended without it, or nothing came.
    """
    seen = b""
    end = time.monotonic() + seconds
    while mark not in seen:
        answer = rest.fetch("GET", f"{path}?offset={len(seen)}&wait=10")
        seen += answer.content
        if mark not in seen and (answer.headers["X-Log-Ended"] == "true" or time.monotonic() > end):
            raise CommandFailed(f"the job did not print {mark!r}: {seen[-600:]!r}")


def wait_for_build(rest: Connection, slug: str, number: int, *, seconds: float = 120) -> None:
    """Wait until a build has passed, without asking again and again.

    Raises:
        CommandFailed: it did not pass, or not in time.
    """
    end = time.monotonic() + seconds
    tag, state = "", "scheduled"
    while True:
        answer = rest.fetch("GET", f"/pipelines/{slug}/builds/{number}?wait=10", headers={"If-None-Match": tag})
        state = json.loads(answer.content)["state"] if answer.content else state
        if state == "passed":
            return
        if state not in _UNFINISHED or time.monotonic() > end:
            raise CommandFailed(f"build {number} of {slug} is {state}")
        tag = answer.headers["ETag"]


def wait_for_all(rest: Connection, slug: str, *, seconds: float = 300) -> None:
    """Wait until every build of a pipeline has passed.

    Raises:
        CommandFailed: one did not pass, or not in time.
    """
    end = time.monotonic() + seconds
    # In this order: a build that is no longer scheduled is running at the second look, or ended.
    while any(rest.call("GET", f"/pipelines/{slug}/builds?state={state}&per_page=1") for state in _UNFINISHED):
        if time.monotonic() > end:
            raise CommandFailed(f"the builds of {slug} did not end within {seconds} s")
        time.sleep(0.02)
    if failed := rest.call("GET", f"/pipelines/{slug}/builds?state=failed&per_page=1"):
        raise CommandFailed(f"build {failed[0]['number']} of {slug} failed")


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

    def send_log(self, job: Mapping[str, Any], sequence: int, start: int, data: bytes) -> None:
        """Send a chunk of the log of `job`, which stands at byte `start`."""
        session = self._connection.authorization
        self._connection.authorization = f"Token {job['token']}"
        try:
            path = f"/jobs/{job['id']}/chunks?sequence={sequence}&offset={start}&size={len(data)}"
            self._connection.fetch("POST", path, gzip.compress(data, 1), {"Content-Encoding": "gzip"})
        finally:
            self._connection.authorization = session

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


def streams_pings(rest: Connection) -> bool:
    """Whether the server answers the stock agent's streaming pings."""
    connection = http.client.HTTPConnection(rest.netloc, timeout=10)
    try:
        connection.request("POST", STREAM_PATH, b"", {"Content-Type": "application/grpc+proto"})
        return connection.getresponse().status != 404
    finally:
        connection.close()

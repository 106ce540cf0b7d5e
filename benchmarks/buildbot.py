"""Buildbot as a peer: a master and its workers on loopback, triggered and read through its REST API."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks.control_plane import IDLE_SECONDS
from benchmarks.measure import CommandFailed
from benchmarks.peers import ROOT
from benchmarks.workspace import Workspace

CONFIGURATION = ROOT / "benchmarks" / "buildbot_peer" / "master.cfg"
READY_SECONDS = 200.0
# Its API has no way to wait for output, so it is asked again and again: often enough to be exact, seldom enough
# not to keep its one thread busy.
POLL_SECONDS = 0.01


class Buildbot(AbstractContextManager["Buildbot"]):
    """A master and its workers, each a process, with an empty SQLite database.

    Parameters:
        space: where their folders are made.
        programs: folder with `buildbot` and `buildbot-worker`.
        commands: the arguments of the one step of each builder.
        workers: how many, each for one build at a time.
    """

    def __init__(
        self, space: Workspace, programs: Path, commands: Mapping[str, Sequence[str]], *, workers: int = 1
    ) -> None:
        self.folder = space.fresh("buildbot")
        self._programs = programs
        self._commands = commands
        self._workers = workers
        self._env = dict(space.env)
        self._builders: dict[str, int] = {}
        self._http: http.client.HTTPConnection | None = None
        self._used_at = time.monotonic()
        self.processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Buildbot:
        self.folder.mkdir()
        web, pb = _free_ports(2)
        self._env |= {
            "BENCH_WWW_PORT": str(web), "BENCH_PB_PORT": str(pb), "BENCH_WORKERS": str(self._workers),
            "BENCH_COMMANDS": json.dumps({name: list(words) for name, words in self._commands.items()}),
        }  # fmt: skip
        try:
            self._make("buildbot", "create-master", "--quiet", "master")
            shutil.copy(CONFIGURATION, self.folder / "master" / "master.cfg")
            self._start("buildbot", "master")
            self._http = http.client.HTTPConnection("127.0.0.1", web, timeout=120)
            end = time.monotonic() + READY_SECONDS
            while not self._find_builders():
                self._check_time(end)
            for number in range(self._workers):
                name = f"worker-{number}"
                self._make("buildbot-worker", "create-worker", "--quiet", name, f"127.0.0.1:{pb}", name, "secret")
                self._start("buildbot-worker", name)
            while not self._are_connected():
                self._check_time(end)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._http is not None:
            self._http.close()
        for process in self.processes:
            process.kill()  # nothing of it is kept, and its leave-taking is slow
            process.wait()

    @property
    def database(self) -> Path:
        """Its SQLite file."""
        return self.folder / "master" / "state.sqlite"

    def force(self, builder: str) -> int:
        """A new build; the number of its request."""
        body = {
            "jsonrpc": "2.0", "method": "force", "id": 1,
            "params": {"builderid": str(self._builders[builder]), "owner": "bench"},
        }  # fmt: skip
        answer = self.call("POST", f"/forceschedulers/force-{builder}", body)
        (request,) = answer["result"][1].values()
        return int(request)

    def wait_for_output(self, request: int, mark: bytes, *, seconds: float = 120) -> None:
        """Ask for the log of a request's build until `mark` can be read in it."""
        end = time.monotonic() + seconds
        path = None
        while path is None:
            builds = self.call("GET", f"/buildrequests/{request}/builds")["builds"]
            path = f"/builds/{builds[0]['buildid']}/steps/1/logs/stdio/raw" if builds else None
            self._pause(end)
        # Its headers repeat the command line; only a line of its own is output.
        while b"\n" + mark not in self.read(path, missing=b""):
            self._pause(end)

    def wait_for_builds(self, builder: str, count: int, *, seconds: float = 600) -> None:
        """Wait until `count` builds of a builder have ended, all well."""
        end = time.monotonic() + seconds
        path = f"/builders/{self._builders[builder]}/builds?complete=true"
        # Numbers of builds go up by one, so the last one's says how many there were.
        while not (last := self.call("GET", f"{path}&number={count}&limit=1")["builds"]) or self._running(builder):
            self._pause(end, 0.1)
        if last[0]["results"] != 0:
            raise CommandFailed(f"build {count} of {builder} failed: {last[0]['state_string']}")

    def _running(self, builder: str) -> bool:
        return bool(self.call("GET", f"/builders/{self._builders[builder]}/builds?complete=false&limit=1")["builds"])

    def log_of_build(self, builder: str, number: int) -> str:
        """The path of the log of a build."""
        builds = self.call("GET", f"/builders/{self._builders[builder]}/builds?number={number}")["builds"]
        return f"/builds/{builds[0]['buildid']}/steps/1/logs/stdio"

    def read(self, path: str, *, missing: bytes | None = None) -> bytes:
        """What is at `path` below the API; `missing` when there is nothing, if that is given."""
        answer, content = self._ask("GET", path)
        if answer.status == 404 and missing is not None:
            return missing
        if answer.status != 200:
            raise CommandFailed(f"Buildbot answered GET {path} with {answer.status}: {content[:300]!r}")
        return content

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """A decoded answer of the API."""
        if method == "GET":
            return json.loads(self.read(path))
        answer, content = self._ask(method, path, json.dumps(body))
        if answer.status != 200:
            raise CommandFailed(f"Buildbot answered {method} {path} with {answer.status}: {content[:300]!r}")
        return json.loads(content)

    def _ask(self, method: str, path: str, body: str | None = None) -> tuple[http.client.HTTPResponse, bytes]:
        assert self._http is not None, "Buildbot was not started"
        headers = {} if body is None else {"Content-Type": "application/json"}
        now = time.monotonic()
        if now - self._used_at > IDLE_SECONDS:
            self._http.close()  # the next request connects again
        self._used_at = now
        try:
            self._http.request(method, f"/api/v2{path}", body, headers)
            answer = self._http.getresponse()
            return answer, answer.read()
        except (OSError, http.client.HTTPException) as error:
            self._http.close()
            raise CommandFailed(f"Buildbot did not answer {method} {path}: {error!r}") from error

    def _find_builders(self) -> bool:
        try:
            found = self.call("GET", "/builders")["builders"]
        except CommandFailed:
            return False
        self._builders = {builder["name"]: builder["builderid"] for builder in found}
        return set(self._builders) == set(self._commands)

    def _are_connected(self) -> bool:
        workers = self.call("GET", "/workers")["workers"]
        return sum(bool(worker["connected_to"]) for worker in workers) == self._workers

    def _check_time(self, end: float) -> None:
        ended = [process for process in self.processes if process.poll() is not None]
        if ended or time.monotonic() > end:
            logs = [path.read_text(errors="replace")[-600:] for path in self.folder.glob("*.log")]
            raise CommandFailed(f"Buildbot did not get ready: {' '.join(logs)}")
        time.sleep(0.05)

    @staticmethod
    def _pause(end: float, seconds: float = POLL_SECONDS) -> None:
        if time.monotonic() > end:
            raise CommandFailed("Buildbot took too long")
        time.sleep(seconds)

    def _make(self, program: str, *words: str) -> None:
        done = subprocess.run(
            [str(self._programs / program), *words], cwd=self.folder, env=self._env, capture_output=True, timeout=120
        )
        if done.returncode:
            raise CommandFailed(f"{program} {words[0]}: {done.stderr.decode(errors='replace')[-600:]}")

    def _start(self, program: str, folder: str) -> None:
        with (self.folder / f"{folder}.log").open("wb") as log:
            command = [str(self._programs / program), "start", "--nodaemon", folder]
            self.processes.append(
                subprocess.Popen(command, cwd=self.folder, env=self._env, stdout=log, stderr=subprocess.STDOUT)
            )


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in sockets]
    for listener in sockets:
        with suppress(OSError):
            listener.close()
    return ports

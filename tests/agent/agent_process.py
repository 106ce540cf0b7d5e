"""A real `pipeseal agent start` process for tests, in a home of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

VECTORS = Path(__file__).resolve().parents[3] / "shared" / "vectors"


class HasEndpoint(Protocol):
    """A server, whichever."""

    @property
    def endpoint(self) -> str: ...


class AgentProcess:
    """The process, and the folders it works in; `program` is what Python runs in the command's place."""

    def __init__(
        self,
        server: HasEndpoint,
        folder: Path,
        *flags: str,
        environment: Mapping[str, str] | None = None,
        program: Sequence[str] = ("-m", "pipeseal"),
    ) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.builds = folder / "builds"
        self.home.mkdir(parents=True, exist_ok=True)
        self.log_file = folder / "agent.log"
        self._log = self.log_file.open("wb")
        variables = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "BUILDKITE_AGENT_TOKEN": "REGISTRATION",
            **(environment or {}),
        }
        self.process = subprocess.Popen(
            [
                sys.executable,
                *program,
                "agent",
                "start",
                *("--endpoint", server.endpoint),
                *("--build-path", str(self.builds)),
                *("--plugins-path", str(folder / "plugins")),
                *("--name", "tester"),
                *flags,
            ],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env=variables,
            cwd=folder,
        )

    @property
    def log(self) -> str:
        return self.log_file.read_text("utf-8")

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self, seconds: float = 60.0) -> int:
        return self.process.wait(seconds)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._log.close()


@contextmanager
def agent_process(
    server: HasEndpoint,
    folder: Path,
    *flags: str,
    environment: Mapping[str, str] | None = None,
    program: Sequence[str] = ("-m", "pipeseal"),
) -> Iterator[AgentProcess]:
    """An agent, gone at the end."""
    agent = AgentProcess(server, folder, *flags, environment=environment, program=program)
    try:
        yield agent
    finally:
        agent.close()

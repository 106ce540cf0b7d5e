"""Where the commands of a page are run: one shell in a new home, with nothing in it but what the page makes.

What a page cannot have on every machine is stood in for, and nothing else is changed in a command: the control
plane's usual address by a free port, addresses of somebody else's control plane by the same, and a repository on
somebody's server by one in the stage's folder.
"""

from __future__ import annotations

import os
import random
import re
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from docs.console import Command
from pipeseal.lab.stage import GIT_ENVIRONMENT, make_repository

ADDRESS = "127.0.0.1:8080"
REPOSITORY = "git@example.org:acme/app.git"
PIPELINE = """\
steps:
  - label: test
    key: test
    command: echo testing
  - label: build {{matrix}}
    command: echo building {{matrix}}
    matrix: [a, b]
"""
_SECONDS = 60


class Stage:
    """A shell that goes on from command to command, with what it left running.

    Parameters:
        folder: a new one for the home, the repository and the output.
        programs: name to path of programs that are on the path there besides ours and the system's.
    """

    def __init__(self, folder: Path, programs: Mapping[str, Path]) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.home.mkdir()
        self._programs = folder / "bin"
        self._programs.mkdir()
        for name, program in programs.items():
            (self._programs / name).symlink_to(program)
        self.repository = folder / "app"
        make_repository(self.repository, {".buildkite/pipeline.yml": PIPELINE, "scripts/test": "#!/bin/sh\ntrue\n"})
        self.address = f"127.0.0.1:{_free_port()}"
        self._stands_for = {
            ADDRESS: self.address,
            REPOSITORY: str(self.repository),
            "https://agent.buildkite.com": f"http://{self.address}",
            "https://graphql.buildkite.com/v1": f"http://{self.address}/graphql/v1",
        }
        self._count = 0
        # A group of its own, so that what a page left running can be ended with it.
        self._shell = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=self.home,
            env=self._environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": f"{self._programs}:{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "PIPESEAL_SERVER_LISTEN": self.address,
            "PIPESEAL_SERVER": f"http://{self.address}",
            "BUILDKITE_AGENT_ENDPOINT": f"http://{self.address}/v3",
            **GIT_ENVIRONMENT,
        }

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        """End what is still running: politely, and after ten seconds for certain."""
        assert self._shell.stdin is not None
        try:
            # First what the page started, then what that left behind in the shell's own group.
            self._shell.stdin.write(b"kill $(jobs -p) 2> /dev/null; wait; trap '' TERM; kill -TERM 0\nexit 0\n")
            self._shell.stdin.close()
            self._shell.wait(timeout=10)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            os.killpg(self._shell.pid, signal.SIGKILL)
            self._shell.wait()
        assert self._shell.stdout is not None
        self._shell.stdout.close()

    def run(self, command: Command) -> str:
        """What the command printed, once it has ended well or, where it stays, printed what the page says.

        Raises:
            AssertionError: it failed, took more than a minute, or printed something else.
        """
        self._count += 1
        output = self.folder / f"output-{self._count}"
        output.touch()
        text = self._on_stage(command.text)
        if command.stays:
            self._send(f"{text[:-1].rstrip()} < /dev/null > {output} 2>&1 &\necho $!\n")
        else:
            self._send(f"{{ {text}\n}} < /dev/null > {output} 2>&1\necho $?\n")
        status = self._read_status(command, output)
        if command.stays:
            process, status = status, "0"
            deadline = time.monotonic() + _SECONDS
            while self._missing(command, output.read_text(encoding="utf-8")) and time.monotonic() < deadline:
                if not _runs(process):
                    break
                time.sleep(0.02)  # what is waited for is another program's output; there is nothing to wait on
        printed = output.read_text(encoding="utf-8")
        assert status == "0", f"line {command.line}: {text}\nended with {status}:\n{printed}"
        missing = self._missing(command, printed)
        assert missing is None, f"line {command.line}: {text}\ndid not print {missing!r} there, but:\n{printed}"
        return printed

    def _on_stage(self, text: str) -> str:
        for name, stand_in in self._stands_for.items():
            text = text.replace(name, stand_in)
        return text

    def _missing(self, command: Command, printed: str) -> str | None:
        """The first line of the page that the output does not have, at its place."""
        at = 0
        for line in command.prints:
            if line.strip() in {"", "..."}:
                continue  # lines that are shown need not follow each other
            wanted = ".*".join(re.escape(part) for part in self._on_stage(line.rstrip()).split("..."))
            found = re.compile(rf"^{wanted}[ \t]*$", re.MULTILINE).search(printed, at)
            if found is None:
                return line
            at = found.end()
        return None

    def _send(self, text: str) -> None:
        assert self._shell.stdin is not None
        self._shell.stdin.write(text.encode())
        self._shell.stdin.flush()

    def _read_status(self, command: Command, output: Path) -> str:
        assert self._shell.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._shell.stdout, selectors.EVENT_READ)
            if not selector.select(_SECONDS):
                printed = output.read_text(encoding="utf-8")
                raise AssertionError(f"line {command.line}: {command.text}\ndid not end:\n{printed}")
        return self._shell.stdout.readline().decode().strip()


def _runs(process: str) -> bool:
    """Whether a child of the shell has not ended: one that has is a zombie until the shell looks."""
    try:
        status = Path(f"/proc/{process}/stat").read_text(encoding="utf-8")
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def _free_port() -> int:
    # Below the ports that systems give out by themselves, so that nothing takes it before the server does.
    while True:
        port = random.randint(10_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port

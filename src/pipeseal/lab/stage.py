"""The stage for a demonstration or an attack: git repositories and the processes that act, all in one folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from pipeseal.errors import Unavailable

# git as on a machine without any settings, so that the stage looks the same everywhere.
GIT_ENVIRONMENT = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_AUTHOR_NAME": "Pipeseal stage",
    "GIT_AUTHOR_EMAIL": "stage@pipeseal.invalid",
    "GIT_COMMITTER_NAME": "Pipeseal stage",
    "GIT_COMMITTER_EMAIL": "stage@pipeseal.invalid",
}


def run_git(directory: Path, *arguments: str) -> str:
    """The output of `git ARGUMENTS` in `directory`.

    Raises:
        Unavailable: git is missing or said no (code `git.failed`, with what it said).
    """
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=directory,
            env={**os.environ, **GIT_ENVIRONMENT},
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError as error:
        raise Unavailable("git.failed", "git is not installed", help="install git") from error
    if done.returncode != 0:
        raise Unavailable("git.failed", f"git {arguments[0]} failed: {done.stderr.strip()}")
    return done.stdout.strip()


def make_repository(directory: Path, files: Mapping[str, str], *, tag: str = "") -> str:
    """A new git repository with one commit on `main`, and a tag if asked for.

    Parameters:
        directory: where; must not exist.
        files: path to text; files below `hooks/` and `scripts/` are executable.
        tag: name of a tag on that commit.

    Returns:
        The commit's full object id.
    """
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        if path.parent.name in {"hooks", "scripts"}:
            path.chmod(0o755)
    run_git(directory, "init", "--quiet", "--initial-branch=main")
    run_git(directory, "add", "--all")
    run_git(directory, "commit", "--quiet", "--message=Begin")
    if tag:
        run_git(directory, "tag", tag)
    return run_git(directory, "rev-parse", "HEAD")


class Actors:
    """The processes on the stage: each runs one of our own commands, and all are gone at the end.

    Parameters:
        directory: where their logs go, one file each.
        environment: variables added to the processes' environment.
        inherit: whether they get this process's variables too.
    """

    def __init__(
        self, directory: Path, environment: Mapping[str, str] | None = None, *, inherit: bool = True
    ) -> None:
        self._directory = directory
        self._environment = {**(os.environ if inherit else {}), **(environment or {})}
        self._running: dict[str, tuple[subprocess.Popen[bytes], IO[bytes]]] = {}

    def __enter__(self) -> Actors:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End them all: politely, and after five seconds for certain."""
        for process, _log in self._running.values():
            process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 5
        for name in list(self._running):
            self._wait(name, deadline)

    def stop(self, name: str) -> None:
        """End one of them."""
        self._running[name][0].send_signal(signal.SIGTERM)
        self._wait(name, time.monotonic() + 5)

    def is_running(self, name: str) -> bool:
        """Whether one of them has not ended by itself."""
        return name in self._running and self._running[name][0].poll() is None

    def process_id(self, name: str) -> int:
        """The process id of one of them."""
        return self._running[name][0].pid

    def _wait(self, name: str, deadline: float) -> None:
        process, log = self._running.pop(name)
        try:
            process.wait(timeout=max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()

    def log_file(self, name: str) -> Path:
        """Where what `name` prints goes."""
        return self._directory / f"{name}.log"

    def start(self, name: str, arguments: Sequence[str], *, ready: str, timeout_seconds: float = 90) -> str:
        """Start `pipeseal ARGUMENTS` and wait until it prints a line that contains `ready`.

        Returns:
            That line.

        Raises:
            Unavailable: it ended, or did not get ready in time (code `stage.not_ready`, with its last lines).
        """
        log = self.log_file(name).open("wb")
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeseal", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=self._environment,
        )
        self._running[name] = (process, log)
        deadline = time.monotonic() + timeout_seconds
        while time.monotonic() < deadline:
            text = self.log_file(name).read_text(encoding="utf-8", errors="replace")
            for line in text.splitlines():
                if ready in line:
                    return line
            if process.poll() is not None:
                break
            time.sleep(0.02)
        last = self.log_file(name).read_text(encoding="utf-8", errors="replace").splitlines()[-15:]
        raise Unavailable("stage.not_ready", f"{name} did not get ready", evidence={"it said": " / ".join(last)})

    def run(
        self,
        arguments: Sequence[str],
        *,
        directory: Path | None = None,
        timeout_seconds: float | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run `pipeseal ARGUMENTS` to its end and return what it printed.

        Parameters:
            directory: where; here when None.
            timeout_seconds: then it is killed, and its status is -9.
            environment: further variables.
        """
        words = [sys.executable, "-m", "pipeseal", *arguments]
        try:
            return subprocess.run(
                words,
                cwd=directory,
                env={**self._environment, **(environment or {})},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                timeout=timeout_seconds,
            )
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(words, -9, "", f"still running after {timeout_seconds} s")

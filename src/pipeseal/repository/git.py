"""Asking git something outside of a job: constructed configuration, a time limit, and answers of a bounded size."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from pipeseal.errors import Unavailable, escape_control
from pipeseal.repository.git_config import GitConfig

TIMEOUT_SECONDS = 120.0
MAX_ANSWER_BYTES = 16 << 20
# Every pipe holds so many without anybody who reads (pipe(7): a page, for a user who has many pipes).
MAX_QUESTION_BYTES = 4096

# Of the caller's variables git gets these alone: nothing that names a repository, a configuration or a program.
_PASSED = frozenset(
    {
        *("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "SSH_AUTH_SOCK", "SSL_CERT_FILE", "SSL_CERT_DIR"),
        *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    }
)


class GitFailed(Unavailable):
    """git ended with an error.

    Parameters (beyond `Unavailable`):
        exit_status: git's.
    """

    def __init__(self, message: str, *, exit_status: int, help: str = "") -> None:
        super().__init__("git.failed", message, help=help)
        self.exit_status = exit_status


class Conversation(NamedTuple):
    """Both ends of a git that answers questions.

    Parameters:
        questions: descriptor that git reads.
        answers: what it says; to be read before more than `MAX_QUESTION_BYTES` are asked, or both would wait.
    """

    questions: int
    answers: BinaryIO

    def ask(self, data: bytes) -> None:
        """Give git something to read.

        Parameters:
            data: at most `MAX_QUESTION_BYTES`.

        Raises:
            Unavailable: `git.failed`: it reads no more.
        """
        try:
            os.write(self.questions, data)
        except OSError as error:
            raise Unavailable("git.failed", f"git ended early: {error.strerror}") from None


class PlainGit:
    """git in one folder, with no job around it.

    Parameters:
        directory: where.
        config: what the operator configures of git; None for its defaults.
        environment: where `PATH`, `HOME`, proxies and an SSH agent are taken from; None for this process's variables.
        timeout_seconds: for each call.
    """

    def __init__(
        self,
        directory: Path,
        *,
        config: GitConfig | None = None,
        environment: Mapping[str, str] | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        self.directory = directory
        self._config = config or GitConfig()
        given = os.environ if environment is None else environment
        self._environment = {
            **{name: value for name, value in given.items() if name in _PASSED},
            **self._config.environment(),
        }
        if self._config.file is None:
            # Nobody is there to answer, and a host's key that nobody has checked is not believed. An operator's file
            # can say otherwise (`core.sshCommand`).
            self._environment["GIT_SSH_COMMAND"] = "ssh -oBatchMode=yes -oStrictHostKeyChecking=yes"
        self._timeout = timeout_seconds

    def ask(self, *arguments: str, max_bytes: int = MAX_ANSWER_BYTES) -> bytes:
        """What git answers.

        Parameters:
            arguments: of git; names in them are the caller's to check, see `names`.
            max_bytes: longest answer.

        Raises:
            GitFailed: `git.failed`: it ended with an error.
            Unavailable: `git.failed`: there is no git, it took too long, or its answer is too long.
        """
        first = 0
        while arguments[first] == "-c":
            first += 2
        what = f"git {arguments[first]}"
        overdue = threading.Event()
        with tempfile.TemporaryFile() as said:
            try:
                process = subprocess.Popen(
                    self._config.arguments(*arguments),
                    cwd=self.directory,
                    env=self._environment,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=said,
                    # With the programs that it starts, such as ssh, it can be ended as one.
                    start_new_session=True,
                )
            except (OSError, ValueError) as error:
                raise Unavailable("git.failed", f"{what} could not be started: {error}", help="install git") from None
            with process:

                def ring(process: subprocess.Popen[bytes] = process) -> None:
                    overdue.set()
                    _end(process)

                alarm = threading.Timer(self._timeout, ring)
                alarm.start()
                try:
                    assert process.stdout is not None
                    text = process.stdout.read(max_bytes + 1)
                    if len(text) > max_bytes:
                        raise Unavailable("git.failed", f"{what} answered with more than {max_bytes:,} bytes")
                    process.wait()
                finally:
                    alarm.cancel()
                    alarm.join()
                    _end(process)
            if overdue.is_set():
                raise Unavailable(
                    "git.failed",
                    f"{what} took longer than {self._timeout:g} s",
                    help="check the network and the remote, and try again",
                )
            if process.returncode != 0:
                said.seek(0)
                words = said.read(8192).decode("utf-8", "replace").strip().splitlines()
                reason = escape_control(words[-1][:500]) if words else f"status {process.returncode}"
                raise GitFailed(f"{what} failed: {reason}", exit_status=process.returncode)
        return text

    @contextmanager
    def conversing(self, *arguments: str) -> Iterator[Conversation]:
        """Ask one git many questions, each after the answers to the ones before; it has ended after the `with`.

        Parameters:
            arguments: as of `ask`.

        Raises:
            GitFailed: `git.failed`: it ended with an error.
            Unavailable: `git.failed`: there is no git.
        """
        try:
            process = subprocess.Popen(
                self._config.arguments(*arguments),
                cwd=self.directory,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise Unavailable("git.failed", f"git {arguments[0]} could not be started: {error}") from None
        with process:
            try:
                assert process.stdin is not None and process.stdout is not None
                yield Conversation(process.stdin.fileno(), cast("BinaryIO", process.stdout))
                process.stdin.close()
                process.wait(self._timeout)
            except subprocess.TimeoutExpired:
                raise Unavailable("git.failed", f"git {arguments[0]} does not end") from None
            finally:
                _end(process)
        if process.returncode != 0:
            raise GitFailed(f"git {arguments[0]} failed", exit_status=process.returncode)

    def line(self, *arguments: str) -> str:
        """The one line that git answers.

        Raises:
            GitFailed, Unavailable: as `ask`.
        """
        return self.ask(*arguments, max_bytes=1 << 16).decode("utf-8", "replace").removesuffix("\n")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End git and what it has started, unless all is over; the process is not reaped before."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

"""Running git for a job: with a constructed configuration, never asking, never taking a name for an option.

No system or user configuration is read, only the operator's own file (`git-config-file`) where there is one. The
hooks and the file system monitor of a clone are off, transports are allowed by name, and submodules are touched only
when asked for.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from pipeseal.agent.processes import Ended
from pipeseal.agent.session import JobSession, PhaseFailed
from pipeseal.errors import MalformedInput
from pipeseal.repository.names import parse_refspec, parse_revision

QUERY_TIMEOUT_SECONDS = 60.0


def check_revision(name: str, what: str) -> str:
    """`name`, if git cannot take it for an option.

    Raises:
        PhaseFailed: it could be one, or is no name at all.
    """
    try:
        return parse_revision(name, what)
    except MalformedInput as error:
        raise PhaseFailed(error.message) from None


def check_refspec(refspec: str) -> str:
    """`refspec`, if git cannot take it for an option.

    Raises:
        PhaseFailed: as `check_revision`.
    """
    try:
        return parse_refspec(refspec)
    except MalformedInput as error:
        raise PhaseFailed(error.message) from None


class Git:
    """git in one folder.

    Parameters:
        session: the job.
        directory: where.
        deadline: when everything has to be done, on the monotonic clock; None for no limit.
        variables: for git alone.
    """

    def __init__(
        self,
        session: JobSession,
        directory: Path,
        *,
        deadline: float | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self._session = session
        self._directory = directory
        self._deadline = deadline
        self._variables = {**session.git.environment(), **(variables or {})}

    def run(self, *arguments: str) -> Ended:
        """Run git with its output in the log.

        Raises:
            PhaseFailed: it could not be started, or not end in time.
        """
        self._session.prompt(["git", *arguments])
        left = None if self._deadline is None else self._deadline - time.monotonic()
        if left is not None and left <= 0:
            raise PhaseFailed(f"no time is left for git {arguments[0]}")
        ended = self._session.run(
            self._session.git.arguments(*arguments),
            extra=self._variables,
            directory=self._directory,
            terminal=False,
            timeout_seconds=left,
        )
        if ended.is_overdue:
            raise PhaseFailed(f"git {arguments[0]} took too long", ended=Ended(1))
        return ended

    def must(self, *arguments: str) -> None:
        """Run git; it has to succeed.

        Raises:
            PhaseFailed: it did not.
        """
        ended = self.run(*arguments)
        if ended.status != 0:
            raise PhaseFailed(f"git {arguments[0]} failed with status {ended.status}", ended=ended)

    def ask(self, *arguments: str, timeout_seconds: float = QUERY_TIMEOUT_SECONDS) -> str | None:
        """What git answers, without log; None when it failed."""
        try:
            done = subprocess.run(
                self._session.git.arguments(*arguments),
                cwd=self._directory,
                env={**self._session.environment, **self._variables},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=timeout_seconds,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        if done.returncode != 0:
            return None
        return done.stdout.decode("utf-8", "replace").removesuffix("\n")

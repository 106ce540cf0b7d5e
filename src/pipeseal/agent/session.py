"""What the phases of one job share: variables, working directory, log, and how a process of the job is run."""

from __future__ import annotations

import os
import shlex
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeseal.agent.joblog import JobLog
from pipeseal.agent.processes import Cancellation, Ended, run_process
from pipeseal.agent.redaction import find_secrets


class PhaseFailed(Exception):
    """A phase of a job came to a bad end; carries the job's exit status.

    Never leaves the agent: `lifecycle` turns it into the job's outcome.
    """

    def __init__(self, message: str, *, status: int = 1, ended: Ended | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.ended = ended


class Scratch:
    """A folder for a job's own small files, made when first needed."""

    def __init__(self) -> None:
        self._folder: Path | None = None

    @property
    def folder(self) -> Path:
        """The folder."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="pipeseal-job-"))
        return self._folder

    def close(self) -> None:
        """Remove it."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


class JobSession:
    """The state that phases share.

    Parameters:
        environment: the job's variables; phases and hooks change them as the job goes on.
        directory: the working directory.
        scratch: the job's own small files; the session removes them.
        log: the job's log.
        cancellation: ends the job's processes.
        terminal: run processes under a terminal.
        redacted_patterns: names of variables whose values are hidden in the log.
    """

    def __init__(
        self,
        *,
        environment: dict[str, str],
        directory: Path,
        scratch: Scratch,
        log: JobLog,
        cancellation: Cancellation,
        terminal: bool,
        redacted_patterns: Sequence[str],
    ) -> None:
        self.environment = environment
        if terminal:
            environment.setdefault("TERM", "xterm-256color")
        self.directory = directory
        self.log = log
        self.cancellation = cancellation
        self.terminal = terminal
        self._redacted_patterns = tuple(redacted_patterns)
        self._scratch = scratch
        self._told_short: set[str] = set()
        self.refresh_redaction()

    def refresh_redaction(self) -> None:
        """Hide the secrets among the variables as they are now; a secret never stops being one."""
        hidden, short = find_secrets(self.environment, self._redacted_patterns)
        self.log.redact(hidden.values())
        fresh = [name for name in short if name not in self._told_short]
        if fresh:
            self._told_short.update(fresh)
            self.log.comment(f"Too short to be hidden in this log: the values of {', '.join(fresh)}")

    @property
    def scratch(self) -> Path:
        """The folder for this job's own small files."""
        return self._scratch.folder

    def close(self) -> None:
        """Remove what the session made for itself."""
        self._scratch.close()

    def run(
        self,
        arguments: Sequence[str],
        *,
        extra: Mapping[str, str] | None = None,
        directory: Path | None = None,
        terminal: bool | None = None,
    ) -> Ended:
        """Run a process of the job, with its output in the log.

        Parameters:
            extra: variables for this process alone.
            directory: instead of the working directory.
            terminal: instead of the session's setting.

        Raises:
            PhaseFailed: it could not be started.
        """
        environment = {**self.environment, **(extra or {})}
        under_terminal = self.terminal if terminal is None else terminal
        try:
            return run_process(
                arguments,
                environment=environment,
                directory=directory or self.directory,
                output=self.log.output,
                cancellation=self.cancellation,
                terminal=under_terminal,
            )
        except OSError as error:
            what = error.filename or arguments[0]
            raise PhaseFailed(f"could not start {os.fsdecode(what)}: {error.strerror or error}") from error
        except ValueError as error:  # a NUL byte in an argument
            raise PhaseFailed(f"could not start {arguments[0]}: {error}") from error
        finally:
            self.log.end_output()

    def prompt(self, arguments: Sequence[str]) -> None:
        """Show a command as a person would type it."""
        self.log.prompt(shlex.join(arguments))

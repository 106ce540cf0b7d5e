"""What the phases of one job share: variables, working directory, log, and how a process of the job is run."""

from __future__ import annotations

import os
import shlex
import threading
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from pipeseal.agent.joblog import JobLog
from pipeseal.agent.processes import Cancellation, Ended, run_process
from pipeseal.agent.redaction import find_secrets
from pipeseal.agent.scratch import Scratch
from pipeseal.agent.tracing import JobTrace, trace_variables
from pipeseal.repository.git_config import GitConfig


class PhaseFailed(Exception):
    """A phase of a job came to a bad end; carries the job's exit status.

    With a `code` it is a refusal: the job turned out to be another one than it may be.

    Never leaves the agent: `lifecycle` turns it into the job's outcome.
    """

    def __init__(
        self, message: str, *, status: int = 1, ended: Ended | None = None, signal_reason: str = "", code: str = ""
    ) -> None:
        super().__init__(message)
        self.status = status
        self.ended = ended
        self.signal_reason = signal_reason
        self.code = code


class JobSession:
    """The state that phases share.

    Parameters:
        environment: the job's variables; phases, hooks and the job itself change them as the job goes on. Never
            changed in place: `change` puts a new mapping there, so that other threads see the old one or the new.
        directory: the working directory.
        scratch: the job's own small files; the session removes them.
        log: the job's log.
        cancellation: ends the job's processes.
        terminal: run processes under a terminal.
        redacted_patterns: names of variables whose values are hidden in the log.
        hooks_shell: runs hooks that are written for a shell; empty for the one each names.
        git: what the operator configures of git; None for its defaults.
        trace: of the job; None where nobody wants traces.
    """

    def __init__(
        self,
        *,
        environment: Mapping[str, str],
        directory: Path,
        scratch: Scratch,
        log: JobLog,
        cancellation: Cancellation,
        terminal: bool,
        redacted_patterns: Sequence[str],
        hooks_shell: str = "",
        git: GitConfig | None = None,
        trace: JobTrace | None = None,
    ) -> None:
        self.environment: Mapping[str, str] = {"TERM": "xterm-256color", **environment} if terminal else environment
        self._lock = threading.Lock()
        self.directory = directory
        self.log = log
        self.cancellation = cancellation
        self.terminal = terminal
        self.hooks_shell = hooks_shell
        self.git = git or GitConfig()
        self.trace = trace
        self._redacted_patterns = tuple(redacted_patterns)
        self._scratch = scratch
        self._told_short: set[str] = set()
        self.refresh_redaction()

    def refresh_redaction(self) -> None:
        """Hide the secrets among the variables as they are now; a secret never stops being one."""
        hidden, short = find_secrets(self.environment, self._redacted_patterns)
        self.log.redact(hidden.values())
        with self._lock:
            fresh = [name for name in short if name not in self._told_short]
            self._told_short.update(fresh)
        if fresh:
            self.log.comment(f"Too short to be hidden in this log: the values of {', '.join(fresh)}")

    def change(self, values: Mapping[str, str], removed: Collection[str] = ()) -> None:
        """Set and remove variables, for processes that start from now on; may be called from any thread."""
        with self._lock:
            kept = {name: value for name, value in self.environment.items() if name not in removed}
            self.environment = {**kept, **values}

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
        timeout_seconds: float | None = None,
    ) -> Ended:
        """Run a process of the job, with its output in the log.

        Parameters:
            extra: variables for this process alone.
            directory: instead of the working directory.
            terminal: instead of the session's setting.
            timeout_seconds: how long it may take.

        Raises:
            PhaseFailed: it could not be started.
        """
        environment = {**self.environment, **(extra or {}), **trace_variables(self.trace)}
        under_terminal = self.terminal if terminal is None else terminal
        try:
            return run_process(
                arguments,
                environment=environment,
                directory=directory or self.directory,
                output=self.log.output,
                cancellation=self.cancellation,
                terminal=under_terminal,
                timeout_seconds=timeout_seconds,
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

"""Running the processes of a job: each in its own session, under a terminal or a pipe, cancelled with patience.

Each process leads a session and a process group of its own. When the agent dies without a word (SIGKILL), the
`guardian` ends those groups; under a terminal the kernel sends SIGHUP at once besides. Only what has left its group
can outlive the agent.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import signal
import struct
import termios
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from pipeseal.agent.guardian import Guardian
from pipeseal.agent.terminal import Started, start_on_terminal, start_with_output

READ_BYTES = 65_536
ROWS, COLUMNS = 100, 160
# What a process leaves behind may still write: so long, and so much, do we listen after the process itself has ended.
LINGER_MILLISECONDS = 20
LINGER_BYTES = 1 << 20
# A process whose own time is over is asked to end, and made to after so long.
OVERTIME_SECONDS = 5.0


class Why(Enum):
    """Why a job is ended before its time; the values are the wire's `signal_reason`."""

    CANCELLED = "cancel"
    TIMED_OUT = "timed_out"
    AGENT_STOPS = "agent_stop"

    @property
    def signal_reason(self) -> str:
        """What to tell the server; it knows of its time-outs itself, and calls both `cancel`."""
        return "cancel" if self is Why.TIMED_OUT else self.value


class Ended(NamedTuple):
    """How a process ended: its exit status, or -1 and the signal that killed it; and whether its time was over."""

    status: int
    signal: int = 0
    is_overdue: bool = False

    @property
    def signal_name(self) -> str:
        """Such as `SIGTERM`; empty when it was not killed."""
        if not self.signal:
            return ""
        try:
            return signal.Signals(self.signal).name
        except ValueError:
            return f"SIG{self.signal}"


class Cancellation:
    """Ends what a job runs: first asked to (SIGTERM), after a grace period made to (SIGKILL).

    What a job starts during the grace period, its last hooks, is left alone until the period's end.

    Parameters:
        grace_seconds: how long the job has between the two.
        ask: the signal that asks.
        guardian: told of each process group.
    """

    def __init__(self, grace_seconds: float, ask: int = signal.SIGTERM, *, guardian: Guardian | None = None) -> None:
        self._grace_seconds = grace_seconds
        self._ask = ask
        self._guardian = guardian
        self._lock = threading.Lock()
        self._groups: set[int] = set()
        self._timer: threading.Timer | None = None
        self.why: Why | None = None
        self.requested = threading.Event()
        self.over = threading.Event()
        # What starts from now on belongs to the job's end, and may run in the grace period.
        self.is_ending = False

    def request(self, why: Why) -> bool:
        """End the job. True if this call is the one that did it."""
        with self._lock:
            if self.why is not None:
                return False
            self.why = why
            self.requested.set()
            self._timer = threading.Timer(self._grace_seconds, self._kill)
            self._timer.daemon = True
            self._timer.start()
            self._signal(self._ask)
            return True

    def enter(self, group: int) -> None:
        """A process group of the job begins."""
        if self._guardian is not None:
            self._guardian.watch_group(group)
        with self._lock:
            self._groups.add(group)
            if self.over.is_set():
                _signal_group(group, signal.SIGKILL)
            elif self.why is not None and not self.is_ending:
                _signal_group(group, self._ask)

    def leave(self, group: int) -> None:
        """That process group's leader has ended (and was not waited for yet, so its number is still its own)."""
        with self._lock:
            self._groups.discard(group)
        if self._guardian is not None:
            self._guardian.forget_group(group)

    def close(self) -> None:
        """The job is over."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()

    def _kill(self) -> None:
        with self._lock:
            self.over.set()
            self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        for group in self._groups:
            _signal_group(group, number)


def _signal_group(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        pass  # it ended by itself just now


def run_process(
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str],
    directory: Path,
    output: Callable[[bytes], None],
    cancellation: Cancellation,
    terminal: bool,
    timeout_seconds: float | None = None,
) -> Ended:
    """Run one process of a job to its end.

    Parameters:
        arguments: program and arguments; a program without a slash is looked up in the environment's PATH.
        environment: all of the process's variables.
        directory: its working directory.
        output: gets what it writes, as it writes it; may block to slow it down.
        cancellation: ends it.
        terminal: give it a terminal (standard input, output and error); else it reads nothing and writes to a pipe.
        timeout_seconds: how long it may take; it is then asked to end, and made to.

    Raises:
        OSError: it could not be started.
    """
    ours, theirs = os.openpty() if terminal else os.pipe()
    try:
        command = [_find_program(arguments[0], environment, directory), *arguments[1:]]
        process: Started
        if terminal:
            fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
            process = start_on_terminal(command, environment=environment, directory=directory, terminal=theirs)
        else:
            process = start_with_output(command, environment=environment, directory=directory, output=theirs)
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    try:
        return _follow(process, ours, output, cancellation, timeout_seconds)
    finally:
        os.close(ours)


def _find_program(name: str, environment: Mapping[str, str], directory: Path) -> str:
    """Where a program is, found before anything starts: a missing one is an error, not a shell's message."""
    if "/" in name:
        if not (directory / name).exists():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        return name
    for folder in environment.get("PATH", os.defpath).split(os.pathsep):
        candidate = Path(folder or ".") / name
        if os.access(candidate, os.X_OK) and candidate.is_file():
            return str(candidate)
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)


class _Overtime:
    """Ends a process group when its own time is over."""

    def __init__(self, group: int, seconds: float | None) -> None:
        self._group = group
        self._at = None if seconds is None else time.monotonic() + seconds
        self.has_begun = False

    def milliseconds_left(self) -> float | None:
        """Until something is to be done; what is due is done now. None: never."""
        if self._at is None:
            return None
        left = self._at - time.monotonic()
        if left > 0:
            return left * 1000
        _signal_group(self._group, signal.SIGKILL if self.has_begun else signal.SIGTERM)
        self._at = None if self.has_begun else time.monotonic() + OVERTIME_SECONDS
        self.has_begun = True
        return None if self._at is None else OVERTIME_SECONDS * 1000


def _follow(
    process: Started,
    ours: int,
    output: Callable[[bytes], None],
    cancellation: Cancellation,
    timeout_seconds: float | None,
) -> Ended:
    group = process.pid
    cancellation.enter(group)
    overtime = _Overtime(group, timeout_seconds)
    left = False
    ended = os.pidfd_open(process.pid)
    try:
        os.set_blocking(ours, False)
        poll = select.poll()
        poll.register(ours, select.POLLIN)
        poll.register(ended, select.POLLIN)
        open_still = True
        while True:
            ready = {descriptor for descriptor, _ in poll.poll(overtime.milliseconds_left())}
            if ours in ready:
                open_still = _pass_on(ours, output) is not None
                if not open_still:
                    poll.unregister(ours)
            elif ended in ready:
                break
        cancellation.leave(group)
        left = True
        quiet = select.poll()
        quiet.register(ours, select.POLLIN)
        lingered = 0
        while open_still and lingered < LINGER_BYTES and quiet.poll(LINGER_MILLISECONDS):
            size = _pass_on(ours, output)
            open_still = size is not None
            lingered += size or 0
        code = process.wait()
        return Ended(code if code >= 0 else -1, max(-code, 0), overtime.has_begun)
    except BaseException:
        _signal_group(group, signal.SIGKILL)
        process.wait()
        raise
    finally:
        os.close(ended)
        if not left:
            cancellation.leave(group)


def _pass_on(ours: int, output: Callable[[bytes], None]) -> int | None:
    """Hand over what can be read now, in blocks as large as there is; its size, or None at the end of the output."""
    blocks: list[bytes] = []
    size = 0
    open_still = True
    while size < READ_BYTES:
        try:
            block = os.read(ours, READ_BYTES)
        except BlockingIOError:
            break
        except OSError as error:
            if error.errno != errno.EIO:  # Linux says so when nobody holds a terminal's other end any more
                raise
            block = b""
        if not block:
            open_still = False
            break
        blocks.append(block)
        size += len(block)
    if blocks:
        output(b"".join(blocks))
    return size if open_still else None

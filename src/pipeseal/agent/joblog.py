"""What goes into a job's log: the output of its processes and the agent's own lines, redacted and with times.

Lines of the agent follow the public log conventions: `~~~ ` opens a muted group, `+++ ` an open one, `^^^ +++` opens
the group before it; comments and prompts are grey, errors red, warnings yellow.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import BinaryIO

from pipeseal.agent.logstream import LogStream
from pipeseal.agent.redaction import Redactor
from pipeseal.clock import Clock

_GREY, _RED, _YELLOW, _PLAIN = "\x1b[90m", "\x1b[31m", "\x1b[33m", "\x1b[0m"


class JobLog:
    """A job's log.

    Parameters:
        stream: where the bytes go.
        clock: gives the time of each line.
        timestamps: begin every line with its time, `ESC _ bk;t=MILLISECONDS BEL`.
    """

    def __init__(self, stream: LogStream, clock: Clock, *, timestamps: bool = True) -> None:
        self._stream = stream
        self._clock = clock
        self._timestamps = timestamps
        self._redactor = Redactor()
        self._at_line_start = True
        self._copy: BinaryIO | None = None
        self._copy_problem = ""
        # Output comes from the thread that runs the job; lines also from the one that cancels it.
        self._lock = threading.Lock()

    def redact(self, values: Iterable[str]) -> None:
        """Hide these values from now on."""
        with self._lock:
            self._redactor.add_all(values)

    def keep_copy(self, file: BinaryIO | None) -> None:
        """Write what comes from now on to a file too: what is hidden stays hidden, and lines have no times. None ends
        that."""
        with self._lock:
            self._copy = file

    def output(self, data: bytes) -> None:
        """Bytes that a process of the job has written."""
        with self._lock:
            self._emit(self._redactor.feed(data))

    def end_output(self) -> None:
        """No more bytes come from that process: show what was held back, and end its last line."""
        with self._lock:
            self._emit(self._redactor.flush())
            if not self._at_line_start:
                self._emit(b"\r\n")
            self._tell_copy_problem()

    def lines(self, text: str) -> None:
        """Lines of the agent, as they are."""
        with self._lock:
            self._emit(self._redactor.flush())
            data = (text.rstrip("\n") + "\n").encode("utf-8", "surrogateescape")
            self._emit(self._redactor.feed(data), is_head=True)
            self._emit(self._redactor.flush(), is_head=True)

    def header(self, text: str) -> None:
        """Open a muted group."""
        self.lines(f"~~~ {text}")

    def comment(self, text: str) -> None:
        """A remark of the agent."""
        self.lines(f"{_GREY}# {text}{_PLAIN}")

    def prompt(self, text: str) -> None:
        """A command that is about to run."""
        self.lines(f"{_GREY}${_PLAIN} {text}")

    def error(self, text: str) -> None:
        """Something failed; opens the group it happened in."""
        self.lines(f"{_RED}🚨 Error: {text}{_PLAIN}\n^^^ +++")

    def warning(self, text: str) -> None:
        """Something to look at; opens the group it happened in."""
        self.lines(f"{_YELLOW}⚠️ Warning: {text}{_PLAIN}\n^^^ +++")

    def close(self) -> None:
        """Send everything and wait for it."""
        with self._lock:
            self._emit(self._redactor.flush())
        self._stream.close()

    @property
    def failed_chunks(self) -> int:
        """How many chunks were lost."""
        return self._stream.failed_chunks

    def _tell_copy_problem(self) -> None:
        """Say that the copy is not whole, once, and not in the middle of a line."""
        if self._copy_problem:
            text = f"{_YELLOW}⚠️ Warning: The copy of this log is not whole: {self._copy_problem}{_PLAIN}\n^^^ +++\n"
            self._copy_problem = ""
            self._emit(text.encode())

    def _emit(self, data: bytes, *, is_head: bool = False) -> None:
        if not data:
            return
        if self._copy is not None:
            try:
                _write_all(self._copy, data)
            except OSError as error:
                self._copy = None  # a full disk takes the copy, not the log
                self._copy_problem = error.strerror or str(error)
        if self._timestamps:
            stamp = b"\x1b_bk;t=%d\x07" % int(self._clock.now() * 1000)
            inner = data[:-1].replace(b"\n", b"\n" + stamp) + data[-1:]
            shown = stamp + inner if self._at_line_start else inner
        else:
            shown = data
        self._at_line_start = data.endswith(b"\n")
        self._stream.write(shown, is_head=is_head)


def _write_all(file: BinaryIO, data: bytes) -> None:
    """Write all of it to a file without a buffer, which takes what there is room for and fails at the next bytes."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]

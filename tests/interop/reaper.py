"""Ends servers and agents whose test process was killed before it could end them itself.

A small process of its own is told of each of them, and waits for its standard input to end. That happens whatever
becomes of the test process.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil

_PROGRAM = r"""
import os, signal, sys, time

def started(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[19]
    except OSError:
        return ""

told = [line.split() for line in sys.stdin]
if told and told[-1] == ["ended"]:
    sys.exit()
for number in (signal.SIGTERM, signal.SIGKILL):
    for pid, start in told:
        if started(pid) == start:
            try:
                os.kill(int(pid), number)
            except OSError:
                pass
    time.sleep(3)
"""


class Reaper:
    """Watches over the children of this process that were shown to it, until `close`."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _PROGRAM], stdin=subprocess.PIPE, text=True, start_new_session=True
        )
        self._known: set[int] = set()

    def watch_children(self) -> None:
        """Watch over the children that there are now."""
        for child in psutil.Process().children():
            if child.pid in self._known or child.pid == self._process.pid:
                continue
            try:
                stat = Path(f"/proc/{child.pid}/stat").read_text(encoding="utf-8", errors="replace")
            except OSError:  # a short-lived one that ended meanwhile
                continue
            self._known.add(child.pid)
            # When it was started (proc(5), field 22), since the number alone may be another's by then.
            self._tell(f"{child.pid} {stat.rpartition(')')[2].split()[19]}")

    def close(self) -> None:
        """Stop watching: everything has ended as it should."""
        self._tell("ended")
        self._process.communicate(timeout=10)

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

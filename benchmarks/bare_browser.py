"""A page of Chromium of which nothing is recorded, for weighing it: what drives browsers keeps all that they load."""

from __future__ import annotations

import fcntl
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from benchmarks.measure import CommandFailed, descendants

_ANSWER_SECONDS = 600.0
_LOOK_SECONDS = 0.05
_END_SECONDS = 10.0
# The browser reads from descriptor 3 and writes to 4.
# https://chromedevtools.github.io/devtools-protocol/ (`--remote-debugging-pipe`: JSON with a NUL behind it)
_START = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); os.execv(sys.argv[3], sys.argv[3:])"
)


class BarePage:
    """One page of a browser of its own; see `bare_page`.

    Parameters:
        process: the browser.
        reading, writing: descriptors of the pipe.
    """

    def __init__(self, process: subprocess.Popen[bytes], reading: int, writing: int) -> None:
        self._process, self._reading, self._writing = process, reading, writing
        self._number = 0
        self._rest = b""
        self._session = ""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        # So that the page to compare with can be any page of the same server.
        self.call("Page.setBypassCSP", enabled=True)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command of the DevTools protocol, and its answer."""
        self._number += 1
        sent = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            sent["sessionId"] = self._session
        os.write(self._writing, json.dumps(sent).encode() + b"\0")
        deadline = time.monotonic() + _ANSWER_SECONDS
        while True:
            said, ended, self._rest = self._rest.partition(b"\0")
            if not ended:
                self._rest = said + self._read(deadline)
                continue
            message = json.loads(said)
            if message.get("id") != self._number:
                continue  # an event
            if "error" in message:
                raise CommandFailed(f"{method}: {message['error']}")
            answer: dict[str, Any] = message["result"]
            return answer

    def _read(self, deadline: float) -> bytes:
        ready, _, _ = select.select([self._reading], [], [], max(0.0, deadline - time.monotonic()))
        data = os.read(self._reading, 1 << 16) if ready else b""
        if not data:
            raise CommandFailed("the browser does not answer")
        return data

    def go(self, address: str) -> None:
        """Go to an address."""
        self.call("Page.navigate", url=address)

    def evaluate(self, expression: str) -> Any:
        """The value of an expression on the page."""
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def wait_for(self, expression: str) -> None:
        """Wait until an expression holds on the page."""
        deadline = time.monotonic() + _ANSWER_SECONDS
        while not self.evaluate(f"Boolean({expression})"):
            if time.monotonic() > deadline:
                raise CommandFailed(f"the page never had {expression}")
            time.sleep(_LOOK_SECONDS)

    def private_memory(self) -> int:
        """Bytes of memory that the page's process has for itself, after a collection of garbage."""
        self.call("HeapProfiler.collectGarbage")
        return max((_private_memory(pid) for pid in descendants(self._process.pid) if _draws_pages(pid)), default=0)


@contextmanager
def bare_page(program: Path, folder: Path, options: tuple[str, ...]) -> Iterator[BarePage]:
    """A new page in a new browser.

    Parameters:
        program: Chromium.
        folder: for the browser's profile; made by it.
        options: of its command line.
    """
    # Away from the numbers that the browser wants them to have.
    ours = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for pipe in (os.pipe(), os.pipe()) for end in _taken(pipe)]
    to_browser, writing, reading, from_browser = ours
    command = [sys.executable, "-c", _START, str(to_browser), str(from_browser), str(program), "--headless=new"]
    command += [*options, f"--user-data-dir={folder}", "--window-size=1280,800", "--remote-debugging-pipe"]
    process = subprocess.Popen(
        command, pass_fds=(to_browser, from_browser), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    os.close(to_browser)
    os.close(from_browser)
    try:
        yield BarePage(process, reading, writing)
    finally:
        process.terminate()
        try:
            process.wait(timeout=_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(reading)
        os.close(writing)


def _taken(pipe: tuple[int, int]) -> Iterator[int]:
    for end in pipe:
        yield end
        os.close(end)


def _draws_pages(pid: int) -> bool:
    with suppress(OSError):  # it has just ended
        return b"--type=renderer" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def _private_memory(pid: int) -> int:
    """What is in no file: `RssAnon` and `RssShmem`, in bytes."""
    total = 0
    with suppress(OSError):  # it has just ended
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name in ("RssAnon", "RssShmem"):
                total += int(value.split()[0]) * 1024
    return total

"""The server dies right before and right after each of its writes, and is started again: builds still end once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.controlplane.running import ServerProcess
from tests.faults.life import Life
from tests.faults.thorough import is_thorough

PROGRAM = Path(__file__).with_name("crashing_server.py")
OPTIONS = ("--ping-hold", "0.05", "--accept-timeout", "0.2", "--heartbeat-timeout", "40", "--sweep-interval", "0.05")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    server = ServerProcess(tmp_path / "data", *OPTIONS)
    server.program = (str(PROGRAM), str(tmp_path / "orders"))
    try:
        yield server
    finally:
        server.kill_if_running()


@pytest.mark.parametrize("twin", ["LOST", "KEPT"])
def test_the_server_dies_at_each_write(server: ServerProcess, tmp_path: Path, twin: str) -> None:
    orders, crashes, lock = tmp_path / "orders", 0, threading.Lock()

    def start_again() -> None:
        nonlocal crashes
        with lock:
            assert server.process is not None
            if server.process.poll() is not None:
                server.kill()
                server.start()
                crashes += 1

    life = Life(server.start(), tmp_path, on_trouble=start_again)
    life.prepare()
    # Each takes a second; all are tried where there is time.
    for number in count(1, 1 if is_thorough() else 14):
        orders.write_text(f"{twin} {number}", "utf-8")
        before = crashes
        try:
            life.run()
        except AssertionError as error:
            raise AssertionError(f"{twin} {number}: {error}") from error
        orders.unlink(missing_ok=True)
        if crashes == before:
            break
    assert crashes > 2

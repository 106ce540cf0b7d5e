"""The network stalls, resets and breaks off half-way; agents wait, ask again, and lose nothing."""

from __future__ import annotations

import json
import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from pipeseal.agent.connection import OneShot, Transport, parse_endpoint
from pipeseal.agent.pool import open_pool
from pipeseal.errors import Unavailable
from tests.agent.agent_process import agent_process
from tests.controlplane.running import QUICK, running_server
from tests.faults.invariants import check_build, read_ran, shell_job, wait_for_end
from tests.faults.test_agent_twins import IMPATIENT

SETTINGS = replace(QUICK, ping_hold=0.5, heartbeat_interval=1, heartbeat_timeout=60)


@contextmanager
def answering(data: bytes) -> Iterator[str]:
    """The URL of a server that answers every request with the same bytes and closes the connection."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, suppress(OSError):
                    connection.recv(65_536)
                    connection.sendall(data)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


def transports(url: str) -> list[Transport]:
    return [OneShot(parse_endpoint(url), user_agent="test"), open_pool(url, user_agent="test")]


@pytest.mark.parametrize(
    "answer",
    [
        b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 13\r\n\r\n{"id":"12345"}'[:-1],
        b"HTTP/1.1 204 No Content\r\nserver: x\r\n\r\n",
    ],
)
def test_an_answer_that_breaks_off_anywhere_is_no_answer(answer: bytes) -> None:
    for end in range(len(answer) + 1):
        with answering(answer[:end]) as url:
            for transport in transports(url):
                try:
                    got = transport.request("GET", "/", token="t", timeout_seconds=5)
                except Unavailable as error:
                    assert error.code == "api.unreachable" and error.status is None
                    assert end < len(answer), type(transport)
                else:
                    assert end == len(answer), f"{type(transport).__name__} took {answer[:end]!r} for {got}"
                finally:
                    transport.close()


def test_a_chunked_answer_that_breaks_off_is_no_answer() -> None:
    answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n3\r\nyou\r\n0\r\n\r\n"
    for end in range(len(answer) - len(b"0\r\n\r\n")):
        with answering(answer[:end]) as url:
            transport = open_pool(url, user_agent="test")
            with pytest.raises(Unavailable) as error:
                transport.request("GET", "/", token="t", timeout_seconds=5)
            assert error.value.code == "api.unreachable"
            transport.close()


class BadNetwork:
    """Passes bytes on, until it is told to be bad.

    Parameters:
        port: where it passes them on to.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._flowing = threading.Event()
        self._flowing.set()
        self._left: int | None = None
        self._refusing = False
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}/v3"
        threading.Thread(target=self._accept, daemon=True).start()

    def stall(self) -> None:
        """Let nothing through, and break nothing."""
        self._flowing.clear()

    def cut(self) -> None:
        """Break what is open, and take nothing new."""
        self._refusing = True
        self.reset()

    def reset(self) -> None:
        """Break what is open, with a reset."""
        with self._lock:
            for one in self._open:
                with suppress(OSError):
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                    one.shutdown(socket.SHUT_RDWR)

    def break_after(self, count: int) -> None:
        """Break everything once so many bytes more have passed."""
        self._left = count

    def mend(self) -> None:
        """Be good again."""
        self._refusing, self._left = False, None
        self._flowing.set()

    def close(self) -> None:
        """Be gone."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.mend()
        self.reset()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                ours, _ = self._listener.accept()
                if self._refusing:
                    ours.close()
                    continue
                theirs = socket.create_connection(("127.0.0.1", self._port))
                with self._lock:
                    self._open |= {ours, theirs}
                for pair in ((ours, theirs), (theirs, ours)):
                    threading.Thread(target=self._pass_on, args=pair, daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(4096):
                self._flowing.wait()
                if self._left is not None:
                    data, self._left = data[: self._left], max(0, self._left - len(data))
                target.sendall(data)
                if self._left == 0:
                    self.reset()
                    self._left = None
        for one in (source, target):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        with self._lock:
            self._open.discard(source)
        source.close()


def test_a_build_goes_on_whatever_the_network_does(tmp_path: Path) -> None:
    chance = random.Random(11)
    ran = tmp_path / "ran"
    with running_server(tmp_path / "data", SETTINGS) as running:
        step = {"command": shell_job(ran), "parallelism": 40}
        running.api.create_pipeline(json.dumps({"steps": [step]}))
        running.api.create_build()
        network = BadNetwork(running.api.port)
        token = f"file://{running.folder / 'agent-token'}"
        flags = ("--token", token, "--no-verification", "--skip-checkout", "--spawn", "3")
        try:
            # A job's start is tried seven times, which have to outlast the longest time without a network.
            patience, program = {"PAUSE": "0.5"}, [str(IMPATIENT)]
            with agent_process(network, tmp_path / "agent", *flags, environment=patience, program=program) as agent:
                for _ in range(12):
                    time.sleep(chance.uniform(0.02, 0.15))
                    match chance.randrange(4):
                        case 0:
                            network.stall()
                        case 1:
                            network.cut()
                        case 2:
                            network.reset()
                        case _:
                            network.break_after(chance.randrange(2000))
                    time.sleep(chance.uniform(0.02, 0.2))
                    network.mend()
                build = wait_for_end(running.api, 1, seconds=120)
                assert agent.process.poll() is None, agent.log
                assert build["state"] == "passed", agent.log
        finally:
            network.close()
        assert not any(job["retried"] for job in build["jobs"])
        check_build(running.api, build, read_ran(ran))

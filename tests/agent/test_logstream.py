"""A log on its way: complete, in order, in small chunks, at once, and never more than a little in memory."""

from __future__ import annotations

import threading
import time
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeseal.agent.joblog import JobLog
from pipeseal.agent.logstream import LogStream
from pipeseal.errors import PipesealError, Unavailable


class Sink:
    """Takes chunks like a server does."""

    def __init__(self, delay: float = 0.0, fail: set[int] | None = None) -> None:
        self.chunks: dict[int, tuple[int, bytes]] = {}
        self.times: list[float] = []
        self._delay = delay
        self._fail = fail or set()
        self._lock = threading.Lock()

    def __call__(self, sequence: int, offset: int, size: int, compressed: bytes) -> None:
        time.sleep(self._delay)
        if sequence in self._fail:
            raise Unavailable("api.status", "no", status=400)
        data = zlib.decompress(compressed, 31)
        assert len(data) == size
        with self._lock:
            assert sequence not in self.chunks
            self.chunks[sequence] = (offset, data)
            self.times.append(time.monotonic())

    @property
    def whole(self) -> bytes:
        assert sorted(self.chunks) == list(range(1, len(self.chunks) + 1))
        text = b""
        for _, (offset, data) in sorted(self.chunks.items()):
            assert offset == len(text)
            text += data
        return text


@given(st.lists(st.binary(max_size=400), max_size=30), st.integers(1, 200))
def test_log_is_complete_and_in_order(blocks: list[bytes], max_bytes: int) -> None:
    sink = Sink()
    stream = LogStream(sink, max_chunk_bytes=max_bytes, interval_seconds=0.001)
    for block in blocks:
        stream.write(block)
    stream.close()
    assert sink.whole == b"".join(blocks)
    assert all(len(data) <= max_bytes for _, data in sink.chunks.values())


def test_first_output_goes_out_at_once_and_the_rest_when_due() -> None:
    sink = Sink()
    stream = LogStream(sink, max_chunk_bytes=100_000, interval_seconds=30)
    started = time.monotonic()
    stream.write(b"first")
    while not sink.chunks:
        assert time.monotonic() - started < 60
        time.sleep(0.002)
    for _ in range(20):
        stream.write(b"more ")
        time.sleep(0.01)
    stream.close()
    assert sink.whole == b"first" + b"more " * 20
    assert len(sink.chunks) <= 5


def test_the_agents_first_lines_go_with_the_output_or_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeseal.agent.logstream.HEAD_SECONDS", 60.0)
    for output in (b"output", b""):
        sink = Sink()
        log = JobLog(LogStream(sink, max_chunk_bytes=100_000, interval_seconds=30), Clock(), timestamps=False)
        log.header("Running commands")
        log.prompt("true")
        if not output:
            log.close()
        log.output(output)
        _wait_for(sink)
        assert sink.chunks[1][1].endswith(output or b"true\n") and sink.chunks[1][1].startswith(b"~~~ Running")
        log.close()
        assert len(sink.chunks) == 1
    monkeypatch.setattr("pipeseal.agent.logstream.HEAD_SECONDS", 0.01)
    sink = Sink()
    log = JobLog(LogStream(sink, max_chunk_bytes=100_000, interval_seconds=30), Clock(), timestamps=False)
    log.header("Running commands")
    _wait_for(sink)
    log.close()


def _wait_for(sink: Sink) -> None:
    deadline = time.monotonic() + 60
    while not sink.chunks:
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_slow_server_slows_the_writer_down_and_memory_stays_flat() -> None:
    sink = Sink(delay=0.01)
    stream = LogStream(sink, max_chunk_bytes=10_000, interval_seconds=1)
    most = 0
    for _ in range(200):
        stream.write(b"x" * 10_000)
        most = max(most, len(stream._pending))
    stream.close()
    assert most <= 300_000
    assert sink.whole == b"x" * 2_000_000


def test_lost_chunks_are_counted_and_the_rest_goes_on() -> None:
    lost: list[PipesealError] = []
    sink = Sink(fail={2, 3})
    stream = LogStream(sink, max_chunk_bytes=10, interval_seconds=1, on_lost=lost.append)
    stream.write(b"0123456789" * 5)
    stream.close()
    assert stream.failed_chunks == len(lost) == 2
    assert sorted(sink.chunks) == [1, 4, 5]
    assert sink.chunks[5] == (40, b"0123456789")


class Clock:
    def now(self) -> float:
        return 1.5


@pytest.mark.parametrize(
    ("blocks", "shown"),
    [
        ([b"a\nb\n"], b"<a\n<b\n"),
        ([b"a", b"b\n", b"c"], b"<ab\n<c\r\n"),
        ([b"\n\n"], b"<\n<\n"),
        ([b""], b""),
    ],
)
def test_every_line_begins_with_its_time(blocks: list[bytes], shown: bytes) -> None:
    sink = Sink()
    log = JobLog(LogStream(sink, max_chunk_bytes=1000, interval_seconds=1), Clock())
    for block in blocks:
        log.output(block)
    log.end_output()
    log.close()
    assert sink.whole == shown.replace(b"<", b"\x1b_bk;t=1500\x07")


def test_lines_of_the_agent_are_redacted_and_begin_on_a_line_of_their_own() -> None:
    sink = Sink()
    log = JobLog(LogStream(sink, max_chunk_bytes=1000, interval_seconds=1), Clock(), timestamps=False)
    log.redact(["open sesame"])
    log.output(b"it is open ses")
    log.end_output()
    log.header("Say open sesame")
    log.error("open sesame failed")
    log.close()
    assert sink.whole == (
        "it is open ses\r\n~~~ Say [REDACTED]\n\x1b[31m🚨 Error: [REDACTED] failed\x1b[0m\n^^^ +++\n".encode()
    )

"""Logs over real HTTP: complete and in order, whatever the order they came in; ranges; following."""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeseal.controlplane.domain.limits import Limits
from pipeseal.controlplane.services.append_log import is_known_writer
from pipeseal.controlplane.store.logs import Intervals, LogState
from pipeseal.errors import MalformedInput
from tests.controlplane.running import (
    QUICK,
    FakeAgent,
    FakeJob,
    RunningServer,
    running_server,
    server_process,
)

CHUNK = 102_400


@pytest.fixture
def running(tmp_path: Path) -> Iterator[RunningServer]:
    settings = replace(QUICK, limits=Limits(max_log_bytes=5_000_000))
    with running_server(tmp_path / "data", settings) as server:
        server.api.create_pipeline("steps: [{command: x}]")
        server.api.create_build()
        yield server


def take(running: RunningServer) -> FakeJob:
    return FakeAgent(running.api).take()


def log_path(job: FakeJob) -> str:
    return f"/pipelines/demo/builds/1/jobs/{job.id}/log.txt"


def test_chunks_out_of_order_and_twice_make_one_log(running: RunningServer) -> None:
    job = take(running)
    data = random.Random(1).randbytes(300_000)
    pieces = [
        (number, start, data[start : start + 9_999]) for number, start in enumerate(range(0, len(data), 9_999), 1)
    ]
    twice = pieces + pieces[::3]
    random.Random(2).shuffle(twice)
    with ThreadPoolExecutor(6) as pool:
        statuses = set(pool.map(lambda piece: job.chunk(*piece).status, twice))
    assert statuses == {200}
    job.finish()
    build = running.api.build()
    assert running.api.log(build, job.id) == data
    assert (build["jobs"][0]["log_bytes"], build["jobs"][0]["log_missing_bytes"]) == (len(data), 0)


def test_a_log_of_50_mb_arrives_complete_and_costs_no_memory(tmp_path: Path) -> None:
    with server_process(tmp_path / "data") as server:
        api = server.start()
        api.create_pipeline("steps: [{command: x}]")
        api.create_build()
        job = FakeAgent(api).take()
        lines = [
            f"line {number:09} {number * 2654435761 % 2**32:08x} the quick brown fox\n" for number in range(1_150_000)
        ]
        data = "".join(lines).encode()
        assert len(data) >= 50_000_000
        pieces = [(n, start, data[start : start + CHUNK]) for n, start in enumerate(range(0, len(data), CHUNK), 1)]
        for start in range(0, len(pieces), 20):
            block = pieces[start : start + 20]
            random.Random(start).shuffle(block)
            pieces[start : start + 20] = block
        assert server.process is not None
        process = psutil.Process(server.process.pid)
        before = process.memory_info().rss
        with ThreadPoolExecutor(3) as pool:
            statuses = set(pool.map(lambda piece: job.chunk(*piece).status, pieces))
        assert statuses == {200}
        job.finish()
        read = api.log(api.build(), job.id)
        assert hashlib.sha256(read).digest() == hashlib.sha256(data).digest()
        assert process.memory_info().rss - before < 50_000_000


def test_whose_log_it_is_is_known_from_the_jobs_start_to_its_end_and_no_longer(running: RunningServer) -> None:
    running.api.create_build()
    agents = FakeAgent(running.api), FakeAgent(running.api)
    job, other = (agent.accept(agent.next_job()) for agent in agents)
    plane = running.plane
    assert not is_known_writer(plane, job.id, job.token)
    assert job.start().status == other.start().status == 200
    assert is_known_writer(plane, job.id, job.token)
    assert not is_known_writer(plane, job.id, other.token)
    foreign = FakeJob(running.api, {**other.assignment, "id": job.id})
    assert foreign.chunk(1, 0, b"foreign").status == 403
    assert job.chunk(1, 0, b"own").status == 200
    assert job.finish().status == 200
    assert not is_known_writer(plane, job.id, job.token)
    assert job.chunk(2, 3, b"late").status == 422


def test_a_log_can_be_followed_while_it_grows(running: RunningServer) -> None:
    job = take(running)
    assert job.chunk(1, 0, b"one\n").status == 200
    api = running.api
    first = api.rest("GET", f"{log_path(job)}?offset=0&wait=5")
    assert (first.body, first.headers["x-log-ended"]) == (b"one\n", "false")
    found: list[bytes] = []

    def follow() -> None:
        found.append(api.rest("GET", f"{log_path(job)}?offset=4&wait=10").body)

    thread = threading.Thread(target=follow)
    thread.start()
    assert job.chunk(3, 8, b"three\n").status == 200
    assert job.chunk(2, 4, b"two\n").status == 200
    thread.join(60)
    assert found[0] in (b"two\n", b"two\nthree\n")
    rest = api.rest("GET", f"{log_path(job)}?offset=14&wait=0")
    assert (rest.body, rest.headers["x-log-ended"]) == (b"", "false")
    job.finish()
    ended = api.rest("GET", f"{log_path(job)}?offset=14&wait=20")
    assert (ended.body, ended.headers["x-log-ended"]) == (b"", "true")


def test_a_part_behind_a_hole_is_not_shown_until_the_hole_is_filled(running: RunningServer) -> None:
    job = take(running)
    job.chunk(2, 4, b"tail")
    assert running.api.log(running.api.build(), job.id) == b""
    job.chunk(1, 0, b"head")
    assert running.api.log(running.api.build(), job.id) == b"headtail"


def test_what_never_came_is_marked_and_later_bytes_stay_in_place(running: RunningServer) -> None:
    job = take(running)
    job.chunk(1, 0, b"head")
    job.chunk(3, 4 + 1000, b"tail")
    job.finish(0, chunks_failed_count=1)
    build = running.api.build()
    log = running.api.log(build, job.id)
    assert len(log) == 1008
    assert log.startswith(b"head\n[1000 bytes of this log never reached the server]\n ")
    assert log.endswith(b" tail")
    shown = build["jobs"][0]
    assert (shown["log_missing_bytes"], shown["chunks_failed"]) == (1000, 1)


@pytest.mark.parametrize(
    ("header", "status", "body", "content_range"),
    [
        ("bytes=0-3", 206, b"0123", "bytes 0-3/10"),
        ("bytes=4-", 206, b"456789", "bytes 4-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=8-99", 206, b"89", "bytes 8-9/10"),
        ("bytes=-99", 206, b"0123456789", "bytes 0-9/10"),
        ("bytes=10-", 416, b"", "bytes */10"),
        ("bytes=-0", 416, b"", "bytes */10"),
        # What is not one range of bytes is as good as none. RFC 9110 14.2
        ("bytes=5-2", 200, b"0123456789", None),
        ("bytes=-", 200, b"0123456789", None),
        ("lines=1-2", 200, b"0123456789", None),
        ("bytes=0-1,4-5", 200, b"0123456789", None),
    ],
)
def test_ranges(running: RunningServer, header: str, status: int, body: bytes, content_range: str | None) -> None:
    job = take(running)
    job.chunk(1, 0, b"0123456789")
    answer = running.api.rest("GET", log_path(job), headers={"Range": header})
    assert (answer.status, answer.body, answer.headers.get("content-range")) == (status, body, content_range)


def test_the_log_as_json_holds_any_bytes(running: RunningServer) -> None:
    job = take(running)
    job.chunk(1, 0, b'\x00\x1b[31m"\\ \xc3')
    job.chunk(2, 10, b"\xa9\xff end")
    answer = running.api.rest("GET", log_path(job).removesuffix(".txt"))
    assert answer.json["content"] == '\x00\x1b[31m"\\ é\ufffd end'
    assert answer.json["size"] == 16


def test_bytes_once_stored_are_never_changed(running: RunningServer) -> None:
    job = take(running)
    job.chunk(1, 0, b"original")
    for sequence, offset, data in ((1, 0, b"changed!!"), (2, 0, b"changed!"), (2, 7, b"x"), (1, 8, b"moved")):
        answer = job.chunk(sequence, offset, data)
        assert (answer.status, answer.json["code"]) == (422, "log.conflict")
    assert job.chunk(1, 0, b"ORIGINAL").status == 200, "the same chunk again: the first bytes stay"
    job.finish()
    assert job.chunk(1, 0, b"original").status == 200, "a late repeat is harmless"
    assert job.chunk(2, 8, b"late").json["code"] == "log.conflict"
    assert running.api.log(running.api.build(), job.id) == b"original"


def test_a_log_ends_at_its_limit(running: RunningServer) -> None:
    job = take(running)
    answer = job.chunk(1, 4_999_999, b"xy")
    assert (answer.status, answer.json["code"]) == (413, "log.limit")
    assert job.chunk(1, 4_999_999, b"x").status == 200


@given(st.lists(st.integers(1, 40), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_intervals_know_what_is_there(sizes: list[int], order: random.Random) -> None:
    starts = [sum(sizes[:number]) for number in range(len(sizes))]
    chunks = list(zip(starts, sizes, strict=True))
    order.shuffle(chunks)
    intervals = Intervals()
    present: set[int] = set()
    for start, size in chunks:
        assert not intervals.overlaps(start, start + size)
        intervals.add(start, start + size)
        present |= set(range(start, start + size))
        assert intervals.overlaps(start, start + 1)
        assert intervals.end == max(present) + 1
        assert intervals.contiguous == next(place for place in range(len(present) + 1) if place not in present)
        missing = {place for hole in intervals.holes() for place in range(hole.start, hole.end)}
        assert missing == set(range(intervals.end)) - present
    assert intervals.holes() == []


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 30), st.integers(0, 8)), max_size=25))
def test_whatever_is_sent_no_byte_has_two_chunks(sent: list[tuple[int, int, int]]) -> None:
    state = LogState()
    owner: dict[int, int] = {}
    for sequence, start, size in sent:
        try:
            if not state.claim(sequence, start, start + size):
                assert state.chunks[sequence] == (start, start + size)
                continue
        except MalformedInput as error:
            assert error.code == "log.conflict"
            continue
        for place in range(start, start + size):
            assert place not in owner
            owner[place] = sequence
        state.settle(sequence)
    assert state.arrived.end == (max(owner) + 1 if owner else 0)


def test_a_chunk_that_could_not_be_written_may_come_again() -> None:
    state = LogState()
    assert state.claim(1, 0, 4)
    assert not state.claim(1, 0, 4)
    state.give_up(1)
    assert state.claim(1, 0, 4)
    state.settle(1)
    assert state.arrived.contiguous == 4

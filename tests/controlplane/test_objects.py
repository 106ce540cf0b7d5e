"""The object store: whole or not at all, by ranges, streamed, and what happens when a writer stops half-way."""

from __future__ import annotations

import asyncio
import os
import random
import threading
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from pipeseal.controlplane.services.plane import ControlPlane
from pipeseal.controlplane.store.objects import (
    PIECE_BYTES,
    FolderStore,
    ObjectStore,
    check_key,
    open_object_store,
    put_stream,
    stream_range,
)
from pipeseal.errors import ConfigurationError, MalformedInput, Unavailable
from tests.controlplane.running import QUICK, FakeAgent, running_server, server_process, until
from tests.controlplane.s3_server import BUCKET, CREDENTIALS, s3_server


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with s3_server(tmp_path_factory.mktemp("s3")) as url:
        yield url


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    location = str(tmp_path / "objects")
    if request.param == "s3":
        for name, value in CREDENTIALS.items():
            monkeypatch.setenv(name, value)
        location = f"s3://{BUCKET}/{uuid.uuid4()}?endpoint={request.getfixturevalue('endpoint')}&region=us-east-1"
    opened = open_object_store(location)
    yield opened
    opened.close()


async def pieces(data: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def read_all(store: ObjectStore, key: str, start: int, end: int) -> bytes:
    return b"".join([piece async for piece in stream_range(store, key, start, end)])


async def test_what_is_streamed_in_comes_out_whole_and_by_ranges(store: ObjectStore) -> None:
    data = random.Random(1).randbytes(17 * PIECE_BYTES + 17)  # more than one part of an upload to S3
    assert store.size("artifacts/a") is None
    assert await put_stream(store, "artifacts/a", pieces(data, 70_000)) == len(data)
    assert store.size("artifacts/a") == len(data)
    assert await read_all(store, "artifacts/a", 0, len(data)) == data
    assert (
        await read_all(store, "artifacts/a", PIECE_BYTES - 3, 2 * PIECE_BYTES + 3)
        == data[PIECE_BYTES - 3 : 2 * PIECE_BYTES + 3]
    )
    assert store.get_range("artifacts/a", len(data) - 5, len(data) + 5) == data[-5:]


async def test_an_empty_object_is_an_object(store: ObjectStore) -> None:
    assert await put_stream(store, "empty", pieces(b"", 1)) == 0
    assert store.size("empty") == 0
    assert await read_all(store, "empty", 0, 0) == b""


async def test_a_stream_that_fails_leaves_what_was_there(store: ObjectStore) -> None:
    store.put("a/b", b"before")

    async def broken() -> AsyncIterator[bytes]:
        yield b"x" * (2 * PIECE_BYTES)
        raise MalformedInput("request.malformed", "too long")

    with pytest.raises(MalformedInput, match="too long"):
        await put_stream(store, "a/b", broken())
    with pytest.raises(MalformedInput, match="too long"):
        await put_stream(store, "a/new", broken())
    assert store.get_range("a/b", 0, 100) == b"before"
    assert store.size("a/new") is None


async def test_a_cancelled_stream_leaves_nothing(store: ObjectStore) -> None:
    started = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * PIECE_BYTES
            started.set()
            await asyncio.sleep(0)

    task = asyncio.create_task(put_stream(store, "big", endless()))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert store.size("big") is None


def test_an_object_is_replaced_and_deleted_whole(store: ObjectStore) -> None:
    store.put("k", b"first")
    with store.open_writer("k") as writer:
        writer.write(b"second, longer")
        assert store.get_range("k", 0, 100) == b"first"
        assert writer.commit() == 14
    assert store.get_range("k", 0, 100) == b"second, longer"
    store.delete("k")
    store.delete("k")
    assert store.size("k") is None
    with pytest.raises(Unavailable) as caught:
        store.get_range("k", 0, 1)
    assert caught.value.code == "server.store"


async def test_an_object_shorter_than_promised_is_an_error(store: ObjectStore) -> None:
    store.put("k", b"12345")
    with pytest.raises(Unavailable, match="ends at byte 5"):
        await read_all(store, "k", 0, 6)


def test_a_folder_keeps_nothing_of_a_writer_that_gave_up(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    with pytest.raises(RuntimeError, match="stopped"), store.open_writer("a/b/c") as writer:
        writer.write(b"x")
        raise RuntimeError("stopped")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_new_server_clears_what_killed_writers_left_long_ago(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    old, young = store.open_writer("a"), store.open_writer("b")
    old.write(b"x")
    young.write(b"y")
    abandoned = sorted((tmp_path / ".incoming").iterdir(), key=lambda path: path.read_bytes())
    os.utime(abandoned[0], (1, 1))
    FolderStore(tmp_path)
    assert sorted((tmp_path / ".incoming").iterdir()) == abandoned[1:]
    old.abort()
    assert young.commit() == 1
    assert store.get_range("b", 0, 9) == b"y"


@pytest.mark.parametrize(
    "key", ["", "/", "a/", "/a", "a//b", "..", "a/../b", ".incoming/a", "a\0", "ä", "a b", "x" * 901]
)
def test_keys_that_a_folder_could_misread_are_refused(key: str) -> None:
    with pytest.raises(MalformedInput) as caught:
        check_key(key)
    assert caught.value.code == "request.malformed"


def test_a_full_or_read_only_place_is_unavailable_or_refused_at_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigurationError) as refused:
        open_object_store(str(tmp_path / "file"))
    assert refused.value.code == "server.objects"
    store = open_object_store(f"file://{tmp_path}/objects")
    (tmp_path / "objects" / "logs").write_bytes(b"in the way")
    with pytest.raises(Unavailable) as caught:
        store.put("logs/a", b"x")
    assert caught.value.code == "server.store"
    assert list((tmp_path / "objects" / ".incoming").iterdir()) == []


@pytest.mark.parametrize(
    "location", ["ftp://host/x", "file://host/x", "s3:///prefix", "s3://key@bucket/x", "s3://bucket/x?acl=y"]
)
def test_an_unknown_place_is_a_configuration_error(location: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_object_store(location)
    assert caught.value.code == "server.objects"


async def test_a_bucket_that_does_not_answer_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    store = open_object_store("s3://bucket/prefix?endpoint=http://127.0.0.1:1&region=us-east-1")
    for call in (lambda: store.put("k", b"x"), lambda: store.size("k"), lambda: store.get_range("k", 0, 1)):
        with pytest.raises(Unavailable) as error:
            call()
        assert error.value.code == "server.store"
    with pytest.raises(Unavailable):
        await put_stream(store, "k", pieces(b"x" * 100, 10))


def s3_location(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/{uuid.uuid4()}?endpoint={endpoint}&region=us-east-1"


def chunk_rows(plane: ControlPlane, job_id: str) -> int:
    rows = plane.database.read_now(
        lambda tx: tx.all("SELECT sequence FROM log_chunks WHERE job_id = :job_id", job_id=job_id)
    )
    return len(rows)


def test_a_log_in_a_bucket_is_read_while_it_grows_and_packed_when_it_has_ended(
    tmp_path: Path, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    location = s3_location(endpoint, monkeypatch)
    settings = replace(QUICK, log_packing_delay=0.5)
    with running_server(tmp_path / "data", settings, object_store=location) as running:
        running.api.create_pipeline("steps: [{command: x}]")
        build = running.api.create_build()
        job = FakeAgent(running.api).take()
        data = random.Random(5).randbytes(700_000)
        places = [(number, start) for number, start in enumerate(range(0, len(data), 50_000), 1)]
        random.Random(6).shuffle(places)
        for number, start in places:
            for _ in range(2):
                assert job.chunk(number, start, data[start : start + 50_000]).status == 200
        assert running.api.log(build, job.id) == data
        assert job.chunk(99, 700_100, b"behind a hole").status == 200
        assert running.api.log(build, job.id) == data
        job.finish()
        whole = data + b"\n[100 bytes of this log never reached the server]\n".ljust(100) + b"behind a hole"
        assert running.api.log(build, job.id) == whole
        until(lambda: chunk_rows(running.plane, job.id) == 0, "the log to be packed")
        assert running.api.log(build, job.id) == whole
        objects = running.plane.objects
        assert objects.size(f"logs/{job.id[-2:]}/{job.id}.log") == len(whole)
        assert objects.size(f"logs/{job.id[-2:]}/{job.id}/0-50000") is None
        ranged = f"/pipelines/demo/builds/1/jobs/{job.id}/log.txt"
        part = running.api.rest("GET", ranged, headers={"Range": "bytes=699990-700109"})
        assert (part.status, part.body) == (206, whole[699_990:700_110])


@pytest.mark.parametrize("stops_before", ["commit", "note", "delete", "forget"])
def test_packing_that_is_killed_is_finished_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stops_before: str
) -> None:
    from pipeseal.controlplane.store import log_objects, objects

    with running_server(
        tmp_path / "data", replace(QUICK, log_packing_delay=3600), object_store=str(tmp_path / "objects")
    ) as running:
        running.api.create_pipeline("steps: [{command: x}]")
        build = running.api.create_build()
        job = FakeAgent(running.api).take()
        for number in range(3):
            assert job.chunk(number + 1, number * 4, b"abc\n").status == 200
        job.finish()
        logs = running.plane.logs
        assert isinstance(logs, log_objects.LogObjects)
        where, name = {
            "commit": (objects.FolderWriter, "commit"),
            "note": (log_objects, "_set_packing"),
            "delete": (objects.FolderStore, "delete"),
            "forget": (log_objects, "_forget_chunks"),
        }[stops_before]

        def stop(*_arguments: object) -> None:
            raise InterruptedError("killed")

        with monkeypatch.context() as patch:
            patch.setattr(where, name, stop)
            with pytest.raises(InterruptedError):
                logs.pack(job.id)
            assert running.api.log(build, job.id) == b"abc\n" * 3
        logs.pack(job.id)
        assert running.api.log(build, job.id) == b"abc\n" * 3
        assert chunk_rows(running.plane, job.id) == 0
        left = [path for path in (tmp_path / "objects" / "logs").rglob("*") if path.is_file()]
        assert [path.name for path in left] == [f"{job.id}.log"]
        logs.pack(job.id)  # once more does no harm
        assert running.api.log(build, job.id) == b"abc\n" * 3


def test_a_large_log_goes_through_a_bucket_and_costs_no_memory(
    tmp_path: Path, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    location = s3_location(endpoint, monkeypatch)
    with server_process(tmp_path / "data", "--object-store", location) as server:
        api = server.start()
        api.create_pipeline("steps: [{command: x}]")
        build = api.create_build()
        job = FakeAgent(api).take()
        assert server.process is not None
        process = psutil.Process(server.process.pid)
        most, done = [0], threading.Event()

        def watch() -> None:
            while not done.wait(0.05):
                most[0] = max(most[0], process.memory_info().rss)

        watcher = threading.Thread(target=watch)
        size = 100_000
        for number in range(20):
            assert job.chunk(number + 1, number * size, bytes([number]) * size).status == 200
        before = process.memory_info().rss
        watcher.start()
        try:
            for number in range(20, 300):
                assert job.chunk(number + 1, number * size, bytes([number % 256]) * size).status == 200
            job.finish()
            log = api.log(build, job.id)
        finally:
            done.set()
            watcher.join()
        assert log == b"".join(bytes([number % 256]) * size for number in range(300))
        assert most[0] - before < 20_000_000

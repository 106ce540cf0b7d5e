"""The object store: whole or not at all, by ranges, streamed, and what happens when a writer stops half-way."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

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


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ObjectStore]:
    opened = open_object_store(str(tmp_path / "objects"))
    yield opened
    opened.close()


async def pieces(data: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def read_all(store: ObjectStore, key: str, start: int, end: int) -> bytes:
    return b"".join([piece async for piece in stream_range(store, key, start, end)])


async def test_what_is_streamed_in_comes_out_whole_and_by_ranges(store: ObjectStore) -> None:
    data = random.Random(1).randbytes(3 * PIECE_BYTES + 17)
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


@pytest.mark.parametrize("location", ["ftp://host/x", "file://host/x", "s3:///prefix"])
def test_an_unknown_place_is_a_configuration_error(location: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_object_store(location)
    assert caught.value.code == "server.objects"

"""Where the bytes of logs and artifacts lie: one small interface, kept by a local folder or by an S3 bucket.

An object is written once, from a stream, and is there whole or not at all: until `commit` returns nobody sees it, and
when it has returned it survives a crash. Objects are read by ranges. Nothing here holds a whole object in memory.

The methods block; from the event loop use `put_stream` and `stream_range`, or `asyncio.to_thread`.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
from collections.abc import AsyncIterable, AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Protocol
from urllib.parse import unquote, urlsplit

from pipeseal.errors import ConfigurationError, Unavailable

# Pieces handed to a store and taken from it: large enough that a thread switch costs nothing beside the copy.
PIECE_BYTES = 1024 * 1024
_SEGMENT = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}")


class ObjectWriter(Protocol):
    """An object that is being written. As a context manager it aborts unless `commit` was called."""

    def write(self, data: bytes) -> None:
        """Append bytes.

        Raises:
            Unavailable: `server.store`.
        """

    def commit(self) -> int:
        """Put the object in place, durably, over any object of that key; returns its size in bytes.

        Raises:
            Unavailable: `server.store`; nothing is in place, or (on a network) it is unknown whether it is.
        """

    def abort(self) -> None:
        """Forget what was written. Nothing happens after `commit` or another `abort`."""

    def __enter__(self) -> ObjectWriter: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class ObjectStore(Protocol):
    """Objects by key. A key is made of segments of letters, digits, `.`, `_` and `-`, joined by `/`.

    Every method may be called from any thread and raises `Unavailable` (`server.store`) when the store does not work.
    """

    def open_writer(self, key: str) -> ObjectWriter:
        """Begin an object."""

    def put(self, key: str, data: bytes) -> None:
        """Write a small object in one go."""

    def get_range(self, key: str, start: int, end: int) -> bytes:
        """Bytes `start` up to, not including, `end`; fewer where the object ends.

        Raises:
            Unavailable: `server.store`, also when there is no such object.
        """

    def size(self, key: str) -> int | None:
        """The size of an object in bytes; None when there is none."""

    def delete(self, key: str) -> None:
        """Remove an object; nothing happens when there is none."""

    def close(self) -> None:
        """Let go of threads and connections."""


async def put_stream(store: ObjectStore, key: str, pieces: AsyncIterable[bytes]) -> int:
    """Write an object from a stream; returns its size in bytes.

    Parameters:
        store, key: where.
        pieces: its bytes. If this raises, or the caller is cancelled, no object is left and none is replaced.

    Raises:
        Unavailable: `server.store`.
    """
    writer = await asyncio.to_thread(store.open_writer, key)
    committed = False
    try:
        waiting = bytearray()
        async for piece in pieces:
            waiting += piece
            if len(waiting) >= PIECE_BYTES:
                # shield: a thread cannot be stopped, and the writer must not be aborted while it is at work.
                await _finish(writer.write, bytes(waiting))
                waiting.clear()
        if waiting:
            await _finish(writer.write, bytes(waiting))
        size = await _finish(writer.commit)
        committed = True
        return size
    finally:
        if not committed:
            await asyncio.shield(asyncio.to_thread(writer.abort))

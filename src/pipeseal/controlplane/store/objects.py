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
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import ParamSpec, Protocol, TypeVar
from urllib.parse import unquote, urlsplit

from pipeseal.errors import ConfigurationError, MalformedInput, Unavailable

P = ParamSpec("P")
T = TypeVar("T")

# Pieces handed to a store and taken from it: large enough that a thread switch costs nothing beside the copy.
PIECE_BYTES = 1024 * 1024
_SEGMENT = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}")
_MAX_KEY = 900  # S3 takes 1,024 bytes; the rest is for a prefix
_INCOMING = ".incoming"  # no key has such a segment
_ABANDONED_SECONDS = 24 * 3600


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
                await _finish(writer.write, bytes(waiting))
                waiting.clear()
        if waiting:
            await _finish(writer.write, bytes(waiting))
        size = await _finish(writer.commit)
        committed = True
        return size
    finally:
        if not committed:
            await _finish(writer.abort)


async def _finish(function: Callable[P, T], /, *arguments: P.args, **named: P.kwargs) -> T:
    """Run `function` in a thread, to its end even when the caller is cancelled: the next call must not meet it."""
    work = asyncio.ensure_future(asyncio.to_thread(function, *arguments, **named))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait({work})
        if not work.cancelled():
            work.exception()  # looked at, so that it is not reported as forgotten
        raise


async def stream_range(store: ObjectStore, key: str, start: int, end: int) -> AsyncIterator[bytes]:
    """Bytes `start` up to `end` of an object, in pieces of at most `PIECE_BYTES`.

    Raises:
        Unavailable: `server.store`, also when the object is shorter than `end`.
    """
    while start < end:
        data = await asyncio.to_thread(store.get_range, key, start, min(end, start + PIECE_BYTES))
        if not data:
            raise store_failed("read", f"{key} ends at byte {start}, before {end}")
        start += len(data)
        yield data


def store_failed(what: str, reason: str) -> Unavailable:
    """The error for an object store that does not work."""
    return Unavailable(
        "server.store",
        f"the object store could not {what} this: {reason}",
        help="look at the folder or bucket of the server's objects; repeat the request when it is well again",
    )


def check_key(key: str) -> str:
    """A key as it is, when it is one.

    Raises:
        MalformedInput: `request.malformed`: empty, or a segment that a folder could misread, such as `..`.
    """
    if len(key) > _MAX_KEY or not all(_SEGMENT.fullmatch(segment) for segment in key.split("/")):
        raise MalformedInput("request.malformed", f"{key[:_MAX_KEY]!r} cannot be the key of an object")
    return key


class FolderStore:
    """Objects as files below a folder. A file is written beside the others under a name of its own and then moved.

    Parameters:
        folder: made when missing; on one disk. Several servers may share it over a network file system whose renames
            are atomic and whose `fsync` is honest.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._incoming = folder / _INCOMING
        try:
            self._incoming.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise ConfigurationError(
                "server.objects",
                f"cannot use the folder {folder} for objects: {error.strerror}",
                help="give the server a folder that it can write with --object-store",
            ) from error
        _clear_abandoned(self._incoming)

    def path(self, key: str) -> Path:
        """The file of an object.

        Raises:
            MalformedInput: `request.malformed`.
        """
        return self._folder / check_key(key)

    def open_writer(self, key: str) -> FolderWriter:
        """Begin an object."""
        return FolderWriter(self.path(key), self._incoming / secrets.token_hex(16))

    def put(self, key: str, data: bytes) -> None:
        """Write a small object in one go."""
        with self.open_writer(key) as writer:
            writer.write(data)
            writer.commit()

    def get_range(self, key: str, start: int, end: int) -> bytes:
        """Bytes of an object."""
        try:
            descriptor = os.open(self.path(key), os.O_RDONLY | os.O_CLOEXEC)
            try:
                return os.pread(descriptor, max(0, end - start), start)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise store_failed("read", error.strerror or str(error)) from error

    def size(self, key: str) -> int | None:
        """The size of an object."""
        try:
            return self.path(key).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise store_failed("read", error.strerror or str(error)) from error

    def delete(self, key: str) -> None:
        """Remove an object."""
        try:
            self.path(key).unlink(missing_ok=True)
        except NotADirectoryError:
            return
        except OSError as error:
            raise store_failed("delete", error.strerror or str(error)) from error

    def close(self) -> None:
        """Nothing is held open."""


class FolderWriter:
    """A file that is being written, and takes its place only when it is whole and on disk."""

    def __init__(self, target: Path, temporary: Path) -> None:
        self._target = target
        self._temporary = temporary
        self._size = 0
        try:
            self._descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise store_failed("write", error.strerror or str(error)) from error

    def write(self, data: bytes) -> None:
        """Append bytes."""
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError as error:
            raise store_failed("write", error.strerror or str(error)) from error
        self._size += len(data)

    def commit(self) -> int:
        """Put the file in place: its bytes reach the disk before its name does, and its name before this returns."""
        try:
            os.fsync(self._descriptor)
            self._close()
            parent = self._target.parent
            if not parent.is_dir():
                _make_folders(parent)
            self._temporary.replace(self._target)
            _sync_folder(parent)
        except OSError as error:
            raise store_failed("write", error.strerror or str(error)) from error
        return self._size

    def abort(self) -> None:
        """Forget what was written."""
        self._close()
        with suppress(OSError):  # what cannot be removed now is cleared when a server starts
            self._temporary.unlink(missing_ok=True)

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __enter__(self) -> FolderWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()


def _make_folders(folder: Path) -> None:
    """Make a folder and what is missing above it, durably."""
    missing = [parent for parent in (folder, *folder.parents) if not parent.is_dir()]
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for made in missing:
        _sync_folder(made.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _clear_abandoned(incoming: Path) -> None:
    """Remove what writers left behind that were killed; other servers may be writing, so only what is old."""
    before = time.time() - _ABANDONED_SECONDS
    for path in incoming.iterdir():
        with suppress(OSError):  # another server clears too
            if path.stat().st_mtime < before:
                path.unlink()


def open_object_store(location: str) -> ObjectStore:
    """The object store at a location: a folder's path, `file:///folder`, or `s3://bucket/prefix?endpoint=...`.

    Raises:
        ConfigurationError: `server.objects`.
    """
    scheme, colon, _ = location.partition("://")
    if not colon:
        return FolderStore(Path(location))
    parts = urlsplit(location)
    if scheme == "file" and parts.netloc in ("", "localhost") and parts.path.startswith("/"):
        return FolderStore(Path(unquote(parts.path)))
    if scheme == "s3":
        try:
            from pipeseal.controlplane.store.s3 import open_bucket
        except ModuleNotFoundError as error:
            raise ConfigurationError(
                "server.objects",
                f"S3 needs the package {error.name}, which is not installed",
                help="pip install 'pipeseal[s3]'",
            ) from error
        return open_bucket(location)
    raise ConfigurationError(
        "server.objects",
        f"{location!r} is no place for objects",
        help="write a folder's path, file:///folder or s3://bucket/prefix",
    )

"""The bytes of artifacts on their way into the object store: checked before anybody sees them, and put together."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Callable, Sequence
from sqlite3 import Row
from typing import NamedTuple

from pipeseal.agentapi.job_messages import PartTag
from pipeseal.controlplane.services.plane import ControlPlane
from pipeseal.controlplane.store.objects import PIECE_BYTES, put_stream, stream_range
from pipeseal.errors import MalformedInput, VerificationError

_ETAG = re.compile(r'"([0-9a-f]{64})"')


class Digests(NamedTuple):
    """Size in bytes, and checksums in lower-case hexadecimal."""

    size: int
    sha1: str
    sha256: str


def key_of(row: Row) -> str:
    """Where an artifact's bytes lie in the object store."""
    return f"artifacts/{row['build_id']}/{row['id']}"


def part_key(row: Row, part: int) -> str:
    """Where one part of them lies until all are there."""
    return f"{key_of(row)}.part-{part}"


async def put_whole(plane: ControlPlane, row: Row, blocks: AsyncIterator[bytes]) -> Digests:
    """Store the bytes of an artifact, if they are the ones that were announced.

    Raises:
        VerificationError: `artifact.mismatch`; nothing is kept.
        MalformedInput: `request.too_large`; whatever `blocks` raises.
        Unavailable: `server.store`.
    """
    return await _put(plane, key_of(row), blocks, row["file_size"], lambda digests: _check_whole(row, digests))


async def put_part(plane: ControlPlane, row: Row, part: int, blocks: AsyncIterator[bytes]) -> str:
    """Store one part, in place of an earlier try; returns the tag that names its bytes.

    Raises:
        MalformedInput: `request.too_large`; whatever `blocks` raises.
        Unavailable: `server.store`.
    """
    digests = await _put(plane, part_key(row, part), blocks, row["file_size"], lambda _digests: None)
    return f'"{digests.sha256}"'


async def join_parts(plane: ControlPlane, row: Row, tags: Sequence[PartTag]) -> Digests:
    """Store an artifact from its parts, if they are those that the tags name and make up what was announced.

    Parameters:
        tags: one for each part, from `put_part`.

    Raises:
        MalformedInput: `artifact.incomplete`: a part or its tag is missing, or is not the part of that tag.
        VerificationError: `artifact.mismatch`.
        Unavailable: `server.store`.
    """
    name = row["path"][:80]
    wanted = {tag["part_number"]: _ETAG.fullmatch(tag["etag"]) for tag in tags}
    parts: list[tuple[str, int, str]] = []
    for number in range(1, row["part_count"] + 1):
        tag = wanted.get(number)
        key = part_key(row, number)
        size = await asyncio.to_thread(plane.objects.size, key)
        if tag is None or size is None:
            raise MalformedInput("artifact.incomplete", f"part {number} of {name!r} or its tag did not come")
        parts.append((key, size, tag[1]))

    async def blocks() -> AsyncIterator[bytes]:
        for key, size, digest in parts:
            seen = hashlib.sha256()
            async for block in stream_range(plane.objects, key, 0, size):
                await asyncio.to_thread(seen.update, block)
                yield block
            if seen.hexdigest() != digest:
                raise MalformedInput("artifact.incomplete", f"a part of {name!r} is not the one of its tag")

    return await put_whole(plane, row, blocks())


async def forget_all(plane: ControlPlane, row: Row) -> None:
    """Remove whatever came of an artifact that will never be finished.

    Raises:
        Unavailable: `server.store`.
    """
    await forget_parts(plane, row)
    await asyncio.to_thread(plane.objects.delete, key_of(row))


async def forget_parts(plane: ControlPlane, row: Row) -> None:
    """Remove the parts of an artifact.

    Raises:
        Unavailable: `server.store`.
    """
    for number in range(1, row["part_count"] + 1):
        await asyncio.to_thread(plane.objects.delete, part_key(row, number))


def read_bytes(plane: ControlPlane, row: Row, start: int, end: int) -> AsyncIterator[bytes]:
    """Bytes `start` up to `end` of a stored artifact; raises as `stream_range`."""
    return stream_range(plane.objects, key_of(row), start, end)


async def _put(
    plane: ControlPlane, key: str, blocks: AsyncIterator[bytes], max_bytes: int, check: Callable[[Digests], None]
) -> Digests:
    sha1, sha256 = hashlib.sha1(usedforsecurity=False), hashlib.sha256()
    digests = Digests(0, "", "")

    def digest(piece: bytes) -> None:
        sha1.update(piece)
        sha256.update(piece)

    async def checked() -> AsyncIterator[bytes]:
        nonlocal digests
        size = 0
        async for piece in _gather(blocks):
            size += len(piece)
            if size > max_bytes:
                raise MalformedInput("request.too_large", f"more than the {max_bytes} bytes that were announced")
            await asyncio.to_thread(digest, piece)
            yield piece
        digests = Digests(size, sha1.hexdigest(), sha256.hexdigest())
        check(digests)  # raised from here, nothing is put in place

    await put_stream(plane.objects, key, checked())
    return digests


async def _gather(blocks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in pieces that are worth a switch to another thread."""
    waiting = bytearray()
    async for block in blocks:
        waiting += block
        if len(waiting) >= PIECE_BYTES:
            yield bytes(waiting)
            waiting.clear()
    if waiting:
        yield bytes(waiting)


def _check_whole(row: Row, digests: Digests) -> None:
    announced = (row["file_size"], row["sha1sum"] or digests.sha1, row["sha256sum"] or digests.sha256)
    if announced != tuple(digests):
        raise VerificationError(
            "artifact.mismatch",
            f"{row['path'][:80]!r} came with other bytes than were announced ({digests.size} of "
            f"{row['file_size']} bytes, SHA-256 {digests.sha256})",
            help="upload files after the commands that write them have ended",
        )

"""Job logs in an object store: each chunk is an object, until the log is closed and they are packed into one.

The promises are those of `store.logs`: a chunk is durable before its row is committed, its row before the agent
hears, and bytes once written stay. The rows of `log_chunks` say which chunks there are, so nothing is ever listed.
What never came is not written down: whoever reads a closed log sees a notice of the same length in its place.

Packing is done by any server, for each log by one at a time: it writes the one object, notes that it is there,
deletes the chunks and forgets their rows. It may be killed between any two of these, and another goes on from there.
"""

from __future__ import annotations

from typing import NamedTuple

from pipeseal.controlplane.store.database import Database, Transaction
from pipeseal.controlplane.store.logs import Interval, render_notice
from pipeseal.controlplane.store.objects import PIECE_BYTES, ObjectStore
from pipeseal.errors import Unavailable

_READ_BYTES = 256 * 1024
_ROWS = 16

# Values of jobs.log_packing; NULL where logs are files.
CHUNKS, PACKED, DONE = 0, 1, 2


class _Part(NamedTuple):
    """Where the bytes from some place of a log on are: in an object, or nowhere (`key` empty)."""

    key: str
    offset: int
    log: Interval


class LogObjects:
    """Logs in an object store. Methods block, and are called from several threads.

    Parameters:
        objects: where.
        database: knows which chunks there are.
    """

    # What `jobs.log_packing` is to be while chunks come in.
    packing: int | None = CHUNKS

    def __init__(self, objects: ObjectStore, database: Database) -> None:
        self._objects = objects
        self._database = database

    def write(self, job_id: str, start: int, data: bytes) -> None:
        """Write a chunk, durably.

        Raises:
            Unavailable: `server.store`.
        """
        if data:
            self._objects.put(_chunk_key(job_id, start, len(data)), data)

    def read(self, job_id: str, start: int, end: int) -> bytes:
        """Bytes of a log, at most 256 KiB at a time; fewer at its end.

        Raises:
            Unavailable: `server.store`.
        """
        end = min(end, start + _READ_BYTES)
        try:
            return self._read(job_id, start, end)
        except Unavailable:
            # A chunk may have been packed away between the look into the database and the look into the store.
            return self._read(job_id, start, end)

    def fill_holes(self, job_id: str, holes: list[Interval]) -> None:
        """Holes need no filling here: they are told apart when the log is read."""

    def pack(self, job_id: str) -> None:
        """Pack a closed log, or finish what another server began.

        Raises:
            Unavailable: `server.store`; it is to be tried again.
        """
        size, packing, chunks = self._database.read_now(lambda tx: _load_closed(tx, job_id))
        if packing == DONE:
            return
        if packing == CHUNKS:
            with self._objects.open_writer(_packed_key(job_id)) as writer:
                at, waiting = 0, bytearray()
                while at < size:
                    data = self._read(job_id, at, min(size, at + _READ_BYTES))
                    at += len(data)
                    waiting += data
                    if len(waiting) >= PIECE_BYTES or at >= size:
                        writer.write(bytes(waiting))
                        waiting.clear()
                writer.commit()
            if not self._database.submit(lambda tx: _set_packing(tx, job_id, PACKED)).result():
                self._objects.delete(_packed_key(job_id))  # the log was deleted meanwhile
        for chunk in chunks:
            self._objects.delete(_chunk_key(job_id, chunk.start, chunk.end - chunk.start))
        self._database.submit(lambda tx: _forget_chunks(tx, job_id)).result()

    def remove(self, job_id: str) -> None:
        """Remove what there is of a deleted log, but for the rows of its chunks; nothing happens when there is none.

        Raises:
            Unavailable: `server.store`; it is to be tried again.
        """
        for chunk in self._database.read_now(lambda tx: _load_chunks(tx, job_id)):
            self._objects.delete(_chunk_key(job_id, chunk.start, chunk.end - chunk.start))
        self._objects.delete(_packed_key(job_id))

    def _read(self, job_id: str, start: int, end: int) -> bytes:
        data = bytearray()
        for part in self._database.read_now(lambda tx: _find_parts(tx, job_id, start, end)):
            log_start, log_end = max(start, part.log.start), min(end, part.log.end)
            if part.key:
                offset = log_start - part.offset
                piece = self._objects.get_range(part.key, offset, offset + log_end - log_start)
            else:
                piece = render_notice(part.log, log_start, log_end)
            data += piece
            if len(piece) < log_end - log_start:
                break
        return bytes(data)


def _chunk_key(job_id: str, start: int, size: int) -> str:
    return f"logs/{job_id[-2:]}/{job_id}/{start}-{size}"


def _packed_key(job_id: str) -> str:
    return f"logs/{job_id[-2:]}/{job_id}.log"


def _find_parts(tx: Transaction, job_id: str, start: int, end: int) -> list[_Part]:
    """Where bytes `start` to `end` of a log are, in order; ends early where there is nothing, or after `_ROWS`."""
    job = tx.one("SELECT log_packing, log_bytes FROM jobs WHERE id = :id", id=job_id)
    if job is None:
        return []
    if job["log_packing"] in (PACKED, DONE):
        return [_Part(_packed_key(job_id), 0, Interval(0, job["log_bytes"]))]
    before = tx.one(
        "SELECT start_byte, size_bytes FROM log_chunks "
        "WHERE job_id = :id AND start_byte <= :start AND size_bytes > 0 ORDER BY start_byte DESC LIMIT 1",
        id=job_id,
        start=start,
    )
    after = tx.all(
        "SELECT start_byte, size_bytes FROM log_chunks "
        "WHERE job_id = :id AND start_byte > :start AND size_bytes > 0 ORDER BY start_byte LIMIT :rows",
        id=job_id,
        start=start,
        rows=_ROWS,
    )
    parts = []
    at = 0
    for row in [*([] if before is None else [before]), *after]:
        chunk = Interval(row["start_byte"], row["start_byte"] + row["size_bytes"])
        if chunk.start > at and chunk.start > start:
            parts.append(_Part("", 0, Interval(at, chunk.start)))  # a hole: reading waits for holes of open logs
        if chunk.end > start and chunk.start < end:
            parts.append(_Part(_chunk_key(job_id, chunk.start, row["size_bytes"]), chunk.start, chunk))
        at = chunk.end
        if at >= end:
            break
    return [part for part in parts if part.log.start < end and part.log.end > start]


def _load_closed(tx: Transaction, job_id: str) -> tuple[int, int, list[Interval]]:
    job = tx.one("SELECT log_packing, log_bytes FROM jobs WHERE id = :id AND finished_at IS NOT NULL", id=job_id)
    if job is None or job["log_packing"] is None:
        return 0, DONE, []
    return job["log_bytes"], job["log_packing"], _load_chunks(tx, job_id)


def _load_chunks(tx: Transaction, job_id: str) -> list[Interval]:
    rows = tx.all(
        "SELECT start_byte, size_bytes FROM log_chunks WHERE job_id = :id AND size_bytes > 0 ORDER BY start_byte",
        id=job_id,
    )
    return [Interval(row["start_byte"], row["start_byte"] + row["size_bytes"]) for row in rows]


def _set_packing(tx: Transaction, job_id: str, packing: int) -> int:
    """Note how far packing is; says of how many logs, 0 when it was deleted meanwhile."""
    return tx.run(
        "UPDATE jobs SET log_packing = :packing WHERE id = :id AND log_deleted_at IS NULL",
        packing=packing,
        id=job_id,
    )


def _forget_chunks(tx: Transaction, job_id: str) -> None:
    tx.run("DELETE FROM log_chunks WHERE job_id = :id", id=job_id)
    _set_packing(tx, job_id, DONE)
    tx.run("UPDATE jobs SET log_packing_until = NULL WHERE id = :id", id=job_id)


def has_unpacked(tx: Transaction, finished_before: int, now: int) -> bool:
    """Whether there is a log that `claim_packing` would take."""
    row = tx.one(
        "SELECT 1 AS one FROM jobs WHERE log_packing IN (0, 1) AND finished_at < :finished_before "
        "AND (log_packing_until IS NULL OR log_packing_until < :now) LIMIT 1",
        finished_before=finished_before,
        now=now,
    )
    return row is not None


def claim_packing(tx: Transaction, *, finished_before: int, now: int, until: int) -> str | None:
    """Take a closed log that is to be packed, so that no other server does before `until`; None when there is none.

    Parameters:
        finished_before: leave the logs of jobs alone that ended later: an agent may repeat its last chunk.
    """
    row = tx.one(
        "UPDATE jobs SET log_packing_until = :until WHERE id = (SELECT id FROM jobs WHERE log_packing IN (0, 1) "
        "AND finished_at < :finished_before AND (log_packing_until IS NULL OR log_packing_until < :now) "
        "ORDER BY finished_at LIMIT 1) RETURNING id",
        finished_before=finished_before,
        now=now,
        until=until,
    )
    return None if row is None else str(row["id"])

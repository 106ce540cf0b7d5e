"""Job logs: files in a local folder, written at the offset each chunk belongs to, never whole in memory.

What was acknowledged is durable: the bytes of a chunk are on disk (fdatasync) before its row is committed, and its
row before the agent hears. Chunks may come out of order and more than once; bytes once written are never changed.
Readers see the part without holes from the start; when a job ends with parts that never came, a visible notice of the
same length takes their place, so that offsets stay true.
"""

from __future__ import annotations

import os
from bisect import insort
from pathlib import Path
from typing import NamedTuple

from pipeseal.controlplane.store.database import Transaction
from pipeseal.errors import MalformedInput, Unavailable

_READ_BYTES = 256 * 1024
_MAX_STATES = 2_000


class Interval(NamedTuple):
    """Bytes `start` up to, not including, `end`."""

    start: int
    end: int


class Intervals:
    """Which bytes of one log are there: disjoint intervals in order, neighbours joined."""

    def __init__(self) -> None:
        self._intervals: list[Interval] = []

    def add(self, start: int, end: int) -> None:
        """Add bytes that `overlaps` said are new."""
        if start == end:
            return
        for index, interval in enumerate(self._intervals):
            if interval.end == start:
                start = interval.start
                self._intervals.pop(index)
                break
        for index, interval in enumerate(self._intervals):
            if interval.start == end:
                end = interval.end
                self._intervals.pop(index)
                break
        insort(self._intervals, Interval(start, end))

    def overlaps(self, start: int, end: int) -> bool:
        """Whether any byte of `start`..`end` is there already."""
        return any(start < interval.end and interval.start < end for interval in self._intervals)

    @property
    def contiguous(self) -> int:
        """How many bytes there are from the start without a hole."""
        return self._intervals[0].end if self._intervals and self._intervals[0].start == 0 else 0

    @property
    def end(self) -> int:
        """One past the last byte that is there."""
        return self._intervals[-1].end if self._intervals else 0

    def holes(self) -> list[Interval]:
        """The parts before `end` that are not there."""
        missing = []
        at = 0
        for interval in self._intervals:
            if interval.start > at:
                missing.append(Interval(at, interval.start))
            at = interval.end
        return missing


class LogState:
    """What is known of one unfinished log: chunks by sequence, and the bytes they cover.

    `claimed` are bytes that some request is writing; `arrived` those that are durable. `token_digest` is that of the
    token with which the agent that holds the job proved itself.
    """

    def __init__(self) -> None:
        self.chunks: dict[int, Interval] = {}
        self.claimed = Intervals()
        self.arrived = Intervals()
        self.in_flight: set[int] = set()
        self.sealed = False
        self.token_digest: str | None = None

    def claim(self, sequence: int, start: int, end: int) -> bool:
        """Claim a chunk for writing; False when the same chunk is there, or is just being written.

        Raises:
            MalformedInput: `log.conflict`, other bytes were sent under this number or for this place.
        """
        known = self.chunks.get(sequence)
        if known is not None:
            if known != (start, end):
                raise MalformedInput(
                    "log.conflict",
                    f"log chunk {sequence} covers bytes {known.start} to {known.end}, not {start} to {end}",
                )
            return False
        if self.sealed:
            raise MalformedInput("log.conflict", "the job has ended and its log is closed")
        if self.claimed.overlaps(start, end):
            raise MalformedInput("log.conflict", f"bytes {start} to {end} of the log were sent by another chunk")
        self.chunks[sequence] = Interval(start, end)
        self.claimed.add(start, end)
        self.in_flight.add(sequence)
        return True

    def merge(self, rows: LogState) -> None:
        """Take up chunks that were read from the database; those that are known, or being written here, stay."""
        for sequence, interval in rows.chunks.items():
            if sequence in self.chunks:
                continue
            self.chunks[sequence] = interval
            self.arrived.add(*interval)
            if not self.claimed.overlaps(*interval):  # else a write is under way here that the database will refuse
                self.claimed.add(*interval)

    def settle(self, sequence: int) -> None:
        """A claimed chunk is durable."""
        self.in_flight.discard(sequence)
        self.arrived.add(*self.chunks[sequence])

    def give_up(self, sequence: int) -> None:
        """A claimed chunk could not be written: forget it, so that it may be sent again."""
        self.in_flight.discard(sequence)
        del self.chunks[sequence]
        self.claimed = Intervals()
        for interval in self.chunks.values():
            self.claimed.add(*interval)


class LogStore:
    """Log files below one folder. Methods are called from several threads.

    Parameters:
        folder: made when missing.
    """

    # What `jobs.log_packing` is to be: files are never packed.
    packing: int | None = None

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, job_id: str) -> Path:
        """Where the log of a job is. The last characters of a job's id are random, so folders fill evenly."""
        return self._folder / job_id[-2:] / f"{job_id}.log"

    def write(self, job_id: str, start: int, data: bytes) -> None:
        """Write bytes at their place and wait until they are on disk.

        Raises:
            Unavailable: `server.store`.
        """
        path = self.path(job_id)
        try:
            try:
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except FileNotFoundError:
                path.parent.mkdir(exist_ok=True)
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                view = memoryview(data)
                while view:
                    written = os.pwrite(descriptor, view, start)
                    start += written
                    view = view[written:]
                os.fdatasync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise Unavailable(
                "server.store",
                f"the server could not store a part of the log: {error.strerror}",
                help="look at the disk of the server's data folder; the agent sends the part again",
            ) from error

    def read(self, job_id: str, start: int, end: int) -> bytes:
        """Bytes of a log, at most 256 KiB at a time; fewer at its end, none when there is no log."""
        try:
            descriptor = os.open(self.path(job_id), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return b""
        try:
            return os.pread(descriptor, max(0, min(end - start, _READ_BYTES)), start)
        finally:
            os.close(descriptor)

    def remove(self, job_id: str) -> None:
        """Remove a log, durably; nothing happens when there is none.

        Raises:
            Unavailable: `server.store`.
        """
        path = self.path(job_id)
        try:
            path.unlink()
            descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except FileNotFoundError:
            return
        except OSError as error:
            raise Unavailable(
                "server.store",
                f"the server could not remove a log: {error.strerror}",
                help="look at the disk of the server's data folder; the server tries again by itself",
            ) from error

    def fill_holes(self, job_id: str, holes: list[Interval]) -> None:
        """Write a notice into each part that never came.

        Raises:
            Unavailable: `server.store`.
        """
        for hole in holes:
            for at in range(hole.start, hole.end, _READ_BYTES):
                self.write(job_id, at, render_notice(hole, at, min(hole.end, at + _READ_BYTES)))


def render_notice(hole: Interval, start: int, end: int) -> bytes:
    """Bytes `start` to `end` of a log, inside a part of it that never came: a notice, then blanks."""
    notice = f"\n[{hole.end - hole.start} bytes of this log never reached the server]\n".encode()
    return notice[start - hole.start : end - hole.start].ljust(end - start)


class LogStates:
    """The logs of running jobs, in memory; after a restart each is read from its rows when first needed.

    Parameters:
        is_shared: other servers may be writing the same logs: memory alone is never enough, and is completed from the
            rows whenever a log is looked at.
    """

    def __init__(self, *, is_shared: bool = False) -> None:
        self._states: dict[str, LogState] = {}
        self._is_shared = is_shared

    def find(self, job_id: str) -> LogState | None:
        """The state of a log, when memory has it and nobody else can have changed it."""
        return None if self._is_shared else self._states.get(job_id)

    def recall(self, job_id: str) -> LogState | None:
        """What memory knows of a log, which may have grown since."""
        return self._states.get(job_id)

    def keep(self, job_id: str, state: LogState) -> LogState:
        """Remember a state; if there is another already, it is completed with this one, and is the one."""
        known = self._states.get(job_id)
        if known is state:
            return state
        if known is None:
            if self._is_shared and len(self._states) >= _MAX_STATES:
                self._drop_oldest()
            self._states[job_id] = state
            return state
        known.merge(state)
        return known

    def begin(self, job_id: str, token_digest: str) -> None:
        """A job has just begun, so nothing of its log is there yet, and nothing need be read to know that.

        Parameters:
            token_digest: of the agent that has it.
        """
        if not self._is_shared:
            self.keep(job_id, LogState()).token_digest = token_digest

    def _drop_oldest(self) -> None:
        """Make room: nobody tells this server of logs that end at another one."""
        idle = [job_id for job_id, state in self._states.items() if not state.in_flight]
        for job_id in idle[: _MAX_STATES // 2]:
            del self._states[job_id]

    def drop(self, job_id: str) -> None:
        """Forget a log whose job has ended."""
        self._states.pop(job_id, None)


def load_log_state(tx: Transaction, job_id: str, start: int = 0) -> LogState:
    """The state of a log from its rows.

    Parameters:
        start: leave out the chunks that begin before this byte.
    """
    state = LogState()
    rows = tx.all(
        "SELECT sequence, start_byte, size_bytes FROM log_chunks "
        "WHERE job_id = :job_id AND start_byte >= :start ORDER BY start_byte",
        job_id=job_id,
        start=start,
    )
    for row in rows:
        interval = Interval(row["start_byte"], row["start_byte"] + row["size_bytes"])
        state.chunks[row["sequence"]] = interval
        state.claimed.add(*interval)
        state.arrived.add(*interval)
    return state


def insert_chunk(
    tx: Transaction, job_id: str, sequence: int, start: int, size: int, *, packing: int | None = None
) -> None:
    """Record that a chunk is durable, and how far the log reaches.

    Parameters:
        packing: for `jobs.log_packing`, see `store.log_objects`.
    """
    tx.run(
        "INSERT INTO log_chunks (job_id, sequence, start_byte, size_bytes) "
        "VALUES (:job_id, :sequence, :start, :size) ON CONFLICT (job_id, sequence) DO NOTHING",
        job_id=job_id,
        sequence=sequence,
        start=start,
        size=size,
    )
    tx.run(
        "UPDATE jobs SET log_bytes = CASE WHEN log_bytes < :end THEN :end ELSE log_bytes END, log_packing = :packing "
        "WHERE id = :job_id",
        job_id=job_id,
        end=start + size,
        packing=packing,
    )


def insert_shared_chunk(
    tx: Transaction, job_id: str, sequence: int, start: int, size: int, *, packing: int | None = None
) -> None:
    """`insert_chunk` where other servers may be writing the same log: the rows decide what fits.

    Raises:
        MalformedInput: `log.conflict`: the job has ended, or other bytes came under this number or for this place.
    """
    # The job's row is locked first, so that chunks of one log, and its end, come one after the other.
    job = tx.run(
        "UPDATE jobs SET log_bytes = CASE WHEN log_bytes < :end THEN :end ELSE log_bytes END, log_packing = :packing "
        "WHERE id = :job_id AND finished_at IS NULL",
        job_id=job_id,
        end=start + size,
        packing=packing,
    )
    before = tx.one(
        "SELECT sequence, start_byte, size_bytes FROM log_chunks "
        "WHERE job_id = :job_id AND start_byte < :end AND size_bytes > 0 ORDER BY start_byte DESC LIMIT 1",
        job_id=job_id,
        end=start + size,
    )
    same = tx.one(
        "SELECT start_byte, size_bytes FROM log_chunks WHERE job_id = :job_id AND sequence = :sequence",
        job_id=job_id,
        sequence=sequence,
    )
    if same is not None and (same["start_byte"], same["size_bytes"]) == (start, size):
        return
    if not job:
        raise MalformedInput("log.conflict", "the job has ended and its log is closed")
    if same is not None:
        raise MalformedInput(
            "log.conflict", f"log chunk {sequence} covers other bytes than {start} to {start + size}"
        )
    if before is not None and before["start_byte"] + before["size_bytes"] > start:
        raise MalformedInput("log.conflict", f"bytes {start} to {start + size} of the log were sent by another chunk")
    tx.run(
        "INSERT INTO log_chunks (job_id, sequence, start_byte, size_bytes) "
        "VALUES (:job_id, :sequence, :start, :size)",
        job_id=job_id,
        sequence=sequence,
        start=start,
        size=size,
    )


def seal_log(tx: Transaction, job_id: str, missing: int) -> None:
    """The log is closed: keep how much of it is missing."""
    tx.run("UPDATE jobs SET log_missing_bytes = :missing WHERE id = :job_id", job_id=job_id, missing=missing)

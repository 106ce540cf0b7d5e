"""Writes that fail: each commit of the database, write of the object store and append of a log is one, counted.

Every write has twins. `LOST`: it fails and nothing is kept. `KEPT`: it is done, and who asked for it hears an error
all the same. They are made where the engines themselves commit, so whatever writes in future is covered.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from enum import Enum
from types import TracebackType
from typing import Any

import psycopg
import pytest

from pipeseal.controlplane.services.plane import ControlPlane
from pipeseal.controlplane.store import postgres
from pipeseal.controlplane.store.logs import LogStore
from pipeseal.controlplane.store.objects import ObjectStore, ObjectWriter, store_failed


class Twin(Enum):
    """How a write fails."""

    LOST = "fails and is lost"
    KEPT = "fails and is kept"


class Writes:
    """Counts the writes of a process, and lets some fail."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._number = 0
        self._first = self._every = 0
        self._twin = Twin.LOST
        self.struck: list[str] = []
        self.seen: list[str] = []

    def arm(self, twin: Twin, first: int, *, every: int = 0) -> None:
        """Count from one again, and let a write fail.

        Parameters:
            first: its number; 0 for none.
            every: and every so many after it.
        """
        with self._lock:
            self._number, self._twin, self._first, self._every = 0, twin, first, every
            self.struck, self.seen = [], []

    def strike(self) -> None:
        """Called at the moment at which a write fails, before who asked for it hears of that."""

    def next(self, what: str) -> Twin | None:
        """A write is about to happen: how it is to fail, or None."""
        with self._lock:
            self._number += 1
            self.seen.append(what)
            behind = self._number - self._first if self._first else -1
            if behind == 0 or (self._every and behind > 0 and behind % self._every == 0):
                self.struck.append(what)
                return self._twin
            return None


def break_sqlite(monkeypatch: pytest.MonkeyPatch, writes: Writes) -> None:
    """Let commits of SQLite fail, at the connection."""

    class Breaking(sqlite3.Connection):
        _writing = False

        def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
            if sql.startswith("BEGIN"):
                self._writing = sql == "BEGIN IMMEDIATE"
            if sql != "COMMIT" or not self._writing:
                return super().execute(sql, parameters)
            twin = writes.next("commit")
            if twin is not None:
                if twin is Twin.KEPT:
                    super().execute("COMMIT")
                writes.strike()
                if twin is Twin.LOST:
                    super().execute("ROLLBACK")
                raise sqlite3.OperationalError("disk I/O error")
            return super().execute(sql, parameters)

    real = sqlite3.connect

    def connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
        return real(*arguments, factory=Breaking, **options)

    monkeypatch.setattr(sqlite3, "connect", connect)


def break_postgresql(monkeypatch: pytest.MonkeyPatch, writes: Writes) -> None:
    """Let the connection to PostgreSQL break at commits: before PostgreSQL has it, or before its answer is back."""
    real = psycopg.Connection.execute

    def execute(self: psycopg.Connection[Any], query: Any, *arguments: Any, **options: Any) -> psycopg.Cursor[Any]:
        if isinstance(query, bytes) and query.startswith(b"BEGIN"):
            _reading[id(self)] = b"READ ONLY" in query
        if query != "COMMIT" or _reading.pop(id(self), False):
            return real(self, query, *arguments, **options)
        twin = writes.next("commit")
        if twin is not None:
            if twin is Twin.KEPT:
                real(self, query)
            self.close()
            raise psycopg.OperationalError("server closed the connection unexpectedly")
        return real(self, query, *arguments, **options)

    _reading: dict[int, bool] = {}
    monkeypatch.setattr(psycopg.Connection, "execute", execute)


def give_up_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let stores that are open not wait for PostgreSQL to come back, so that callers hear of what broke."""
    monkeypatch.setattr(postgres, "_RETRY_SECONDS", 0.0)


def break_files(plane: ControlPlane, writes: Writes) -> None:
    """Let writes of the object store and of log files fail."""
    plane.objects = BreakingObjects(plane.objects, writes)
    logs = plane.logs
    if isinstance(logs, LogStore):
        plane.logs = BreakingLogs(logs, writes)
    else:
        logs._objects = plane.objects


def _fail(twin: Twin | None, write: Callable[[], Any]) -> Any:
    if twin is Twin.LOST:
        raise store_failed("write", "Input/output error")
    result = write()
    if twin is Twin.KEPT:
        raise store_failed("write", "Input/output error")
    return result


class BreakingObjects:
    """An object store whose writes may fail.

    Parameters:
        objects: the real one.
        writes: counts.
    """

    def __init__(self, objects: ObjectStore, writes: Writes) -> None:
        self._objects = objects
        self._writes = writes

    def open_writer(self, key: str) -> BreakingWriter:
        return BreakingWriter(self._objects.open_writer(key), self._writes, key)

    def put(self, key: str, data: bytes) -> None:
        _fail(self._writes.next("object"), lambda: self._objects.put(key, data))

    def get_range(self, key: str, start: int, end: int) -> bytes:
        return self._objects.get_range(key, start, end)

    def size(self, key: str) -> int | None:
        return self._objects.size(key)

    def delete(self, key: str) -> None:
        _fail(self._writes.next("delete object"), lambda: self._objects.delete(key))

    def close(self) -> None:
        self._objects.close()


class BreakingWriter:
    """An object that is being written, and may fail to be put in place."""

    def __init__(self, writer: ObjectWriter, writes: Writes, key: str) -> None:
        self._writer = writer
        self._writes = writes
        self._key = key

    def write(self, data: bytes) -> None:
        self._writer.write(data)

    def commit(self) -> int:
        size = _fail(self._writes.next("object"), self._writer.commit)
        assert isinstance(size, int)
        return size

    def abort(self) -> None:
        self._writer.abort()

    def __enter__(self) -> BreakingWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()


class BreakingLogs(LogStore):
    """Log files whose appends may fail."""

    def __init__(self, logs: LogStore, writes: Writes) -> None:
        super().__init__(logs._folder)
        self._writes = writes

    def write(self, job_id: str, start: int, data: bytes) -> None:
        _fail(self._writes.next("log"), lambda: LogStore.write(self, job_id, start, data))

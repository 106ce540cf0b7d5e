"""The durable memory behind a small interface: `write` a transaction, `read` a snapshot.

One writer thread takes transactions from a queue and puts all that are waiting into one commit (group commit): with
`synchronous=FULL` a commit costs an fsync, so the price is paid once for many. Each caller hears of its result only
after the commit. A transaction that raises is undone alone, by its savepoint, and its error goes to its caller.
Readers have connections of their own and never wait for the writer (WAL).

SQL is written for both SQLite and PostgreSQL: `:name` parameters, TEXT and BIGINT, `RETURNING`.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from pipeseal.errors import ConfigurationError, Unavailable

T = TypeVar("T")

_MAX_GROUP = 256  # transactions in one commit: bounds how long the first of them waits
_READERS = 3


class Transaction:
    """What a transaction may do. Lives only inside the function given to `write` or `read`."""

    __slots__ = ("_connection", "_hooks")

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._hooks: list[Callable[[], None]] = []

    def all(self, sql: str, **parameters: Any) -> list[sqlite3.Row]:
        """Every row."""
        return self._connection.execute(sql, parameters).fetchall()

    def one(self, sql: str, **parameters: Any) -> sqlite3.Row | None:
        """The first row, or None."""
        row: sqlite3.Row | None = self._connection.execute(sql, parameters).fetchone()
        return row

    def run(self, sql: str, **parameters: Any) -> int:
        """Execute, and say how many rows were touched."""
        return self._connection.execute(sql, parameters).rowcount

    def many(self, sql: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Execute once for each mapping of parameters."""
        self._connection.executemany(sql, rows)

    def after_commit(self, hook: Callable[[], None]) -> None:
        """Call `hook` in the writer thread once this transaction is durable; never when it is undone."""
        self._hooks.append(hook)


class _Request:
    __slots__ = ("error", "function", "future", "hooks", "result")

    def __init__(self, function: Callable[[Transaction], Any], future: Future[Any]) -> None:
        self.function = function
        self.future = future
        self.hooks: list[Callable[[], None]] = []
        self.result: Any = None
        self.error: BaseException | None = None


class Database:
    """An SQLite file with one writer thread and a few reader threads.

    Parameters:
        path: the database file; made when missing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._queue: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._local = threading.local()
        self._reader_connections: list[sqlite3.Connection] = []
        self._writer = threading.Thread(target=self._write_loop, name="database-writer", daemon=True)
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="database-reader")
        self._closed = False
        self.commits = 0

    @classmethod
    def open(cls, path: Path) -> Database:
        """Open or make the database, bring it to the newest schema and start its threads.

        Parameters:
            path: the database file.

        Raises:
            ConfigurationError: `server.data`, the file cannot be used or is newer than this program.
        """
        database = cls(path)
        try:
            with closing(database._connect()) as connection:
                connection.execute("PRAGMA journal_mode = WAL")
                _migrate(connection)
        except sqlite3.Error as error:
            raise ConfigurationError(
                "server.data",
                f"cannot use the database {path}: {error}",
                help="give the server a data folder it can write, on a local disk",
            ) from error
        database._writer.start()
        return database

    def _connect(self) -> sqlite3.Connection:
        # The writer alone writes, so it never meets a lock; the timeout is for another program looking into the file.
        connection = sqlite3.connect(
            self._path, isolation_level=None, timeout=10, check_same_thread=False, cached_statements=512
        )
        connection.row_factory = sqlite3.Row
        try:
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def submit(self, function: Callable[[Transaction], T]) -> Future[T]:
        """Queue a writing transaction; the future is done when its commit is.

        Parameters:
            function: called in the writer thread with a `Transaction`.

        Raises (through the future):
            Unavailable: `server.store`, the commit failed; nothing of the transaction is kept.
        """
        future: Future[T] = Future()
        if self._closed:
            future.set_exception(_store_error("the database is closed"))
            return future
        self._queue.put(_Request(function, future))
        return future

    async def write(self, function: Callable[[Transaction], T]) -> T:
        """`submit`, awaited."""
        return await asyncio.wrap_future(self.submit(function))

    def read_now(self, function: Callable[[Transaction], T]) -> T:
        """Run a reading transaction in this thread, on one snapshot."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._connect()
            connection.execute("PRAGMA query_only = ON")
            self._reader_connections.append(connection)
        connection.execute("BEGIN")
        try:
            return function(Transaction(connection))
        finally:
            connection.execute("COMMIT")

    async def read(self, function: Callable[[Transaction], T]) -> T:
        """Run a reading transaction in a reader thread, on one snapshot."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self.read_now, function)

    def close(self) -> None:
        """Finish what is queued, then close. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        self._queue.put(None)
        self._writer.join()
        self._readers.shutdown(wait=True)
        for connection in self._reader_connections:
            connection.close()

    def _write_loop(self) -> None:
        connection = self._connect()
        stopping = False
        while not stopping:
            request = self._queue.get()
            group: list[_Request] = []
            while request is not None:
                group.append(request)
                if len(group) >= _MAX_GROUP:
                    break
                try:
                    request = self._queue.get_nowait()
                except queue.Empty:
                    break
            stopping = request is None
            if group:
                self._commit_group(connection, group)
        connection.close()

    def _commit_group(self, connection: sqlite3.Connection, group: Sequence[_Request]) -> None:
        try:
            connection.execute("BEGIN IMMEDIATE")
            for request in group:
                self._run_one(connection, request)
            connection.execute("COMMIT")
            self.commits += 1
        except sqlite3.Error as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            for request in group:
                request.error = request.error or _store_error(str(error))
                request.hooks = []
        for request in group:
            for hook in request.hooks:
                hook()
        for request in group:
            if not request.future.set_running_or_notify_cancel():
                continue  # nobody waits any more; what was committed stays
            if request.error is not None:
                request.future.set_exception(request.error)
            else:
                request.future.set_result(request.result)

    @staticmethod
    def _run_one(connection: sqlite3.Connection, request: _Request) -> None:
        transaction = Transaction(connection)
        connection.execute("SAVEPOINT one")
        try:
            request.result = request.function(transaction)
        except BaseException as error:  # (whatever it is belongs to the caller, not to this thread)
            request.error = _store_error(str(error)) if isinstance(error, sqlite3.OperationalError) else error
            connection.execute("ROLLBACK TO one")
        else:
            request.hooks = transaction._hooks
        connection.execute("RELEASE one")


def _store_error(reason: str) -> Unavailable:
    return Unavailable(
        "server.store",
        f"the server could not store this: {reason}",
        help="look at the disk of the server's data folder; repeat the request when it is well again",
    )


def _migrate(connection: sqlite3.Connection) -> None:
    """Apply the numbered files that the database has not seen, each in a transaction of its own."""
    connection.execute("CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL)")
    row = connection.execute("SELECT max(version) FROM schema_version").fetchone()
    current = row[0] or 0
    files = sorted(
        (
            entry
            for entry in resources.files(__package__).joinpath("migrations").iterdir()
            if entry.name.endswith(".sql")
        ),
        key=lambda entry: entry.name,
    )
    newest = int(files[-1].name.split("_")[0])
    if current > newest:
        raise ConfigurationError(
            "server.data",
            f"the database has schema {current}, this program knows only up to {newest}",
            help="run the newer Pipeseal that wrote it",
        )
    for entry in files:
        version = int(entry.name.split("_")[0])
        if version > current:
            # executescript commits first, so the transaction is spelled out inside the script.
            note = f"INSERT INTO schema_version (version) VALUES ({version})"  # noqa: S608  (our own number)
            connection.executescript(f"BEGIN; {entry.read_text('utf-8')}; {note}; COMMIT;")

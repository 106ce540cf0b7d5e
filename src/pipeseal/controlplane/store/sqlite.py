"""SQLite behind `Database`: one file, one writer connection, a few readers on snapshots (WAL)."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

from pipeseal.controlplane.store.database import Database, Request, Transaction, migrations_missing, store_error
from pipeseal.errors import ConfigurationError

T = TypeVar("T")

_READERS = 3


class SqliteTransaction(Transaction):
    """A transaction on an SQLite connection."""

    __slots__ = ("_connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__()
        self._connection = connection

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


class SqliteDatabase(Database):
    """An SQLite file.

    Parameters:
        path: the database file; made when missing.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(_READERS)
        self._path = path
        self._local = threading.local()
        self._writing: sqlite3.Connection | None = None
        self._reader_connections: list[sqlite3.Connection] = []

    @classmethod
    def open(cls, path: Path) -> SqliteDatabase:
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

    def read_now(self, function: Callable[[Transaction], T]) -> T:
        """Run a reading transaction in this thread, on one snapshot."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._connect()
            connection.execute("PRAGMA query_only = ON")
            self._reader_connections.append(connection)
        connection.execute("BEGIN")
        try:
            return function(SqliteTransaction(connection))
        finally:
            connection.execute("COMMIT")

    async def look(self, function: Callable[[Transaction], T]) -> T:
        """`read_now`: a reader never waits for the writer (WAL), and a row by its key is a page or two away."""
        if self.watch is None:
            return self.read_now(function)
        return await self.watch("read", function, self._now(function))

    async def _now(self, function: Callable[[Transaction], T]) -> T:
        return self.read_now(function)

    def _close_connections(self) -> None:
        for connection in self._reader_connections:
            connection.close()
        if self._writing is not None:
            self._writing.close()

    def _commit_group(self, group: Sequence[Request]) -> bool:
        connection = self._writing
        if connection is None:
            connection = self._writing = self._connect()
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
                request.error = request.error or store_error(str(error))
                request.hooks = ()
            return False
        return True

    @staticmethod
    def _run_one(connection: sqlite3.Connection, request: Request) -> None:
        transaction = SqliteTransaction(connection)
        connection.execute("SAVEPOINT one")
        try:
            request.result = request.function(transaction)
        except BaseException as error:  # (whatever it is belongs to the caller, not to this thread)
            request.error = store_error(str(error)) if isinstance(error, sqlite3.OperationalError) else error
            connection.execute("ROLLBACK TO one")
        else:
            request.hooks = transaction.hooks
        connection.execute("RELEASE one")


def _migrate(connection: sqlite3.Connection) -> None:
    """Apply the migrations that the database has not seen, each in a transaction of its own."""
    connection.execute("CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL)")
    rows = connection.execute("SELECT version FROM schema_version").fetchall()
    for version, sql in migrations_missing({row["version"] for row in rows}):
        # executescript commits first, so the transaction is spelled out inside the script.
        note = f"INSERT INTO schema_version (version) VALUES ({version})"  # noqa: S608  (our own number)
        connection.executescript(f"BEGIN; {sql}; {note}; COMMIT;")

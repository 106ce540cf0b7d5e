"""PostgreSQL behind `Database`: many servers on one database, with the same promises as SQLite.

Writing transactions stand in one line, over all servers: each group begins by taking an advisory lock, which
PostgreSQL lets go when the group ends or its server dies. So nothing is ever undone because two of them met, and what
holds on SQLite holds here. `write_apart` is for transactions on single rows that need no such line.

A group whose connection breaks is tried again. Broken before its commit, it is known to be undone; broken in the
middle of the commit, a row tells afterwards which of the two it was: each group writes its number there. (The number
that PostgreSQL gives a transaction does not tell: one that a crash undid leaves its number to the next.)
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from sqlite3 import Row
from typing import Any, TypeAlias, TypeVar, cast
from urllib.parse import urlsplit

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import DictRow, dict_row
from psycopg_pool import ConnectionPool, PoolTimeout

from pipeseal.controlplane.store.channel import Channel
from pipeseal.controlplane.store.database import Database, Request, Transaction, migrations_missing, store_error
from pipeseal.errors import ConfigurationError, MalformedInput

T = TypeVar("T")
Connection: TypeAlias = psycopg.Connection[DictRow]

_POOL = 8
# Keys of advisory locks, which belong to one database: any numbers that no other program uses there.
_WRITE_LOCK = 0x7069_7065_0001
_SCHEMA_LOCK = 0x7069_7065_0002
_RETRY_SECONDS = 10.0  # for which a database that went away may come back before callers hear of it
_RETRY_PAUSE = 0.1
# A server that hangs or is cut off must not keep the others waiting for ever, nor wait for ever itself.
_OPTIONS = "-c idle_in_transaction_session_timeout=15s -c lock_timeout=30s -c statement_timeout=60s -c timezone=UTC"
_NETWORK = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
    "application_name": "pipeseal",
}

# One transaction of a group ends and the next begins in one round trip; the last one ends with the group.
_FIRST_SAVEPOINT = b"SAVEPOINT one"
_NEXT_SAVEPOINT = b"RELEASE one; SAVEPOINT one"

# The database undid the transaction for reasons of its own, or the connection is gone.
_TRY_AGAIN = (psycopg.OperationalError, psycopg.InterfaceError)
_PARAMETER = re.compile(r"'(?:[^']|'')*'|(%)|(?<![:\w]):([a-z_][a-z0-9_]*)")


class PostgresTransaction(Transaction):
    """A transaction on a PostgreSQL connection."""

    __slots__ = ("_cursor",)

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        # Values are put into the text by the client: one round trip a statement, and NULL has no type to guess.
        self._cursor = psycopg.ClientCursor(connection)

    def all(self, sql: str, **parameters: Any) -> list[Row]:
        """Every row."""
        self._execute(sql, parameters)
        return cast("list[Row]", self._cursor.fetchall())

    def one(self, sql: str, **parameters: Any) -> Row | None:
        """The first row, or None."""
        self._execute(sql, parameters)
        return cast("Row | None", self._cursor.fetchone())

    def run(self, sql: str, **parameters: Any) -> int:
        """Execute, and say how many rows were touched."""
        self._execute(sql, parameters)
        return self._cursor.rowcount

    def many(self, sql: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Execute once for each mapping of parameters."""
        for row in rows:
            self._execute(sql, row)

    def _execute(self, sql: str, parameters: Mapping[str, Any]) -> None:
        try:
            self._cursor.execute(translate(sql).encode(), parameters)
        except psycopg.DataError as error:
            if not any(isinstance(value, str) and "\0" in value for value in parameters.values()):
                raise
            raise MalformedInput("request.malformed", "a text has a NUL character, which cannot be stored") from error


@lru_cache(maxsize=4096)
def translate(sql: str) -> str:
    """`:name` parameters as psycopg writes them, `%(name)s`; what stands in quotes is left as it is."""

    def rewrite(match: re.Match[str]) -> str:
        if match[2] is not None:
            return f"%({match[2]})s"
        return match[0].replace("%", "%%")

    return _PARAMETER.sub(rewrite, sql)


class PostgresDatabase(Database):
    """A PostgreSQL database, which other servers may share.

    Parameters:
        url: `postgresql://...`, or any connection string of libpq.
    """

    is_shared = True

    def __init__(self, url: str) -> None:
        super().__init__(_POOL)
        self._url = url
        self._name = secrets.token_hex(8)  # of this writer among all that the database has ever seen
        self._group = 0
        self._writing: Connection | None = None
        self._pool: ConnectionPool[Connection] = ConnectionPool(
            url,
            kwargs=connection_options(),
            connection_class=cast("type[Connection]", psycopg.Connection),
            min_size=1,
            max_size=_POOL,
            timeout=_RETRY_SECONDS,
            open=False,
            name="database",
        )

    @classmethod
    def open_url(cls, url: str) -> PostgresDatabase:
        """Connect, bring the database to the newest schema and start the threads.

        Parameters:
            url: `postgresql://user:password@host/database`.

        Raises:
            ConfigurationError: `server.data`, it cannot be reached or used, or is newer than this program.
        """
        database = cls(url)
        try:
            with database._connect() as connection:
                _migrate(connection)
        except psycopg.Error as error:
            raise ConfigurationError(
                "server.data",
                f"cannot use the database {_without_password(url)}: {' '.join(str(error).split())}",
                help="give the server a PostgreSQL database (13 or later) of which it is the owner",
            ) from error
        database._pool.open()
        database._writer.start()
        return database

    def _connect(self) -> Connection:
        return psycopg.connect(self._url, row_factory=dict_row, **_connection_settings())

    def open_channel(self, on_line: Callable[[str], None], on_gap: Callable[[], None]) -> Channel:
        """A channel to the other servers of this database; see `Channel`. It is to be started, and closed first."""
        return Channel(self._connect, on_line, on_gap)

    def read_now(self, function: Callable[[Transaction], T]) -> T:
        """Run a reading transaction in this thread, on one snapshot.

        Raises:
            Unavailable: `server.store`, the database cannot be reached.
        """
        return self._in_pool("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY", function)

    async def write_apart(self, function: Callable[[Transaction], T]) -> T:
        """Run a writing transaction that need not stand in line with the others, in a reader thread.

        Raises:
            Unavailable: `server.store`.
        """
        loop = asyncio.get_running_loop()
        result = loop.run_in_executor(self._readers, self._in_pool, "BEGIN", function)
        return await self._watched("write", function, result)

    def _in_pool(self, begin: str, function: Callable[[Transaction], T]) -> T:
        """Run a transaction that may be repeated, on a connection of the pool."""
        deadline = time.monotonic() + _RETRY_SECONDS
        while True:
            try:
                with self._pool.connection() as connection:
                    connection.execute(begin.encode())
                    try:
                        result = function(PostgresTransaction(connection))
                    except BaseException:
                        if connection.info.transaction_status is not TransactionStatus.UNKNOWN:
                            connection.execute("ROLLBACK")
                        raise
                    connection.execute("COMMIT")
                    return result
            except (*_TRY_AGAIN, PoolTimeout) as error:
                if time.monotonic() >= deadline or self._closed or not _may_pass(error):
                    raise store_error(_sentence(error)) from error
                time.sleep(_RETRY_PAUSE)

    def _close_connections(self) -> None:
        if self._writing is not None:
            self._writing.close()
        self._pool.close()

    def _commit_group(self, group: Sequence[Request]) -> bool:
        deadline = time.monotonic() + _RETRY_SECONDS
        in_doubt = False  # a commit broke: kept, or undone?
        self._group += 1
        while True:
            was_in_doubt = in_doubt
            for request in group:
                if not in_doubt:
                    request.clear()
            try:
                connection = self._writing
                if connection is None or connection.closed:
                    connection = self._writing = self._connect()
                if in_doubt:
                    kept = _was_committed(connection, self._name, self._group)
                    in_doubt = False
                    if not kept:
                        continue
                else:
                    _begin(connection, self._name, self._group)
                    savepoint = _FIRST_SAVEPOINT if len(group) > 1 else None
                    for request in group:
                        _run_one(connection, request, savepoint)
                        savepoint = _NEXT_SAVEPOINT
                    if connection.info.transaction_status is TransactionStatus.INERROR:
                        # COMMIT would undo it and say nothing.
                        raise psycopg.InternalError("an error inside a transaction was passed over")
                    if connection.info.transaction_status is TransactionStatus.INTRANS:
                        in_doubt = True
                        connection.execute("COMMIT")
                        in_doubt = False
                self.commits += 1
                return True
            except psycopg.Error as error:
                if in_doubt and not was_in_doubt and not self._is_gone():
                    in_doubt = False  # the database itself said no to the commit
                self._roll_back()
                again = isinstance(error, _TRY_AGAIN) and _may_pass(error)
                if time.monotonic() >= deadline or not again:
                    for request in group:
                        request.error = request.error or store_error(_sentence(error))
                        request.hooks = ()
                    return False
                time.sleep(_RETRY_PAUSE)

    def _is_gone(self) -> bool:
        return self._writing is None or self._writing.closed

    def _roll_back(self) -> None:
        connection = self._writing
        if connection is None:
            return
        try:
            if not connection.closed and connection.info.transaction_status is not TransactionStatus.IDLE:
                connection.execute("ROLLBACK")
        except psycopg.Error:
            connection.close()
        if connection.closed:
            self._writing = None


def _connection_settings() -> dict[str, Any]:
    return {"autocommit": True, "options": _OPTIONS, **_NETWORK}


def connection_options() -> dict[str, Any]:
    """How every connection of this program is made."""
    return {"row_factory": dict_row, **_connection_settings()}


def _begin(connection: Connection, name: str, group: int) -> None:
    """Begin a group, once all earlier groups of all servers are done.

    Parameters:
        name: of the writer.
        group: the number that it gave the group.
    """
    # One round trip; name and number are this program's own.
    connection.execute(
        f"BEGIN; SELECT pg_advisory_xact_lock({_WRITE_LOCK}); "  # noqa: S608
        f"INSERT INTO writers (name, last_group, moment) VALUES ('{name}', {group}, now()) ON CONFLICT (name) "
        "DO UPDATE SET last_group = EXCLUDED.last_group, moment = EXCLUDED.moment".encode()
    )


def _run_one(connection: Connection, request: Request, savepoint: bytes | None) -> None:
    """Run one transaction of a group. What the database undid for its own reasons is raised, for the whole group.

    Parameters:
        savepoint: sets the place to go back to; None when the transaction is the only one.
    """
    if savepoint is not None:
        connection.execute(savepoint)
    transaction = PostgresTransaction(connection)
    try:
        request.result = request.function(transaction)
    except BaseException as error:  # (whatever it is belongs to the caller, not to this thread)
        if isinstance(error, _TRY_AGAIN) and (connection.closed or _may_pass(error)):
            raise
        request.error = store_error(_sentence(error)) if isinstance(error, _TRY_AGAIN) else error
        connection.execute("ROLLBACK" if savepoint is None else "ROLLBACK TO one")
    else:
        request.hooks = transaction.hooks


def _was_committed(connection: Connection, name: str, group: int) -> bool:
    """What became of a group whose connection broke while it was being committed."""
    with connection.transaction():
        # It holds the lock for as long as it is in progress.
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_WRITE_LOCK,))
        row = connection.execute("SELECT last_group FROM writers WHERE name = %s", (name,)).fetchone()
    return row is not None and row["last_group"] == group


def _may_pass(error: psycopg.Error | PoolTimeout) -> bool:
    """Whether trying again may help: a lost connection, a conflict, a database that is starting or stopping."""
    code = getattr(error, "sqlstate", None)
    # SQLSTATE classes 08 connection, 40 rollback, 57 intervention (57014 is a statement that took too long)
    return code is None or (code[:2] in ("08", "40", "57") and code != "57014")


def _sentence(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    host = parts.hostname or ""
    return f"postgresql://{host}{parts.path}"


def _migrate(connection: Connection) -> None:
    """Apply the migrations that the database has not seen; only one server does so at a time."""
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_SCHEMA_LOCK,))
        connection.execute("CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL)")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS writers "
            "(name TEXT PRIMARY KEY, last_group BIGINT NOT NULL, moment TIMESTAMPTZ NOT NULL)"
        )
        # Who asks what became of a group does so within seconds.
        connection.execute("DELETE FROM writers WHERE moment < now() - interval '1 day'")
        rows = connection.execute("SELECT version FROM schema_version").fetchall()
        for version, sql in migrations_missing({row["version"] for row in rows}):
            connection.execute(sql.encode())
            connection.execute("INSERT INTO schema_version (version) VALUES (%s)", (version,))

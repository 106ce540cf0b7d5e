"""A ledger in PostgreSQL, for the agents of a queue on several machines."""

from __future__ import annotations

import re
from typing import Any, Final, TypeAlias

import psycopg

from pipeseal.agent.ledger.ledger import PATIENCE_SECONDS, Ledger, NewStart, Seen, Start
from pipeseal.agent.ledger.rows import (
    DROP,
    DROPPED,
    INSERT,
    NOTE_DROP,
    OF_JOB,
    OF_PLACE,
    SCHEMA_VERSION,
    WITHDRAW,
    schema,
)
from pipeseal.errors import ConfigurationError, Unavailable, VerificationError

Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]

# Key of an advisory lock, which belongs to one database: any number that no other program uses there.
_SCHEMA_LOCK: Final = 0x7069_7065_0003
# What is committed has to outlive the database server; and no agent waits for ever for one that hangs.
_OPTIONS: Final = "-c synchronous_commit=on -c statement_timeout=5s -c lock_timeout=5s -c timezone=UTC"
_NETWORK: Final[dict[str, Any]] = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "application_name": "pipeseal-ledger",
}
# The database is away, is busy, or undid the statement for reasons of its own.
_TRANSIENT: Final = (psycopg.OperationalError, psycopg.InterfaceError)
_PARAMETER: Final = re.compile(r":([a-z_]+)")


class PostgresLedger(Ledger):
    """Tables in a PostgreSQL database; the first agent makes them.

    Parameters:
        url: `postgresql://...`; may hold a password.
        patience_seconds: see `Ledger`.

    Raises:
        ConfigurationError: `config.value`, no address; `ledger.unavailable`, nobody answers, or the user may not make
            the tables; `ledger.damaged`, they are of a newer version.

    Attributes:
        is_new: whether this agent made the tables just now.
    """

    def __init__(self, url: str, *, patience_seconds: float = PATIENCE_SECONDS) -> None:
        super().__init__(_shown(url), patience_seconds=patience_seconds)
        self._url = url
        self._connection: Connection | None = None
        try:
            self.is_new = self._prepare()
        except ConfigurationError:
            self.close()
            raise
        except psycopg.Error as error:
            self.close()
            raise ConfigurationError(
                "ledger.unavailable",
                f"the ledger {self.where} cannot be opened: {_words(error)}",
                help="check the address, user and password of the ledger setting, and that the user may make tables",
            ) from None

    def _connected(self) -> Connection:
        connection = self._connection
        if connection is not None and (connection.closed or connection.broken):
            connection.close()
            connection = None
        if connection is None:
            connection = self._connection = psycopg.connect(
                self._url, autocommit=True, options=_OPTIONS, prepare_threshold=2, **_NETWORK
            )
        return connection

    def _prepare(self) -> bool:
        connection = self._connected()
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", [_SCHEMA_LOCK])
            ((there,),) = connection.execute("SELECT to_regclass('pipeseal_ledger') IS NOT NULL").fetchall()
            if not there:
                connection.execute(schema("BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY").encode())
                return True
            ((version,),) = connection.execute("SELECT version FROM pipeseal_ledger").fetchall()
        if version != SCHEMA_VERSION:
            raise ConfigurationError(
                "ledger.damaged",
                f"the ledger {self.where} is of version {version}, and this program knows {SCHEMA_VERSION}",
                help="give all agents that share a ledger the same version",
            )
        return False

    def insert(self, row: NewStart) -> Start | None:
        """See `Ledger`."""
        found = self._all(_INSERT, **row._asdict())
        return found[0] if found else None

    def withdraw(self, start: Start) -> None:
        """See `Ledger`."""
        try:
            with self._lock:
                self._connected().execute(_WITHDRAW, start._asdict())
        except psycopg.Error as error:
            raise self._translate(error) from None

    def look(self, place: str, job_id: str) -> Seen:
        """See `Ledger`."""
        # Three snapshots: a row that comes in between makes a refusal that is as right as a moment later.
        dropped = self._dropped()
        same = self._all(_OF_JOB, job_id=job_id)
        return Seen(tuple(self._all(_OF_PLACE, place=place)), same[0] if same else None, dropped)

    def _dropped(self) -> int:
        try:
            ((dropped,),) = self._connected().execute(DROPPED).fetchall()
        except (psycopg.Error, ValueError) as error:
            raise self._translate(error) from None
        return int(dropped)

    def drop(self, until: int, limit: int) -> int:
        """See `Ledger`."""
        try:
            connection = self._connected()
            with connection.transaction():
                connection.execute(_NOTE_DROP, {"until": until})
                return connection.execute(_DROP, {"until": until, "limit": limit}).rowcount
        except psycopg.Error as error:
            raise self._translate(error) from None

    def close(self) -> None:
        """See `Ledger`."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()

    def _all(self, sql: bytes, **parameters: Any) -> list[Start]:
        try:
            return [Start(*row) for row in self._connected().execute(sql, parameters).fetchall()]
        except psycopg.Error as error:
            raise self._translate(error) from None

    def _translate(self, error: Exception) -> Unavailable | VerificationError:
        if isinstance(error, _TRANSIENT):
            if self._connection is not None and not isinstance(error, psycopg.errors.QueryCanceled):
                self._connection.close()
            return self.unavailable(_words(error))
        return self.damaged(_words(error))


def _translated(sql: str) -> bytes:
    """`:name` parameters as psycopg writes them."""
    return _PARAMETER.sub(r"%(\1)s", sql).encode()


_INSERT, _OF_PLACE, _OF_JOB = _translated(INSERT), _translated(OF_PLACE), _translated(OF_JOB)
_NOTE_DROP, _DROP, _WITHDRAW = _translated(NOTE_DROP), _translated(DROP), _translated(WITHDRAW)


def _words(error: Exception) -> str:
    """The first line of what the library says; a URL in it could hold a password, so only what it says of hosts."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]


def _shown(url: str) -> str:
    """Where the database is, without user, password or options."""
    try:
        parts = psycopg.conninfo.conninfo_to_dict(url)
    except psycopg.Error:
        # What the library says of it would hold all of it.
        raise ConfigurationError(
            "config.value",
            "ledger is an address that PostgreSQL's library cannot read",
            help="write it as postgresql://USER:PASSWORD@HOST/DATABASE, with special characters as %XX",
        ) from None
    host, port, name = (str(parts.get(key) or "") for key in ("host", "port", "dbname"))
    return f"postgresql://{host or 'localhost'}{f':{port}' if port else ''}/{name}"

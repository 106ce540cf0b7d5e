"""A ledger in a file, for all agents of a machine that name the same one."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, Final

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
from pipeseal.errors import ConfigurationError, PipesealError
from pipeseal.policy.files import check_only_ours

# "pslg" in ASCII; says of the file whose it is (https://www.sqlite.org/fileformat2.html section 1.3.5).
APPLICATION_ID: Final = 0x70736C67
_BUSY_SECONDS: Final = 5.0
# Primary result codes after which trying again may help; with all others the file is not what it was.
_TRANSIENT: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_INTERRUPT,
    }
)


class SqliteLedger(Ledger):
    """An SQLite file. A start that is claimed survives a power cut (WAL, `synchronous = FULL`).

    Parameters:
        path: the file; made, with its folder, when it is not there.
        patience_seconds: see `Ledger`.

    Raises:
        ConfigurationError: `ledger.permissions`, others can read or change it; `ledger.unavailable`, it cannot be
            made; `ledger.damaged`, it is something else, or of a newer version.

    Attributes:
        is_new: whether this agent made it just now: what was started before, it does not know.
    """

    def __init__(self, path: Path, *, patience_seconds: float = PATIENCE_SECONDS) -> None:
        super().__init__(str(path), patience_seconds=patience_seconds)
        self._path = path
        try:
            self.is_new = _make_file(path)
            self._check_private()
            self._connection = self._open()
        except OSError as error:
            raise _cannot_open(path, error.strerror or type(error).__name__) from None
        except sqlite3.Error as error:
            translated = self._translate(error)
            raise ConfigurationError(translated.code, translated.message, help=translated.help) from None
        self._identity = _identity_of(path)

    def _check_private(self) -> None:
        check_only_ours(self._path, "ledger.permissions")
        status = self._path.stat()
        if status.st_uid != os.geteuid() or status.st_mode & 0o077:
            raise ConfigurationError(
                "ledger.permissions",
                f"the ledger {self._path} belongs to another user, or others can read it",
                help=f"chown it to uid {os.geteuid()}, and chmod 600 {self._path}",
            )

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, isolation_level=None, timeout=_BUSY_SECONDS, check_same_thread=False, cached_statements=32
        )
        try:
            _prepare(connection, self._path)
        except BaseException:
            connection.close()
            raise
        return connection

    def insert(self, row: NewStart) -> Start | None:
        """See `Ledger`."""
        try:
            self._check_identity()
            found = self._connection.execute(INSERT, row._asdict()).fetchall()
        except (sqlite3.Error, OSError) as error:
            raise self._translate(error) from None
        return Start(*found[0]) if found else None

    def withdraw(self, start: Start) -> None:
        """See `Ledger`."""
        try:
            self._check_identity()
            with self._lock:
                self._connection.execute(WITHDRAW, start._asdict())
        except (sqlite3.Error, OSError) as error:
            raise self._translate(error) from None

    def look(self, place: str, job_id: str) -> Seen:
        """See `Ledger`."""
        try:
            self._check_identity()
            self._connection.execute("BEGIN")
            try:
                starts = self._all(OF_PLACE, place=place)
                same = self._all(OF_JOB, job_id=job_id)
                ((dropped,),) = self._connection.execute(DROPPED).fetchall()
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("COMMIT")
        except (sqlite3.Error, OSError, ValueError) as error:
            raise self._translate(error) from None
        return Seen(tuple(starts), same[0] if same else None, dropped)

    def drop(self, until: int, limit: int) -> int:
        """See `Ledger`."""
        connection = self._connection
        try:
            self._check_identity()
            connection.execute("BEGIN IMMEDIATE")
            try:
                connection.execute(NOTE_DROP, {"until": until})
                count = connection.execute(DROP, {"until": until, "limit": limit}).rowcount
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        except (sqlite3.Error, OSError) as error:
            raise self._translate(error) from None
        return count

    def close(self) -> None:
        """See `Ledger`."""
        with self._lock:
            self._connection.close()

    def _all(self, sql: str, **parameters: Any) -> list[Start]:
        return [Start(*row) for row in self._connection.execute(sql, parameters).fetchall()]

    def _check_identity(self) -> None:
        """A file that was removed or replaced is still open here, and no other agent would see what is written."""
        try:
            now = _identity_of(self._path)
        except FileNotFoundError:
            raise self.damaged("the file was removed while the agent used it") from None
        if now != self._identity:
            raise self.damaged("another file was put in its place while the agent used it")

    def _translate(self, error: Exception) -> PipesealError:
        code = getattr(error, "sqlite_errorcode", None)
        # https://www.sqlite.org/rescode.html: the lowest eight bits are the primary result code.
        if isinstance(error, OSError) or (code is not None and code & 0xFF in _TRANSIENT):
            return self.unavailable(str(error))
        return self.damaged(str(error))


def _make_file(path: Path) -> bool:
    """An empty file for its owner alone, if there is none yet; whether there was none.

    Never opened here once SQLite has it: closing any descriptor of a file drops the locks that SQLite holds on it.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        return False
    return True


def _identity_of(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Make an empty file a ledger, and see that any other one is.

    The first of several agents that start together makes it; the others wait for that (`BEGIN IMMEDIATE`).
    """
    connection.execute("PRAGMA synchronous = FULL")
    with closing(connection.execute("PRAGMA journal_mode = WAL")) as answer:
        answer.fetchall()
    connection.execute("BEGIN IMMEDIATE")
    try:
        ((application,),) = connection.execute("PRAGMA application_id").fetchall()
        ((tables,),) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
        if application == 0 and tables == 0:
            for statement in schema("INTEGER PRIMARY KEY AUTOINCREMENT").split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        elif application != APPLICATION_ID:
            raise _not_ours(path, "it is a database of something else")
        else:
            ((version,),) = connection.execute("SELECT version FROM pipeseal_ledger").fetchall()
            if version != SCHEMA_VERSION:
                raise _not_ours(path, f"it is of version {version}, and this program knows {SCHEMA_VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _not_ours(path: Path, why: str) -> ConfigurationError:
    return ConfigurationError(
        "ledger.damaged",
        f"{path} is not a ledger that this program can use: {why}",
        help="name another file with the ledger setting",
    )


def _cannot_open(path: Path, why: str) -> ConfigurationError:
    return ConfigurationError(
        "ledger.unavailable",
        f"the ledger {path} cannot be opened: {why}",
        help="name a file with the ledger setting that this user can write, on a local disk",
    )

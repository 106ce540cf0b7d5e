"""What was granted: one upload for each job, remembered on disk before anything is signed.

The capability itself is never stored, only its digest; and what a job was granted for stays in memory, so that a
signer that starts again knows what was used and grants nothing of what it has forgotten.
"""

from __future__ import annotations

import secrets
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from pipeseal.agentapi.job import Job
from pipeseal.errors import Unavailable, VerificationError
from pipeseal.policy.facts import LocalFacts

CAPABILITY_BYTES = 32
# How long it is remembered that a job has uploaded; no job is that old.
KEEP_SECONDS = 90 * 86_400

_SCHEMA = """
CREATE TABLE IF NOT EXISTS granted (
    job_id TEXT PRIMARY KEY,
    capability TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL CHECK (state IN ('open', 'used', 'ended')),
    changed_at REAL NOT NULL
) STRICT
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a job may have signed once.

    Parameters:
        job: the job, as the server sent it; it is judged again when it asks.
        local: what its supervisor knows of the agent.
        expires: seconds since 1970.
    """

    job: Job
    local: LocalFacts
    expires: float


class GrantBook:
    """All grants of a signer.

    Parameters:
        path: the database; its folder is the signer's alone.
        now: seconds since 1970.

    Raises:
        Unavailable: `signer.state`: it cannot be opened.
    """

    def __init__(self, path: Path, now: Callable[[], float]) -> None:
        self._path = path
        self._now = now
        self._lock = threading.Lock()
        self._open: dict[str, Grant] = {}
        with self._guarded() as database:
            database.execute(_SCHEMA)
            database.execute("DELETE FROM granted WHERE changed_at < ?", (now() - KEEP_SECONDS,))
            # Grants of an earlier life were in its memory: nobody can use them any more.
            database.execute("UPDATE granted SET state = 'ended' WHERE state = 'open'")

    def grant(self, job_id: str, grant: Grant) -> str:
        """A new capability for a job; an older one that was not used is worth nothing from now on.

        Parameters:
            job_id: the job that the agent accepted.
            grant: what for.

        Raises:
            VerificationError: `signer.used`: this job has uploaded already.
            Unavailable: `signer.state`.
        """
        capability = secrets.token_urlsafe(CAPABILITY_BYTES)
        digest = _digest(capability)
        with self._lock:
            with self._guarded() as database:
                row = database.execute("SELECT capability, state FROM granted WHERE job_id = ?", (job_id,)).fetchone()
                if row is not None and row[1] == "used":
                    raise _used()
                database.execute(
                    "INSERT INTO granted VALUES (?, ?, 'open', ?) ON CONFLICT (job_id) DO UPDATE SET "
                    "capability = excluded.capability, state = 'open', changed_at = excluded.changed_at",
                    (job_id, digest, self._now()),
                )
            if row is not None:
                self._open.pop(row[0], None)
            # Those of agents that died without a word.
            for old in [old for old, other in self._open.items() if other.expires < self._now()]:
                del self._open[old]
            self._open[digest] = grant
        return capability

    def use(self, capability: str, job_id: str) -> Grant:
        """What a capability was granted for; it is used from now on, whatever comes of it.

        Parameters:
            capability: as the job shows it.
            job_id: the job that shows it.

        Raises:
            VerificationError: `signer.unknown`: it was never granted; `signer.other_job`: to another job;
                `signer.used`: it was used before; `signer.ended`: its job is over, or its time.
            Unavailable: `signer.state`.
        """
        digest = _digest(capability)
        with self._lock, self._guarded() as database:
            row = database.execute("SELECT job_id, state FROM granted WHERE capability = ?", (digest,)).fetchone()
            if row is None:
                raise VerificationError(
                    "signer.unknown",
                    "the signer has granted this job no upload",
                    help="only an upload step that the policy and the signer's file allow may upload, and only once",
                )
            if row[0] != job_id:
                raise VerificationError(
                    "signer.other_job", "the upload was granted to another job", evidence={"job": job_id[:100]}
                )
            if row[1] == "used":
                raise _used()
            grant = self._open.pop(digest, None)
            if row[1] == "ended" or grant is None or not self._now() <= grant.expires:
                raise VerificationError(
                    "signer.ended",
                    "the upload was granted to a job that is over, or the signer was started again since",
                    help="run the job again",
                )
            database.execute(
                "UPDATE granted SET state = 'used', changed_at = ? WHERE capability = ?", (self._now(), digest)
            )
        return grant

    def revoke(self, job_id: str) -> None:
        """The job is over.

        Raises:
            Unavailable: `signer.state`; it cannot be used all the same.
        """
        with self._lock:
            gone = [digest for digest, grant in self._open.items() if grant.local.job_id == job_id]
            for digest in gone:
                del self._open[digest]
            if not gone:
                return
            with self._guarded() as database:
                database.execute(
                    "UPDATE granted SET state = 'ended', changed_at = ? WHERE job_id = ? AND state = 'open'",
                    (self._now(), job_id),
                )

    def _guarded(self) -> _Database:
        return _Database(self._path)


class _Database:
    """A connection for one change: committed and on the disk when its `with` ends well, else taken back."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> sqlite3.Connection:
        try:
            self._connection = sqlite3.connect(self._path, timeout=10.0, isolation_level=None)
        except sqlite3.Error as error:
            raise self._failed(error) from None
        try:
            # A commit is on the disk before anything is signed, so that no crash makes new what was used.
            self._connection.execute("PRAGMA synchronous = EXTRA")
            self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            self._connection.close()
            raise self._failed(error) from None
        return self._connection

    def __exit__(self, kind: object, error: BaseException | None, _trace: object) -> None:
        with closing(self._connection):
            if error is None:
                try:
                    self._connection.execute("COMMIT")
                except sqlite3.Error as fault:
                    raise self._failed(fault) from None
        if isinstance(error, sqlite3.Error):
            raise self._failed(error) from None

    def _failed(self, error: sqlite3.Error) -> Unavailable:
        return Unavailable(
            "signer.state",
            f"the signer cannot write down what it grants in {self._path}: {error}",
            help="check the disk, and that the folder is the signer's; until then nothing is signed",
        )


def _digest(capability: str) -> str:
    return sha256(capability.encode("utf-8", "surrogatepass")).hexdigest()


def _used() -> VerificationError:
    return VerificationError(
        "signer.used",
        "this job has uploaded already: what it was granted was good once",
        help="upload everything in one call; to try again, run the job again",
    )

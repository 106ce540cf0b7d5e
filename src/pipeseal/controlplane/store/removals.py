"""Deleted logs and artifacts in the database: marked at once, and their bytes noted until they are removed too."""

from __future__ import annotations

from sqlite3 import Row
from typing import Final

from pipeseal.controlplane.store.database import Transaction
from pipeseal.controlplane.store.log_objects import CHUNKS, PACKED

LOG: Final = "log"
ARTIFACT: Final = "artifact"


def mark_log_deleted(tx: Transaction, job: Row, *, by: str, now: int) -> None:
    """A closed log is deleted: it has no bytes any more, and nobody packs it.

    Parameters:
        job: its job, which has ended for good.
        by: who deletes it, for people.
    """
    tx.run(
        "UPDATE jobs SET log_bytes = 0, log_missing_bytes = 0, log_packing = NULL, log_deleted_at = :now, "
        "log_deleted_by = :by WHERE id = :id",
        id=job["id"],
        by=by,
        now=now,
    )
    # A server may be packing it right now, and would put an object in place behind the one who removes them.
    packing = job["log_packing"] in (CHUNKS, PACKED) and job["log_packing_until"] is not None
    _insert(tx, LOG, job["id"], max(now, job["log_packing_until"]) if packing else now)


def mark_artifact_deleted(tx: Transaction, artifact_id: str, *, by: str, now: int) -> None:
    """An artifact is deleted.

    Parameters:
        by: who deletes it, for people.
    """
    tx.run(
        "UPDATE artifacts SET state = 'deleted', deleted_at = :now, deleted_by = :by WHERE id = :id",
        id=artifact_id,
        by=by,
        now=now,
    )
    _insert(tx, ARTIFACT, artifact_id, now)


def _insert(tx: Transaction, kind: str, removed_id: str, due_at: int) -> None:
    tx.run(
        "INSERT INTO removals (id, kind, due_at) VALUES (:id, :kind, :due_at)",
        id=removed_id,
        kind=kind,
        due_at=due_at,
    )


def due_removals(tx: Transaction, now: int, *, limit: int) -> list[Row]:
    """What is to be removed, the oldest first: `id` of a job or an artifact, and `kind`."""
    return tx.all(
        "SELECT id, kind FROM removals WHERE due_at <= :now ORDER BY due_at, id LIMIT :limit", now=now, limit=limit
    )


def end_removal(tx: Transaction, kind: str, removed_id: str) -> None:
    """The bytes are gone."""
    if kind == LOG:
        tx.run("DELETE FROM log_chunks WHERE job_id = :id", id=removed_id)
    tx.run("DELETE FROM removals WHERE id = :id", id=removed_id)

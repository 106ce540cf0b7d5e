"""Deleted logs and artifacts in the database: marked at once, and their bytes noted until they are removed too."""

from __future__ import annotations

from sqlite3 import Row
from typing import Final

from pipeseal.controlplane.store.database import Transaction

LOG: Final = "log"
ARTIFACT: Final = "artifact"


def mark_log_deleted(tx: Transaction, job_id: str, *, by: str, now: int) -> None:
    """A closed log is deleted: it has no bytes any more, and nobody packs it. Nothing happens when it was before.

    Parameters:
        job_id: its job, which has ended for good.
        by: who deletes it, for people.
    """
    marked = tx.one(
        "UPDATE jobs SET log_bytes = 0, log_missing_bytes = 0, log_packing = NULL, log_deleted_at = :now, "
        "log_deleted_by = :by WHERE id = :id AND log_deleted_at IS NULL RETURNING log_packing_until",
        id=job_id,
        by=by,
        now=now,
    )
    if marked is not None:
        # A server may be packing it until then, and would put an object in place behind the one who removes them.
        _insert(tx, LOG, job_id, max(now, marked["log_packing_until"] or now))


def mark_artifact_deleted(tx: Transaction, artifact_id: str, *, by: str, now: int) -> None:
    """An artifact is deleted. Nothing happens when it was before.

    Parameters:
        by: who deletes it, for people.
    """
    marked = tx.run(
        "UPDATE artifacts SET state = 'deleted', deleted_at = :now, deleted_by = :by "
        "WHERE id = :id AND deleted_at IS NULL",
        id=artifact_id,
        by=by,
        now=now,
    )
    if marked:
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

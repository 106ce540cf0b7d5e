"""Artifacts in the database: what is known of each file; their bytes are in the object store."""

from __future__ import annotations

from collections.abc import Iterable
from sqlite3 import Row
from typing import Any

from pipeseal.controlplane.store.database import Transaction


def insert_artifacts(tx: Transaction, rows: Iterable[dict[str, Any]]) -> None:
    """Insert artifacts in state `new`; the members are the columns of the table up to `part_count`, `created_at`."""
    tx.many(
        "INSERT INTO artifacts (id, build_id, job_id, batch_id, position, state, path, absolute_path, glob_path, "
        "content_type, file_size, sha1sum, sha256sum, upload_destination, url, part_count, is_stored, created_at) "
        "VALUES (:id, :build_id, :job_id, :batch_id, :position, 'new', :path, :absolute_path, :glob_path, "
        ":content_type, :file_size, :sha1sum, :sha256sum, :upload_destination, :url, :part_count, 0, :created_at)",
        rows,
    )


def batch_of_job(tx: Transaction, job_id: str, batch_id: str) -> list[Row]:
    """The artifacts that one request of a job created, in its order."""
    return tx.all(
        "SELECT * FROM artifacts WHERE job_id = :job_id AND batch_id = :batch_id ORDER BY position",
        job_id=job_id,
        batch_id=batch_id,
    )


def count_artifacts(tx: Transaction, build_id: str) -> int:
    """How many artifacts a build has, whatever their state."""
    row = tx.one("SELECT count(*) AS n FROM artifacts WHERE build_id = :build_id", build_id=build_id)
    assert row is not None
    return int(row["n"])


def find_artifact(tx: Transaction, artifact_id: str) -> Row | None:
    """The artifact."""
    return tx.one("SELECT * FROM artifacts WHERE id = :id", id=artifact_id)


def find_named(tx: Transaction, build_id: str, path: str) -> Row | None:
    """The newest artifact of a build that has this path and whose bytes are here."""
    return tx.one(
        "SELECT * FROM artifacts WHERE build_id = :build_id AND path = :path AND state = 'finished' "
        "AND is_stored = 1 ORDER BY created_at DESC, id DESC LIMIT 1",
        build_id=build_id,
        path=path,
    )


def mark_stored(tx: Transaction, artifact_id: str, *, sha1sum: str, sha256sum: str) -> int:
    """The artifact's bytes are all there; its checksums are those of the bytes."""
    return tx.run(
        "UPDATE artifacts SET is_stored = 1, sha1sum = :sha1sum, sha256sum = :sha256sum "
        "WHERE id = :id AND state = 'new'",
        id=artifact_id,
        sha1sum=sha1sum,
        sha256sum=sha256sum,
    )


def end_artifact(tx: Transaction, artifact_id: str, state: str, *, now: int) -> int:
    """The upload of an artifact is over: `finished` or `error`."""
    return tx.run(
        "UPDATE artifacts SET state = :state, finished_at = :now WHERE id = :id AND state = 'new'",
        id=artifact_id,
        state=state,
        now=now,
    )


def unfinished_artifacts(tx: Transaction, before: int, *, limit: int) -> list[Row]:
    """Artifacts announced before a time whose upload is not over."""
    return tx.all(
        "SELECT * FROM artifacts WHERE state = 'new' AND created_at < :before ORDER BY created_at LIMIT :limit",
        before=before,
        limit=limit,
    )


_LIST = """
    SELECT artifacts.*, jobs.retried_in, jobs.label, steps.key AS step_key
    FROM artifacts JOIN jobs ON jobs.id = artifacts.job_id JOIN steps ON steps.id = jobs.step_id
    WHERE artifacts.build_id = :build_id
"""


def artifacts_of_build(
    tx: Transaction, build_id: str, *, state: str | None = None, job_id: str | None = None
) -> list[Row]:
    """Artifacts of a build, oldest first, with `retried_in`, `label` and `step_key` of their jobs."""
    where = "" if state is None else " AND artifacts.state = :state"
    parameters: dict[str, Any] = {} if state is None else {"state": state}
    if job_id is not None:
        where += " AND artifacts.job_id = :job_id"
        parameters["job_id"] = job_id
    return tx.all(_LIST + where + " ORDER BY artifacts.created_at, artifacts.id", build_id=build_id, **parameters)

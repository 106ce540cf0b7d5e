"""Schedules in the database."""

from __future__ import annotations

from sqlite3 import Row
from typing import Any

from pipeseal.controlplane.store.database import Transaction

_COLUMNS = ("label", "cronline", "message", "commit_id", "branch", "env", "enabled", "next_at")


def insert_schedule(tx: Transaction, **columns: Any) -> None:
    """Insert a schedule."""
    tx.run(
        "INSERT INTO schedules (id, pipeline_id, label, cronline, message, commit_id, branch, env, enabled, next_at, "
        "failed_message, created_at) VALUES (:id, :pipeline_id, :label, :cronline, :message, :commit_id, :branch, "
        ":env, :enabled, :next_at, '', :created_at)",
        **columns,
    )


def update_schedule(tx: Transaction, schedule_id: str, columns: dict[str, Any]) -> None:
    """Change some columns of a schedule."""
    for name in _COLUMNS:
        if name in columns:
            tx.run(f"UPDATE schedules SET {name} = :value WHERE id = :id", value=columns[name], id=schedule_id)  # noqa: S608  (a name from the line above)


def find_schedule(tx: Transaction, slug: str, schedule_id: str) -> Row | None:
    """A schedule of a pipeline."""
    return tx.one(
        "SELECT schedules.* FROM schedules JOIN pipelines ON pipelines.id = schedules.pipeline_id "
        "WHERE pipelines.slug = :slug AND schedules.id = :id",
        slug=slug,
        id=schedule_id,
    )


def list_schedules(tx: Transaction, pipeline_id: str) -> list[Row]:
    """The schedules of a pipeline, oldest first."""
    return tx.all("SELECT * FROM schedules WHERE pipeline_id = :id ORDER BY created_at, id", id=pipeline_id)


def delete_schedule(tx: Transaction, schedule_id: str) -> None:
    """Remove a schedule; its builds stay."""
    tx.run("DELETE FROM schedules WHERE id = :id", id=schedule_id)


def due_schedules(tx: Transaction, now: int) -> list[Row]:
    """Schedules whose time has come, with the slugs of their pipelines."""
    return tx.all(
        "SELECT schedules.*, pipelines.slug FROM schedules JOIN pipelines ON pipelines.id = schedules.pipeline_id "
        "WHERE schedules.next_at <= :now ORDER BY schedules.next_at, schedules.id",
        now=now,
    )


def take_turn(tx: Transaction, row: Row, *, next_at: int | None, failure: str, now: int) -> bool:
    """Take a due schedule's turn: only one server gets it. Says whether it was to be had.

    Parameters:
        row: as `due_schedules` gave it.
        next_at: when it is due next.
        failure: why no build is made; empty when one is.
    """
    taken = tx.run(
        "UPDATE schedules SET next_at = :next_at, failed_at = :failed_at, failed_message = :failure "
        "WHERE id = :id AND next_at = :seen",
        id=row["id"],
        next_at=next_at,
        failed_at=now if failure else None,
        failure=failure,
        seen=row["next_at"],
    )
    return taken > 0

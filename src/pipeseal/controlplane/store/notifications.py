"""Notifications in the database: requests to be sent, each written with what it tells of."""

from __future__ import annotations

from sqlite3 import Row

from pipeseal.controlplane.store.database import Transaction


def notify_of_build(tx: Transaction, build_id: str) -> list[str]:
    """What the pipelines of a build say in `notify`, as JSON."""
    rows = tx.all(
        "SELECT notify FROM uploads WHERE build_id = :build_id AND notify IS NOT NULL ORDER BY created_at, id",
        build_id=build_id,
    )
    return [row["notify"] for row in rows]


def insert_notification(
    tx: Transaction, *, id: str, build_id: str, event: str, url: str, body: str, now: int
) -> None:
    """A request to be sent at once."""
    tx.run(
        "INSERT INTO notifications (id, build_id, event, url, body, attempts, next_at, status, created_at) "
        "VALUES (:id, :build_id, :event, :url, :body, 0, :now, 'waiting', :now)",
        id=id,
        build_id=build_id,
        event=event,
        url=url,
        body=body,
        now=now,
    )


def due_notifications(tx: Transaction, now: int, *, limit: int) -> list[Row]:
    """Requests that are to be sent now, oldest first."""
    return tx.all(
        "SELECT * FROM notifications WHERE next_at <= :now ORDER BY next_at, id LIMIT :limit", now=now, limit=limit
    )


def claim_notification(tx: Transaction, row: Row, *, next_at: int) -> bool:
    """Take a request for one attempt: until `next_at` nobody else sends it. Says whether it was to be had."""
    taken = tx.run(
        "UPDATE notifications SET attempts = attempts + 1, next_at = :next_at WHERE id = :id AND next_at = :seen",
        id=row["id"],
        next_at=next_at,
        seen=row["next_at"],
    )
    return taken > 0


def end_attempt(tx: Transaction, notification_id: str, *, status: str, final: bool) -> None:
    """Note how an attempt ended; nothing is sent any more after a final one."""
    tx.run(
        "UPDATE notifications SET status = :status, next_at = CASE WHEN :final = 1 THEN NULL ELSE next_at END "
        "WHERE id = :id",
        id=notification_id,
        status=status,
        final=int(final),
    )


def notifications_of_build(tx: Transaction, build_id: str) -> list[Row]:
    """The requests about a build, oldest first."""
    return tx.all("SELECT * FROM notifications WHERE build_id = :build_id ORDER BY created_at, id", build_id=build_id)

"""Annotations in the database: one for each context of a build, or of a job."""

from __future__ import annotations

from sqlite3 import Row

from pipeseal.controlplane.store.database import Transaction


def find_annotation(tx: Transaction, build_id: str, owner: str, context: str) -> Row | None:
    """The annotation of a context; `owner` is empty, or the job whose annotation it is."""
    return tx.one(
        "SELECT * FROM annotations WHERE build_id = :build_id AND owner = :owner AND context = :context",
        build_id=build_id,
        owner=owner,
        context=context,
    )


def find_annotation_by_id(tx: Transaction, annotation_id: str) -> Row | None:
    """The annotation."""
    return tx.one("SELECT * FROM annotations WHERE id = :id", id=annotation_id)


def count_annotations(tx: Transaction, build_id: str) -> int:
    """How many annotations a build has."""
    row = tx.one("SELECT count(*) AS n FROM annotations WHERE build_id = :build_id", build_id=build_id)
    assert row is not None
    return int(row["n"])


def insert_annotation(
    tx: Transaction,
    *,
    id: str,
    build_id: str,
    owner: str,
    writer: str,
    context: str,
    style: str,
    priority: int,
    body: str,
    now: int,
) -> None:
    """A new annotation; `owner` and `writer` are jobs or empty: the one it is about, and the one that wrote it."""
    tx.run(
        "INSERT INTO annotations "
        "(id, build_id, owner, writer, context, style, priority, body, created_at, updated_at) "
        "VALUES (:id, :build_id, :owner, :writer, :context, :style, :priority, :body, :now, :now)",
        id=id,
        build_id=build_id,
        owner=owner,
        writer=writer,
        context=context,
        style=style,
        priority=priority,
        body=body,
        now=now,
    )


def update_annotation(
    tx: Transaction, id: str, *, writer: str, style: str, priority: int, body: str, now: int
) -> None:
    """Change an annotation."""
    tx.run(
        "UPDATE annotations SET writer = :writer, style = :style, priority = :priority, body = :body, "
        "updated_at = :now WHERE id = :id",
        id=id,
        writer=writer,
        style=style,
        priority=priority,
        body=body,
        now=now,
    )


def delete_annotation(tx: Transaction, build_id: str, owner: str, context: str) -> int:
    """Remove an annotation; says whether it was there."""
    return tx.run(
        "DELETE FROM annotations WHERE build_id = :build_id AND owner = :owner AND context = :context",
        build_id=build_id,
        owner=owner,
        context=context,
    )


def delete_annotation_by_id(tx: Transaction, build_id: str, annotation_id: str) -> int:
    """Remove an annotation of a build; says whether it was there."""
    return tx.run(
        "DELETE FROM annotations WHERE build_id = :build_id AND id = :id", build_id=build_id, id=annotation_id
    )


def annotations_of_build(tx: Transaction, build_id: str) -> list[Row]:
    """The annotations of a build and its jobs, most important first."""
    return tx.all(
        "SELECT * FROM annotations WHERE build_id = :build_id ORDER BY priority DESC, created_at, id",
        build_id=build_id,
    )

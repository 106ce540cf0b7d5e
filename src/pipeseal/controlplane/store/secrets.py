"""Secrets in the database, sealed: nobody can read them there without the server's key file."""

from __future__ import annotations

from sqlite3 import Row

from pipeseal.controlplane.store.database import Transaction


def put_secret(
    tx: Transaction, *, id: str, key: str, description: str, pipelines: str | None, sealed: str, now: int
) -> None:
    """Set a secret, in place of one of the same key.

    Parameters:
        pipelines: JSON list of slugs; None for every pipeline.
        sealed: from `services.secrets`.
    """
    tx.run(
        "INSERT INTO secrets (key, id, description, pipelines, sealed, created_at, updated_at) "
        "VALUES (:key, :id, :description, :pipelines, :sealed, :now, :now) ON CONFLICT (key) DO UPDATE "
        "SET description = :description, pipelines = :pipelines, sealed = :sealed, id = :id, updated_at = :now",
        key=key,
        id=id,
        description=description,
        pipelines=pipelines,
        sealed=sealed,
        now=now,
    )


def find_secret(tx: Transaction, key: str) -> Row | None:
    """The secret of that key."""
    return tx.one("SELECT * FROM secrets WHERE key = :key", key=key)


def list_secrets(tx: Transaction) -> list[Row]:
    """All secrets by key, without what is sealed."""
    return tx.all("SELECT key, id, description, pipelines, created_at, updated_at FROM secrets ORDER BY key")


def delete_secret(tx: Transaction, key: str) -> int:
    """Remove a secret; says whether it was there."""
    return tx.run("DELETE FROM secrets WHERE key = :key", key=key)

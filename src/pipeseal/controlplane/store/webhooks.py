"""Incoming webhooks in the database, and the deliveries that were seen."""

from __future__ import annotations

from sqlite3 import Row

from pipeseal.controlplane.store.database import Transaction


def insert_webhook(
    tx: Transaction, *, id: str, pipeline_id: str, provider: str, token_digest: str, secret: str, now: int
) -> None:
    """Insert a webhook.

    Parameters:
        secret: sealed.
    """
    tx.run(
        "INSERT INTO webhooks (id, pipeline_id, provider, token_digest, secret, created_at) "
        "VALUES (:id, :pipeline_id, :provider, :token_digest, :secret, :now)",
        id=id,
        pipeline_id=pipeline_id,
        provider=provider,
        token_digest=token_digest,
        secret=secret,
        now=now,
    )


def replace_secret(tx: Transaction, webhook_id: str, secret: str) -> None:
    """Give a webhook another secret; the one before goes on working until the next change."""
    tx.run(
        "UPDATE webhooks SET former_secret = secret, secret = :secret WHERE id = :id", secret=secret, id=webhook_id
    )


def find_webhook(tx: Transaction, slug: str, webhook_id: str) -> Row | None:
    """A webhook of a pipeline."""
    return tx.one(
        "SELECT webhooks.* FROM webhooks JOIN pipelines ON pipelines.id = webhooks.pipeline_id "
        "WHERE pipelines.slug = :slug AND webhooks.id = :id",
        slug=slug,
        id=webhook_id,
    )


def find_by_token(tx: Transaction, provider: str, digest: str) -> Row | None:
    """The webhook that a URL belongs to, with its pipeline's slug."""
    return tx.one(
        "SELECT webhooks.*, pipelines.slug FROM webhooks JOIN pipelines ON pipelines.id = webhooks.pipeline_id "
        "WHERE token_digest = :digest AND provider = :provider",
        digest=digest,
        provider=provider,
    )


def list_webhooks(tx: Transaction, pipeline_id: str) -> list[Row]:
    """The webhooks of a pipeline, oldest first."""
    return tx.all("SELECT * FROM webhooks WHERE pipeline_id = :id ORDER BY created_at, id", id=pipeline_id)


def delete_webhook(tx: Transaction, webhook_id: str) -> None:
    """Remove a webhook: its URL stops working."""
    tx.run("DELETE FROM webhook_deliveries WHERE webhook_id = :id", id=webhook_id)
    tx.run("DELETE FROM webhooks WHERE id = :id", id=webhook_id)


def find_answer(tx: Transaction, webhook_id: str, replay_key: str) -> str | None:
    """What a delivery was answered when it came before; None when it did not."""
    row = tx.one(
        "SELECT answer FROM webhook_deliveries WHERE webhook_id = :id AND replay_key = :key",
        id=webhook_id,
        key=replay_key,
    )
    return None if row is None else row["answer"]


def note_delivery(tx: Transaction, webhook_id: str, replay_key: str, *, now: int) -> bool:
    """Note that a delivery came, to be answered by `set_answer`; says whether it is new."""
    noted = tx.run(
        "INSERT INTO webhook_deliveries (webhook_id, replay_key, answer, created_at) VALUES (:id, :key, '', :now) "
        "ON CONFLICT (webhook_id, replay_key) DO NOTHING",
        id=webhook_id,
        key=replay_key,
        now=now,
    )
    return noted > 0


def set_answer(tx: Transaction, webhook_id: str, replay_key: str, answer: str) -> None:
    """Keep what a delivery is answered."""
    tx.run(
        "UPDATE webhook_deliveries SET answer = :answer WHERE webhook_id = :id AND replay_key = :key",
        answer=answer,
        id=webhook_id,
        key=replay_key,
    )


def forget_deliveries(tx: Transaction, before: int) -> None:
    """Forget deliveries that came before a time."""
    tx.run("DELETE FROM webhook_deliveries WHERE created_at < :before", before=before)

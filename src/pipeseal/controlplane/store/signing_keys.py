"""Public keys that steps are signed with, and the steps and refusals that go with them, in the database."""

from __future__ import annotations

from sqlite3 import Row

from pipeseal.controlplane.store.database import Transaction
from pipeseal.controlplane.store.pages import count_rows


def list_keys(tx: Transaction) -> list[Row]:
    """All keys, the oldest first."""
    return tx.all("SELECT * FROM signing_keys ORDER BY created_at, thumbprint")


def find_key(tx: Transaction, thumbprint: str) -> Row | None:
    """One key."""
    return tx.one("SELECT * FROM signing_keys WHERE thumbprint = :thumbprint", thumbprint=thumbprint)


def keys_called(tx: Transaction, kid: str) -> list[Row]:
    """The keys of an id: there may be several, which is worth seeing."""
    return tx.all("SELECT * FROM signing_keys WHERE kid = :kid ORDER BY created_at, thumbprint", kid=kid)


def insert_key(
    tx: Transaction, *, thumbprint: str, kid: str, algorithm: str, jwk: str, description: str, now: int
) -> None:
    """A key; one that is there already stays as it is, apart from its description."""
    tx.run(
        "INSERT INTO signing_keys (thumbprint, kid, algorithm, jwk, description, created_at) "
        "VALUES (:thumbprint, :kid, :algorithm, :jwk, :description, :now) "
        "ON CONFLICT (thumbprint) DO UPDATE SET description = excluded.description",
        thumbprint=thumbprint,
        kid=kid,
        algorithm=algorithm,
        jwk=jwk,
        description=description,
        now=now,
    )


def set_revoked(tx: Transaction, thumbprint: str, at: int | None) -> None:
    """Since when a key counts as revoked; None: it does not."""
    tx.run("UPDATE signing_keys SET revoked_at = :at WHERE thumbprint = :thumbprint", at=at, thumbprint=thumbprint)


def delete_key(tx: Transaction, thumbprint: str) -> None:
    """Forget a key."""
    tx.run("DELETE FROM signing_keys WHERE thumbprint = :thumbprint", thumbprint=thumbprint)


def script_jobs(tx: Transaction, build_id: str, *, limit: int, offset: int) -> list[str]:
    """Ids of a build's script jobs in build order."""
    rows = tx.all(
        "SELECT jobs.id FROM jobs JOIN steps ON steps.id = jobs.step_id "
        "WHERE jobs.build_id = :build_id AND jobs.kind = 'script' "
        "ORDER BY steps.position, jobs.position_in_step, jobs.retry_count, jobs.id LIMIT :limit OFFSET :offset",
        build_id=build_id,
        limit=limit,
        offset=offset,
    )
    return [row["id"] for row in rows]


def count_script_jobs(tx: Transaction, build_id: str) -> int | None:
    """How many ids `script_jobs` has; None when they are too many to be counted."""
    return count_rows(tx, "FROM jobs WHERE build_id = :build_id AND kind = 'script'", build_id=build_id)


def newest_steps(tx: Transaction, *, pipeline_id: str | None, builds: int, limit: int) -> list[Row]:
    """Command steps of the newest builds, newest build first: `content`, `key`, `label`, `slug`, `number`.

    Parameters:
        pipeline_id: of which pipeline; None for all.
        builds: how many builds are looked at.
        limit: how many steps at most.
    """
    return tx.all(
        "SELECT steps.content, steps.key, steps.label, pipelines.slug, newest.number, newest.created_at "
        "FROM (SELECT id, pipeline_id, number, created_at FROM builds "
        "WHERE pipeline_id = :pipeline_id OR :all_of_them = 1 "
        "ORDER BY created_at DESC, number DESC LIMIT :builds) AS newest "
        "JOIN steps ON steps.build_id = newest.id JOIN pipelines ON pipelines.id = newest.pipeline_id "
        "WHERE steps.kind = 'command' "
        "ORDER BY newest.created_at DESC, newest.number DESC, steps.position LIMIT :limit",
        pipeline_id=pipeline_id or "",
        all_of_them=int(pipeline_id is None),
        builds=builds,
        limit=limit,
    )


def refusals_since(tx: Transaction, pipeline_id: str, since: int, *, limit: int) -> list[Row]:
    """Jobs of a pipeline that agents refused: `refusal`, `id`, `label`, `number`, newest build first."""
    return tx.all(
        "SELECT jobs.id, jobs.label, jobs.refusal, jobs.finished_at, builds.number FROM builds "
        "JOIN jobs ON jobs.build_id = builds.id WHERE builds.pipeline_id = :pipeline_id "
        "AND builds.created_at >= :since AND jobs.refusal IS NOT NULL "
        "ORDER BY builds.created_at DESC, jobs.id LIMIT :limit",
        pipeline_id=pipeline_id,
        since=since,
        limit=limit,
    )

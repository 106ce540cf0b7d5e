"""Builds and pipelines in the database."""

from __future__ import annotations

from sqlite3 import Row
from typing import Any

from pipeseal.controlplane.domain.build import FINISHED, BuildState
from pipeseal.controlplane.store.database import Transaction


def insert_pipeline(tx: Transaction, **columns: Any) -> None:
    """Insert a pipeline; the columns are those of the table without `last_build_number`."""
    tx.run(
        "INSERT INTO pipelines (id, slug, name, description, repository, default_branch, configuration, "
        "settings, last_build_number, created_at) VALUES (:id, :slug, :name, :description, :repository, "
        ":default_branch, :configuration, :settings, 0, :created_at)",
        **columns,
    )


def find_pipeline(tx: Transaction, slug: str) -> Row | None:
    """The pipeline with that slug."""
    return tx.one("SELECT * FROM pipelines WHERE slug = :slug", slug=slug)


def list_pipelines(tx: Transaction, *, repository: str | None, limit: int, offset: int) -> list[Row]:
    """Pipelines by slug, all or those of one repository."""
    return tx.all(
        "SELECT * FROM pipelines WHERE :repository IS NULL OR repository = :repository "
        "ORDER BY slug LIMIT :limit OFFSET :offset",
        repository=repository,
        limit=limit,
        offset=offset,
    )


def update_pipeline(tx: Transaction, slug: str, **columns: str) -> None:
    """Change some of `name`, `description`, `repository`, `default_branch`, `configuration`, `settings`."""
    for name in ("name", "description", "repository", "default_branch", "configuration", "settings"):
        if name in columns:
            tx.run(f"UPDATE pipelines SET {name} = :value WHERE slug = :slug", value=columns[name], slug=slug)  # noqa: S608  (a name from the line above)


def next_build_number(tx: Transaction, pipeline_id: str) -> int:
    """Take the next number of a pipeline."""
    row = tx.one(
        "UPDATE pipelines SET last_build_number = last_build_number + 1 WHERE id = :id RETURNING last_build_number",
        id=pipeline_id,
    )
    assert row is not None
    return int(row["last_build_number"])


def insert_build(tx: Transaction, **columns: Any) -> None:
    """Insert a build in state `scheduled`."""
    tx.run(
        "INSERT INTO builds (id, pipeline_id, number, state, source, message, commit_id, branch, tag, pull_request, "
        "author, env, rebuilt_from_id, origin, triggered_from_id, trigger_depth, created_at) VALUES (:id, "
        ":pipeline_id, :number, 'scheduled', :source, :message, :commit_id, :branch, :tag, :pull_request, :author, "
        ":env, :rebuilt_from_id, :origin, :triggered_from_id, :trigger_depth, :created_at)",
        **columns,
    )


def find_build(tx: Transaction, slug: str, number: int) -> Row | None:
    """A build by its pipeline's slug and its number."""
    return tx.one(
        "SELECT builds.* FROM builds JOIN pipelines ON pipelines.id = builds.pipeline_id "
        "WHERE pipelines.slug = :slug AND builds.number = :number",
        slug=slug,
        number=number,
    )


def get_build(tx: Transaction, build_id: str) -> Row:
    """A build that is known to be there."""
    row = tx.one("SELECT * FROM builds WHERE id = :id", id=build_id)
    assert row is not None
    return row


def list_builds(
    tx: Transaction, pipeline_id: str, *, state: str | None, branch: str | None, limit: int, offset: int
) -> list[Row]:
    """Builds of a pipeline, newest first."""
    return tx.all(
        "SELECT * FROM builds WHERE pipeline_id = :pipeline_id AND (:state IS NULL OR state = :state) "
        "AND (:branch IS NULL OR branch = :branch) ORDER BY number DESC LIMIT :limit OFFSET :offset",
        pipeline_id=pipeline_id,
        state=state,
        branch=branch,
        limit=limit,
        offset=offset,
    )


def set_state(tx: Transaction, build_id: str, state: BuildState, *, now: int) -> bool:
    """Write a build's derived state; says whether it changed."""
    changed = tx.run(
        "UPDATE builds SET state = :state, finished_at = :finished_at, "
        "started_at = CASE WHEN :started = 1 AND started_at IS NULL THEN :now ELSE started_at END "
        "WHERE id = :id AND state <> :state",
        id=build_id,
        state=state,
        finished_at=now if state in FINISHED else None,
        started=int(state is not BuildState.SCHEDULED),
        now=now,
    )
    return changed > 0


def unfinished_builds(tx: Transaction, pipeline_id: str, branch: str, *, before: int) -> list[Row]:
    """The builds of a pipeline's branch with lower numbers that have not ended, oldest first."""
    return tx.all(
        "SELECT * FROM builds WHERE pipeline_id = :pipeline_id AND branch = :branch AND number < :before "
        "AND finished_at IS NULL ORDER BY number",
        pipeline_id=pipeline_id,
        branch=branch,
        before=before,
    )


def ancestors(tx: Transaction, build_id: str) -> set[str]:
    """The build that triggered a build, the one that triggered that, and so on."""
    found: set[str] = set()
    row = get_build(tx, build_id)
    while row["triggered_from_id"] is not None:
        job = tx.one("SELECT build_id FROM jobs WHERE id = :id", id=row["triggered_from_id"])
        if job is None or job["build_id"] in found:
            break
        found.add(job["build_id"])
        row = get_build(tx, job["build_id"])
    return found


def state_before(tx: Transaction, build: Row) -> str | None:
    """How the last build before this one of the same pipeline and branch ended; None when there is none."""
    row = tx.one(
        "SELECT state FROM builds WHERE pipeline_id = :pipeline_id AND branch = :branch AND number < :number "
        "AND state IN ('passed', 'failed') ORDER BY number DESC LIMIT 1",
        pipeline_id=build["pipeline_id"],
        branch=build["branch"],
        number=build["number"],
    )
    return None if row is None else row["state"]


def set_running(tx: Transaction, build_id: str, *, now: int) -> bool:
    """A build of which nothing had started is running now; says whether that is news."""
    changed = tx.run(
        "UPDATE builds SET state = 'running', started_at = :now WHERE id = :id AND state = 'scheduled'",
        id=build_id,
        now=now,
    )
    return changed > 0

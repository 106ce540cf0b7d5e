"""Builds and pipelines in the database."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from sqlite3 import Row
from typing import Any

from pipeseal.controlplane.domain.branches import BranchFilter
from pipeseal.controlplane.domain.build import FINISHED, BuildState
from pipeseal.controlplane.store.database import Transaction
from pipeseal.controlplane.store.pages import count_rows

_MAX_BRANCHES = 500  # that a pattern stands for


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


_PIPELINES = (
    "FROM pipelines WHERE (:repository IS NULL OR repository = :repository) "
    "AND (:visibility IS NULL OR visibility = :visibility)"
)


def list_pipelines(
    tx: Transaction, *, repository: str | None, limit: int, offset: int, visibility: str | None = None
) -> list[Row]:
    """Pipelines by slug, all or those of one repository, or of one visibility."""
    return tx.all(
        f"SELECT * {_PIPELINES} ORDER BY slug LIMIT :limit OFFSET :offset",
        repository=repository,
        visibility=visibility,
        limit=limit,
        offset=offset,
    )


def count_pipelines(tx: Transaction, *, repository: str | None, visibility: str | None = None) -> int | None:
    """How many pipelines `list_pipelines` has; None when they are too many to be counted."""
    return count_rows(tx, _PIPELINES, repository=repository, visibility=visibility)


def update_pipeline(tx: Transaction, slug: str, **columns: str) -> None:
    """Change some of `name`, `description`, `repository`, `default_branch`, `configuration`, `settings`."""
    for name in ("name", "description", "repository", "default_branch", "configuration", "settings"):
        if name in columns:
            tx.run(f"UPDATE pipelines SET {name} = :value WHERE slug = :slug", value=columns[name], slug=slug)  # noqa: S608  (a name from the line above)


def set_visibility(tx: Transaction, slug: str, visibility: str, since: int) -> None:
    """Who sees a pipeline, and from which time on its builds."""
    tx.run(
        "UPDATE pipelines SET visibility = :visibility, public_since = :since WHERE slug = :slug",
        visibility=visibility,
        since=since,
        slug=slug,
    )


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


def slug_of(tx: Transaction, pipeline_id: str) -> str:
    """The slug of a pipeline that is known to be there."""
    row = tx.one("SELECT slug FROM pipelines WHERE id = :id", id=pipeline_id)
    assert row is not None
    return str(row["slug"])


@dataclass(frozen=True, slots=True)
class BuildSearch:
    """Which builds are looked for. An empty tuple, or None, lets every build pass.

    Parameters:
        pipeline_id: builds of this pipeline.
        states, commits: builds in one of these states, of one of these commits.
        branches: builds of one of these branches; `*` stands for any characters.
        author: who made them.
        created_from, created_to, finished_from: microseconds since the epoch; `created_to` itself is too late.
        meta_data: builds with all of these.
    """

    pipeline_id: str | None = None
    states: tuple[str, ...] = ()
    branches: tuple[str, ...] = ()
    commits: tuple[str, ...] = ()
    author: str | None = None
    created_from: int | None = None
    created_to: int | None = None
    finished_from: int | None = None
    meta_data: tuple[tuple[str, str], ...] = ()


def list_builds(tx: Transaction, search: BuildSearch, *, limit: int, offset: int) -> list[Row]:
    """Builds, newest first."""
    condition, values = _condition(tx, search)
    order = "builds.number DESC" if search.pipeline_id is not None else "builds.created_at DESC, builds.id"
    return tx.all(
        f"SELECT builds.* FROM builds{condition} ORDER BY {order} LIMIT :limit OFFSET :offset",  # noqa: S608  (columns and names from below)
        **values,
        limit=limit,
        offset=offset,
    )


def count_builds(tx: Transaction, search: BuildSearch) -> int | None:
    """How many builds a search finds; None when they are too many to be counted."""
    condition, values = _condition(tx, search)
    return count_rows(tx, f"FROM builds{condition}", **values)


def _condition(tx: Transaction, search: BuildSearch) -> tuple[str, dict[str, Any]]:
    where: list[str] = []
    values: dict[str, Any] = {}

    def one_of(column: str, wanted: Iterable[str]) -> None:
        names = {f"{column}_{number}": text for number, text in enumerate(wanted)}
        values.update(names)
        where.append(f"builds.{column} IN ({', '.join(':' + name for name in names) or 'NULL'})")

    def compare(column: str, sign: str, value: str | int | None) -> None:
        if value is not None:
            name = f"limit_{len(values)}"
            values[name] = value
            where.append(f"builds.{column} {sign} :{name}")

    compare("pipeline_id", "=", search.pipeline_id)
    if search.states:
        one_of("state", search.states)
    if search.branches:
        one_of("branch", _branches(tx, search))
    if search.commits:
        one_of("commit_id", search.commits)
    compare("author", "=", search.author)
    compare("created_at", ">=", search.created_from)
    compare("created_at", "<", search.created_to)
    compare("finished_at", ">=", search.finished_from)
    for number, (key, value) in enumerate(search.meta_data):
        values |= {f"key_{number}": key, f"value_{number}": value}
        clause = f"meta_data.key = :key_{number} AND meta_data.value = :value_{number}"
        where.append(f"EXISTS (SELECT 1 FROM meta_data WHERE meta_data.build_id = builds.id AND {clause})")  # noqa: S608  (a number)
    return f" WHERE {' AND '.join(where)}" if where else "", values


def _branches(tx: Transaction, search: BuildSearch) -> list[str]:
    """The branches that are looked for, by their names: databases do not agree on what a pattern is."""
    patterns = [branch for branch in search.branches if "*" in branch]
    names = [branch for branch in search.branches if "*" not in branch]
    if patterns:
        rows = tx.all(
            "SELECT DISTINCT branch FROM builds WHERE :pipeline_id IS NULL OR pipeline_id = :pipeline_id "
            "ORDER BY branch",
            pipeline_id=search.pipeline_id,
        )
        wanted = BranchFilter(included=tuple(patterns))
        names += [row["branch"] for row in rows if wanted.includes(row["branch"])][:_MAX_BRANCHES]
    return names


def pipelines_of(tx: Transaction, ids: Iterable[str]) -> dict[str, Row]:
    """Pipelines by their ids."""
    rows = (tx.one("SELECT * FROM pipelines WHERE id = :id", id=id) for id in set(ids))
    return {row["id"]: row for row in rows if row is not None}


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

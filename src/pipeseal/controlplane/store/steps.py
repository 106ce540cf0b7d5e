"""Steps in the database: inserting a plan into a build, and the view that settling needs."""

from __future__ import annotations

from collections.abc import Callable
from sqlite3 import Row
from typing import Any

import msgspec

from pipeseal.controlplane.domain.dependencies import Dependency
from pipeseal.controlplane.domain.expand import Plan
from pipeseal.controlplane.domain.job import ENDED, LEFT_OUT, UNSUCCESSFUL, quote_states
from pipeseal.controlplane.domain.settle import Progress, StepView
from pipeseal.controlplane.store.database import Transaction
from pipeseal.controlplane.store.jobs import insert_jobs, job_row

_DEPENDENCIES = msgspec.json.Decoder(list[Dependency])
_ENDED = quote_states(ENDED)
_UNSUCCESSFUL = quote_states(UNSUCCESSFUL)
_LEFT_OUT = quote_states(LEFT_OUT)


def insert_upload(
    tx: Transaction, *, id: str, build_id: str, job_id: str | None, digest: str, plan: Plan, now: int
) -> None:
    """Record that a pipeline was put into a build."""
    tx.run(
        "INSERT INTO uploads (id, build_id, job_id, digest, env, checkout, warnings, notify, created_at) "
        "VALUES (:id, :build_id, :job_id, :digest, :env, :checkout, :warnings, :notify, :now)",
        id=id,
        build_id=build_id,
        job_id=job_id,
        digest=digest,
        env=msgspec.json.encode(plan.env).decode(),
        checkout=plan.checkout,
        warnings=msgspec.json.encode(plan.warnings).decode(),
        notify=plan.notify,
        now=now,
    )


def insert_plan(
    tx: Transaction,
    plan: Plan,
    *,
    build_id: str,
    upload_id: str,
    after: int,
    parent_id: str | None,
    uploaded_by: str | None,
    make_id: Callable[[], str],
    now: int,
) -> None:
    """Insert the steps and jobs of a plan behind a position of the build.

    Parameters:
        after: position of the step behind which they go; -1 for the start.
        parent_id: group in which the uploading step stands.
        uploaded_by: the uploading step.
    """
    tx.run(
        "UPDATE steps SET position = position + :count WHERE build_id = :build_id AND position > :after",
        count=len(plan.steps),
        build_id=build_id,
        after=after,
    )
    ids: list[str] = []
    step_rows: list[dict[str, Any]] = []
    job_rows: list[dict[str, Any]] = []
    for index, step in enumerate(plan.steps):
        step_id = make_id()
        ids.append(step_id)
        depends_on = None if step.depends_on is None else msgspec.json.encode(step.depends_on).decode()
        step_rows.append(
            {
                "id": step_id,
                "build_id": build_id,
                "upload_id": upload_id,
                "parent_id": parent_id if step.parent is None else ids[step.parent],
                "uploaded_by": uploaded_by,
                "position": after + 1 + index,
                "kind": step.kind,
                "key": step.key,
                "label": step.label,
                "depends_on": depends_on,
                "allow_dependency_failure": int(step.allow_dependency_failure),
                "continue_on_failure": int(step.continue_on_failure),
                "cancel_on_build_failing": int(step.cancel_on_build_failing),
                "content": step.content,
            }
        )
        for number, job in enumerate(step.jobs):
            job_rows.append(
                job_row(job, id=make_id(), build_id=build_id, step_id=step_id, position_in_step=number, now=now)
            )
    tx.many(
        "INSERT INTO steps (id, build_id, upload_id, parent_id, uploaded_by, position, kind, key, label, depends_on, "
        "allow_dependency_failure, continue_on_failure, cancel_on_build_failing, content) VALUES (:id, :build_id, "
        ":upload_id, :parent_id, :uploaded_by, :position, :kind, :key, :label, :depends_on, "
        ":allow_dependency_failure, :continue_on_failure, :cancel_on_build_failing, :content)",
        step_rows,
    )
    insert_jobs(tx, job_rows)


def step_views(tx: Transaction, build_id: str) -> list[StepView]:
    """The steps of a build in build order, as settling sees them."""
    rows = tx.all(
        f"""
        SELECT steps.id, steps.kind, steps.key, steps.parent_id, steps.uploaded_by, steps.depends_on,
            steps.allow_dependency_failure, steps.continue_on_failure,
            sum(CASE WHEN jobs.state = 'waiting' THEN 1 ELSE 0 END) AS waiting,
            sum(CASE WHEN jobs.state NOT IN ({_ENDED}) THEN 1 ELSE 0 END) AS unfinished,
            sum(CASE WHEN jobs.state IN ({_LEFT_OUT}) THEN 0 ELSE 1 END) AS taken_in,
            sum(CASE WHEN jobs.state IN ({_UNSUCCESSFUL}) AND jobs.soft_failed = 0 THEN 1 ELSE 0 END) AS bad
        FROM steps LEFT JOIN jobs ON jobs.step_id = steps.id AND jobs.retried_in IS NULL
        WHERE steps.build_id = :build_id GROUP BY steps.id ORDER BY steps.position
        """,  # noqa: S608  (constants of this program; values are parameters)
        build_id=build_id,
    )
    return [
        StepView(
            id=row["id"],
            kind=row["kind"],
            key=row["key"],
            progress=_progress(row["waiting"] or 0, row["unfinished"] or 0, row["bad"] or 0),
            parent=row["parent_id"],
            uploaded_by=row["uploaded_by"],
            depends_on=None if row["depends_on"] is None else _DEPENDENCIES.decode(row["depends_on"]),
            allow_dependency_failure=bool(row["allow_dependency_failure"]),
            continue_on_failure=bool(row["continue_on_failure"]),
            left_out=row["taken_in"] == 0,
        )
        for row in rows
    ]


def _progress(waiting: int, unfinished: int, bad: int) -> Progress:
    if waiting:
        return Progress.WAITING
    if unfinished:
        return Progress.OPEN
    return Progress.BADLY if bad else Progress.WELL


def dependency_edges(tx: Transaction, build_id: str) -> tuple[dict[str, list[str]], set[str]]:
    """The keyed steps of a build: key to the keys it needs, and all keys."""
    rows = tx.all(
        "SELECT key, depends_on FROM steps WHERE build_id = :build_id AND (key <> '' OR depends_on IS NOT NULL)",
        build_id=build_id,
    )
    edges: dict[str, list[str]] = {}
    for row in rows:
        if row["key"] and row["depends_on"] is not None:
            edges[row["key"]] = [dependency.step for dependency in _DEPENDENCIES.decode(row["depends_on"])]
    return edges, {row["key"] for row in rows if row["key"]}


def is_open(tx: Transaction, step_id: str) -> bool:
    """Whether a step has jobs that have not ended."""
    row = tx.one(
        f"SELECT 1 AS one FROM jobs WHERE step_id = :step_id AND state NOT IN ({_ENDED}) LIMIT 1",  # noqa: S608  (constants of this program; values are parameters)
        step_id=step_id,
    )
    return row is not None


def has_needs(tx: Transaction, build_id: str) -> bool:
    """Whether any step of a build names steps that it needs, or is a group."""
    row = tx.one(
        "SELECT 1 AS one FROM steps WHERE build_id = :build_id "
        "AND (depends_on IS NOT NULL OR kind = 'group') LIMIT 1",
        build_id=build_id,
    )
    return row is not None


class _Blocked(msgspec.Struct):
    blocked_state: str | None = None


def blocked_state(tx: Transaction, build_id: str) -> str:
    """What a blocked build counts as: what the first of its block steps that wait for a person says."""
    row = tx.one(
        "SELECT steps.content FROM jobs JOIN steps ON steps.id = jobs.step_id "
        "WHERE jobs.build_id = :build_id AND jobs.state = 'blocked' AND steps.kind = 'block' "
        "ORDER BY steps.position LIMIT 1",
        build_id=build_id,
    )
    if row is None or not row["content"].startswith("{"):
        return "passed"  # blocked at an input alone, or the step is written as a word
    return msgspec.json.decode(row["content"], type=_Blocked).blocked_state or "passed"


def find_environment(tx: Transaction, job_id: str) -> Row | None:
    """What the pipeline and the step of a script job set: `env` of the upload, and the step's `content`."""
    return tx.one(
        "SELECT u.env, s.content FROM jobs j JOIN steps s ON s.id = j.step_id JOIN uploads u ON u.id = s.upload_id "
        "WHERE j.id = :job_id AND j.kind = 'script'",
        job_id=job_id,
    )

"""Reading for pages: jobs of a build with what is shown beside them, and how long a list is."""

from __future__ import annotations

from sqlite3 import Row

import msgspec

from pipeseal.controlplane.store.database import Transaction

MOST_COUNTED = 10_000
_JOBS = """
    SELECT jobs.*, steps.key AS step_key, steps.content, steps.kind AS step_kind, steps.depends_on,
        groups.key AS group_key, groups.depends_on AS group_depends_on, agents.name AS agent_name,
        agents.version AS agent_version, decisions.mode AS decision_mode, decisions.proof AS decision_proof,
        decisions.kid AS decision_kid, decisions.thumbprint AS decision_thumbprint, decisions.seal AS decision_seal,
        decisions.findings AS decision_findings, triggered.number AS triggered_number,
        triggered_pipeline.slug AS triggered_slug
    FROM jobs JOIN steps ON steps.id = jobs.step_id
    LEFT JOIN steps AS groups ON groups.id = steps.parent_id
    LEFT JOIN agents ON agents.id = jobs.agent_id
    LEFT JOIN decisions ON decisions.job_id = jobs.id
    LEFT JOIN builds AS triggered ON triggered.id = jobs.triggered_build_id
    LEFT JOIN pipelines AS triggered_pipeline ON triggered_pipeline.id = triggered.pipeline_id
"""


def jobs_of_build(tx: Transaction, build_id: str) -> list[Row]:
    """The jobs of a build in build order, retries behind what they retry."""
    return tx.all(
        _JOBS + " WHERE jobs.build_id = :build_id ORDER BY steps.position, jobs.position_in_step, jobs.retry_count",
        build_id=build_id,
    )


def job_of_build(tx: Transaction, build_id: str, job_id: str) -> Row | None:
    """One job of a build."""
    return tx.one(_JOBS + " WHERE jobs.build_id = :build_id AND jobs.id = :job_id", build_id=build_id, job_id=job_id)


def warnings_of_build(tx: Transaction, build_id: str) -> list[str]:
    """What was understood only in part, over all uploads of a build."""
    rows = tx.all("SELECT warnings FROM uploads WHERE build_id = :build_id ORDER BY created_at", build_id=build_id)
    return [warning for row in rows for warning in msgspec.json.decode(row["warnings"], type=list[str])]


def meta_data_of_build(tx: Transaction, build_id: str) -> dict[str, str]:
    """The meta-data of a build."""
    rows = tx.all("SELECT key, value FROM meta_data WHERE build_id = :build_id ORDER BY key", build_id=build_id)
    return {row["key"]: row["value"] for row in rows}


def count_rows(tx: Transaction, source: str, **values: str | int | None) -> int | None:
    """How many rows a list has in all; None when there are more than `MOST_COUNTED`, and counting costs too much.

    Parameters:
        source: of the list's query the part from FROM on; constants, or columns and names that a store made.
        values: for the names in it.
    """
    row = tx.one(
        f"SELECT count(*) AS n FROM (SELECT 1 AS one {source} LIMIT :most) AS counted",  # noqa: S608  (see `source`)
        **values,
        most=MOST_COUNTED + 1,
    )
    assert row is not None
    return None if row["n"] > MOST_COUNTED else int(row["n"])

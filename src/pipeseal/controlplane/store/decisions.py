"""What agents said their policies made of jobs, in the database."""

from __future__ import annotations

from sqlite3 import Row

from pipeseal.controlplane.store.database import Transaction

# Agents whose names are made anew for each start are many; of more than so many lines a report leaves out the rest.
MOST_LINES = 5_000


def insert_decision(
    tx: Transaction,
    job_id: str,
    *,
    mode: str,
    proof: str,
    kid: str,
    thumbprint: str,
    seal: str,
    findings: str,
    observed: int,
) -> None:
    """Keep what was said of a job.

    Parameters:
        findings: JSON of what did not stop the job.
        observed: how many there are.
    """
    tx.run(
        "INSERT INTO decisions (job_id, mode, proof, kid, thumbprint, seal, findings, observed) "
        "VALUES (:job_id, :mode, :proof, :kid, :thumbprint, :seal, :findings, :observed)",
        job_id=job_id,
        mode=mode,
        proof=proof,
        kid=kid,
        thumbprint=thumbprint,
        seal=seal,
        findings=findings,
        observed=observed,
    )


def outcomes_since(tx: Transaction, pipeline_id: str, since: int) -> list[Row]:
    """How jobs of a pipeline came out that agents ended, one line for each kind: `agent`, `version`, `mode`, `proof`
    (both NULL where nothing was told), `was_observed`, `was_refused`, how many `jobs`, the `first_at` and `last_at`.

    Parameters:
        since: microseconds since the epoch; builds made then or later.
    """
    return tx.all(
        "SELECT agents.name AS agent, max(agents.version) AS version, decisions.mode, decisions.proof, "
        "CASE WHEN decisions.observed > 0 THEN 1 ELSE 0 END AS was_observed, "
        "CASE WHEN jobs.refusal IS NULL THEN 0 ELSE 1 END AS was_refused, "
        "count(*) AS jobs, min(jobs.finished_at) AS first_at, max(jobs.finished_at) AS last_at "
        "FROM builds JOIN jobs ON jobs.build_id = builds.id JOIN agents ON agents.id = jobs.agent_id "
        "LEFT JOIN decisions ON decisions.job_id = jobs.id "
        "WHERE builds.pipeline_id = :pipeline_id AND builds.created_at >= :since AND jobs.kind = 'script' "
        "AND jobs.finished_at IS NOT NULL "
        "GROUP BY agents.name, decisions.mode, decisions.proof, was_observed, was_refused "
        "ORDER BY last_at DESC LIMIT :limit",
        pipeline_id=pipeline_id,
        since=since,
        limit=MOST_LINES,
    )


def observed_since(tx: Transaction, pipeline_id: str, since: int, *, limit: int) -> list[Row]:
    """Jobs of a pipeline that ran and that a policy which enforces would have refused, newest build first:
    `id`, `label`, `key`, `number`, `finished_at`, `findings`, `mode`."""
    return tx.all(
        "SELECT jobs.id, jobs.label, jobs.finished_at, steps.key, builds.number, decisions.findings, decisions.mode "
        "FROM builds JOIN jobs ON jobs.build_id = builds.id JOIN decisions ON decisions.job_id = jobs.id "
        "JOIN steps ON steps.id = jobs.step_id "
        "WHERE builds.pipeline_id = :pipeline_id AND builds.created_at >= :since AND decisions.observed > 0 "
        "AND jobs.refusal IS NULL ORDER BY builds.created_at DESC, jobs.id LIMIT :limit",
        pipeline_id=pipeline_id,
        since=since,
        limit=limit,
    )


def modes_of_newest(tx: Transaction, pipeline_id: str, *, after_number: int) -> list[str]:
    """The modes that agents told of in builds of a pipeline with higher numbers."""
    rows = tx.all(
        "SELECT DISTINCT decisions.mode FROM builds JOIN jobs ON jobs.build_id = builds.id "
        "JOIN decisions ON decisions.job_id = jobs.id "
        "WHERE builds.pipeline_id = :pipeline_id AND builds.number > :after_number ORDER BY decisions.mode",
        pipeline_id=pipeline_id,
        after_number=after_number,
    )
    return [row["mode"] for row in rows]

"""Jobs in the database: every move between states goes through `move_jobs` or `claim_job`.

How two agents do not take one job: `claim_job` is a single `UPDATE ... WHERE state = 'scheduled' ... RETURNING`. The
database runs one such statement after the other, and the second finds no row.
"""

from __future__ import annotations

from collections.abc import Iterable
from sqlite3 import Row
from typing import Any

import msgspec

from pipeseal.controlplane.domain.agents import Rules
from pipeseal.controlplane.domain.expand import PlannedJob
from pipeseal.controlplane.domain.job import ACTIVE, ENDED, HELD, MOVES, OCCUPYING, JobState, quote_states
from pipeseal.controlplane.store.database import Transaction

_OCCUPYING = quote_states(OCCUPYING)
_HELD = quote_states(HELD)

_INSERT = """
    INSERT INTO jobs (id, build_id, step_id, kind, state, label, position_in_step, matrix, parallel_index,
        parallel_count, agent_rules, priority, concurrency_group, concurrency_limit, concurrency_method,
        timeout_minutes, retry_count,
        retry_kind, reason, soft_failed, log_bytes, log_missing_bytes, chunks_failed, created_at, runnable_at,
        finished_at)
    VALUES (:id, :build_id, :step_id, :kind, :state, :label, :position_in_step, :matrix, :parallel_index,
        :parallel_count, :agent_rules, :priority, :concurrency_group, :concurrency_limit,
        :concurrency_method, :timeout_minutes, :retry_count, :retry_kind, :reason, 0, 0, 0, 0, :now, NULL,
        :finished_at)
"""


# What another try of a job has in common with it.
_COPIED = (
    "build_id",
    "step_id",
    "kind",
    "label",
    "position_in_step",
    "matrix",
    "parallel_index",
    "parallel_count",
    "agent_rules",
    "priority",
    "concurrency_group",
    "concurrency_limit",
    "concurrency_method",
    "timeout_minutes",
)


def sources_of(wanted: JobState) -> frozenset[JobState]:
    """The states from which a job may become `wanted`: the table of moves, read backwards."""
    return frozenset(state for state, targets in MOVES.items() if wanted in targets)


_SOURCES = {state: quote_states(sources_of(state)) for state in JobState}


def job_row(
    planned: PlannedJob, *, id: str, build_id: str, step_id: str, position_in_step: int, now: int
) -> dict[str, Any]:
    """The parameters that insert a planned job."""
    return {
        "id": id,
        "build_id": build_id,
        "step_id": step_id,
        "kind": planned.kind,
        "state": planned.state,
        "label": planned.label,
        "position_in_step": position_in_step,
        "matrix": None if planned.matrix is None else msgspec.json.encode(planned.matrix).decode(),
        "parallel_index": planned.parallel_index,
        "parallel_count": planned.parallel_count,
        "agent_rules": msgspec.json.encode(planned.rules).decode(),
        "priority": planned.priority,
        "concurrency_group": planned.concurrency_group,
        "concurrency_limit": planned.concurrency_limit,
        "concurrency_method": planned.concurrency_method,
        "timeout_minutes": planned.timeout_minutes,
        "retry_count": 0,
        "retry_kind": None,
        "reason": planned.reason,
        "now": now,
        "finished_at": now if planned.state in ENDED else None,
    }


def insert_jobs(tx: Transaction, rows: Iterable[dict[str, Any]]) -> None:
    """Insert jobs, each made by `job_row`."""
    tx.many(_INSERT, rows)


def insert_retry(tx: Transaction, job: Row, *, id: str, kind: str, now: int) -> None:
    """Insert another try of `job`, waiting, and point the old one at it.

    Parameters:
        kind: `automatic` or `manual`.
    """
    row = {name: job[name] for name in _COPIED}
    retry_count = job["retry_count"] + 1
    row |= {"id": id, "state": JobState.WAITING, "retry_count": retry_count, "retry_kind": kind}
    tx.run(_INSERT, **row, reason="", now=now, finished_at=None)
    tx.run("UPDATE jobs SET retried_in = :new WHERE id = :old", new=id, old=job["id"])


def move_jobs(tx: Transaction, wanted: JobState, where: str, *, now: int, reason: str = "", **parameters: Any) -> int:
    """Move every job that `where` selects and whose state may become `wanted`; says how many.

    Parameters:
        where: an SQL condition over `jobs`.
        reason: why, kept when not empty.
        parameters: for `where`.
    """
    ended = ", finished_at = :now" if wanted in ENDED else ", finished_at = NULL"
    runnable = ", runnable_at = :now" if wanted in (JobState.SCHEDULED, JobState.BLOCKED) else ""
    return tx.run(
        f"UPDATE jobs SET state = :wanted, reason = CASE WHEN :reason = '' THEN reason ELSE :reason END"  # noqa: S608  (constants of this program; values are parameters)
        f"{ended}{runnable} WHERE ({where}) AND state IN ({_SOURCES[wanted]})",
        wanted=wanted,
        reason=reason,
        now=now,
        **parameters,
    )


def claim_job(tx: Transaction, job_id: str, *, agent_id: str, token_digest: str, now: int) -> Row | None:
    """Give a scheduled job to an agent; None when it is not there to be had."""
    return tx.one(
        "UPDATE jobs SET state = 'accepted', agent_id = :agent_id, token_digest = :token_digest, accepted_at = :now "
        "WHERE id = :job_id AND state = 'scheduled' AND kind = 'script' RETURNING *",
        job_id=job_id,
        agent_id=agent_id,
        token_digest=token_digest,
        now=now,
    )


def release_job(tx: Transaction, job_id: str, *, now: int) -> int:
    """Put an accepted job that never started back into the queue; its token stops working."""
    return tx.run(
        "UPDATE jobs SET state = 'scheduled', agent_id = NULL, token_digest = NULL, accepted_at = NULL, "
        "deadline_at = NULL, runnable_at = :now WHERE id = :job_id AND state = 'accepted'",
        job_id=job_id,
        now=now,
    )


def start_job(tx: Transaction, job_id: str, *, now: int) -> int:
    """Move an accepted job to running and set its deadline."""
    return tx.run(
        "UPDATE jobs SET state = 'running', started_at = :now, "
        "deadline_at = CASE WHEN timeout_minutes IS NULL THEN NULL ELSE :now + timeout_minutes * 60000000 END "
        "WHERE id = :job_id AND state = 'accepted'",
        job_id=job_id,
        now=now,
    )


def ask_to_stop(tx: Transaction, wanted: JobState, where: str, *, deadline: int, **parameters: Any) -> int:
    """Ask the agents of jobs to stop them: `canceling` or `timing_out`, with a deadline for their answer."""
    return tx.run(
        f"UPDATE jobs SET state = :wanted, deadline_at = :deadline "  # noqa: S608  (constants of this program; values are parameters)
        f"WHERE ({where}) AND state IN ({_SOURCES[wanted]})",
        wanted=wanted,
        deadline=deadline,
        **parameters,
    )


def hasten_stop(tx: Transaction, where: str, *, deadline: int, **parameters: Any) -> None:
    """Give agents that were asked to stop jobs another deadline."""
    tx.run(
        f"UPDATE jobs SET deadline_at = :deadline WHERE ({where}) AND state = 'canceling'",  # noqa: S608  (constants of this program; values are parameters)
        deadline=deadline,
        **parameters,
    )


def set_timeout(tx: Transaction, job_id: str, *, minutes: int) -> None:
    """Give a job that an agent holds another timeout, counted from its start."""
    tx.run(
        "UPDATE jobs SET timeout_minutes = :minutes, deadline_at = CASE WHEN state = 'running' "
        "THEN started_at + :microseconds ELSE deadline_at END WHERE id = :id",
        minutes=minutes,
        microseconds=minutes * 60_000_000,
        id=job_id,
    )


def set_promise(tx: Transaction, job_id: str, *, exit_status: int, reason: str, soft: bool) -> None:
    """Note that a running job will fail.

    Parameters:
        soft: its step forgives that failure.
    """
    tx.run(
        "UPDATE jobs SET promised_exit_status = :exit_status, promised_reason = :reason, promised_soft = :soft "
        "WHERE id = :id",
        exit_status=exit_status,
        reason=reason,
        soft=int(soft),
        id=job_id,
    )


def has_promised_failure(tx: Transaction, build_id: str) -> bool:
    """Whether a job of a build that has not ended promised a failure that its step does not forgive."""
    row = tx.one(
        "SELECT 1 AS one FROM jobs WHERE build_id = :build_id AND promised_exit_status IS NOT NULL "
        "AND finished_at IS NULL AND promised_soft = 0 LIMIT 1",
        build_id=build_id,
    )
    return row is not None


def end_job(
    tx: Transaction,
    job_id: str,
    wanted: JobState,
    *,
    now: int,
    exit_status: int | None,
    signal: str,
    signal_reason: str,
    soft_failed: bool,
    reason: str,
    refusal: str | None,
    chunks_failed: int,
    keep_token: bool,
) -> int:
    """End a job that an agent holds; says whether it was there to be ended.

    Parameters:
        keep_token: whether its token goes on working, so that the agent may repeat its `finish`.
    """
    return tx.run(
        "UPDATE jobs SET state = :wanted, finished_at = :now, exit_status = :exit_status, signal = :signal, "  # noqa: S608  (constants of this program; values are parameters)
        "signal_reason = :signal_reason, soft_failed = :soft_failed, reason = :reason, refusal = :refusal, "
        "chunks_failed = :chunks_failed, deadline_at = NULL, "
        "token_digest = CASE WHEN :keep_token = 1 THEN token_digest ELSE NULL END "
        f"WHERE id = :job_id AND state IN ({_HELD}) AND state IN ({_SOURCES[wanted]})",
        job_id=job_id,
        wanted=wanted,
        now=now,
        exit_status=exit_status,
        signal=signal or None,
        signal_reason=signal_reason or None,
        soft_failed=int(soft_failed),
        reason=reason,
        refusal=refusal,
        chunks_failed=chunks_failed,
        keep_token=int(keep_token),
    )


def begin_trigger(
    tx: Transaction, job_id: str, wanted: JobState, *, build_id: str | None, reason: str, now: int
) -> int:
    """A trigger step's job has made its build, or cannot make one; says whether it was still to do.

    Parameters:
        wanted: `running` while it waits for the build, `passed` when it does not, `failed` without a build.
    """
    return tx.run(
        "UPDATE jobs SET state = :wanted, triggered_build_id = :build_id, reason = :reason, started_at = :now, "
        "finished_at = :finished_at WHERE id = :id AND kind = 'trigger' AND state = 'scheduled'",
        id=job_id,
        wanted=wanted,
        build_id=build_id,
        reason=reason,
        now=now,
        finished_at=now if wanted in ENDED else None,
    )


def jobs_to_trigger(tx: Transaction) -> list[Row]:
    """The jobs of trigger steps whose builds are to be made, oldest first."""
    return tx.all("SELECT id FROM jobs WHERE kind = 'trigger' AND state = 'scheduled' ORDER BY runnable_at, id")


def find_job(tx: Transaction, job_id: str) -> Row | None:
    """The job."""
    return tx.one("SELECT * FROM jobs WHERE id = :id", id=job_id)


def find_job_by_token(tx: Transaction, digest: str) -> Row | None:
    """The job that a token opens."""
    return tx.one("SELECT id, build_id, state FROM jobs WHERE token_digest = :digest", digest=digest)


def held_jobs(tx: Transaction, agent_id: str) -> list[Row]:
    """The jobs in the hands of an agent."""
    return tx.all("SELECT * FROM jobs WHERE agent_id = :agent_id AND finished_at IS NULL", agent_id=agent_id)


def move_deadlines(tx: Transaction, microseconds: int) -> None:
    """Put every deadline off by so much, or forward."""
    tx.run(
        "UPDATE jobs SET deadline_at = deadline_at + :microseconds WHERE deadline_at IS NOT NULL",
        microseconds=microseconds,
    )


def overdue_jobs(tx: Transaction, now: int) -> list[Row]:
    """Jobs whose deadline has passed."""
    return tx.all("SELECT * FROM jobs WHERE deadline_at <= :now AND finished_at IS NULL", now=now)


class ReadyJob(msgspec.Struct, frozen=True):
    """A scheduled job as dispatch sees it: smallest `order` first."""

    id: str
    rules: Rules
    order: tuple[int, int, int, int]


_READY = """
    SELECT jobs.id, jobs.agent_rules, jobs.priority, jobs.position_in_step, steps.position, builds.created_at
    FROM jobs JOIN steps ON steps.id = jobs.step_id JOIN builds ON builds.id = jobs.build_id
    WHERE jobs.state = 'scheduled' AND jobs.kind = 'script'
"""


def ready_jobs(tx: Transaction, *, build_id: str | None = None, since: int = 0) -> list[ReadyJob]:
    """Scheduled jobs: of all builds, or those of one build that became so at or after `since`."""
    if build_id is None:
        rows = tx.all(_READY)
    else:
        rows = tx.all(
            _READY + " AND jobs.build_id = :build_id AND jobs.runnable_at >= :since", build_id=build_id, since=since
        )
    return [
        ReadyJob(
            row["id"],
            _decode_rules(row["agent_rules"]),
            (-row["priority"], row["created_at"], row["position"], row["position_in_step"]),
        )
        for row in rows
    ]


_RULES: dict[str, Rules] = {}


def _decode_rules(text: str) -> Rules:
    """The rules in `text`; the same few texts come again and again."""
    rules = _RULES.get(text)
    if rules is None:
        if len(_RULES) > 10_000:
            _RULES.clear()
        rules = _RULES[text] = msgspec.json.decode(text, type=Rules)
    return rules


def admit_limited(tx: Transaction, group: str, *, now: int) -> list[str]:
    """Let as many jobs of a concurrency group go on as its limit allows, oldest first; returns their builds.

    An `ordered` job lets older ones of the group go first, even those that still wait for steps of their own build,
    as long as agents have work in that build. Where they have none (it waits for a person, for another build, or for
    this very group), it may be for good, and nobody is kept waiting for it. An `eager` job looks at the limit alone.
    """
    occupied = tx.one(
        f"SELECT count(*) AS n FROM jobs WHERE concurrency_group = :concurrency_group AND finished_at IS NULL "  # noqa: S608  (constants of this program; values are parameters)
        f"AND state IN ({_OCCUPYING})",
        concurrency_group=group,
    )
    assert occupied is not None
    queue = tx.all(
        "SELECT jobs.id, jobs.build_id, jobs.state, jobs.concurrency_limit, jobs.concurrency_method "
        "FROM jobs JOIN builds ON builds.id = jobs.build_id JOIN steps ON steps.id = jobs.step_id "
        "WHERE jobs.concurrency_group = :concurrency_group AND jobs.finished_at IS NULL "
        "AND (jobs.state = 'limited' OR (jobs.state = 'waiting' AND jobs.concurrency_method = 'ordered')) "
        "ORDER BY builds.created_at, builds.id, steps.position, jobs.position_in_step",
        concurrency_group=group,
    )
    if not any(job["state"] == JobState.LIMITED for job in queue):
        return []
    taken, places = occupied["n"], 0  # in use; kept for older jobs
    at_work: dict[str, bool] = {}
    builds = []
    for job in queue:
        ordered = job["concurrency_method"] == "ordered"
        if job["state"] == JobState.WAITING:
            build_id = job["build_id"]
            if build_id not in at_work:
                at_work[build_id] = _agents_have_work(tx, build_id)
            places += at_work[build_id]
        elif taken + (places if ordered else 0) < job["concurrency_limit"]:
            move_jobs(tx, JobState.SCHEDULED, "id = :id", now=now, id=job["id"])
            builds.append(job["build_id"])
            taken += 1
        elif ordered:
            places += 1
    return builds


def _agents_have_work(tx: Transaction, build_id: str) -> bool:
    row = tx.one(
        f"SELECT 1 AS one FROM jobs WHERE build_id = :build_id AND state IN ({_OCCUPYING}) "  # noqa: S608  (constants of this program; values are parameters)
        "AND kind = 'script' LIMIT 1",
        build_id=build_id,
    )
    return row is not None


def set_unblocked_by(tx: Transaction, job_id: str, person: str) -> None:
    """Keep who let a block or input step pass, as JSON."""
    tx.run("UPDATE jobs SET unblocked_by = :person WHERE id = :id", person=person, id=job_id)


def find_unblocked_by(tx: Transaction, build_id: str) -> str | None:
    """Who let the latest block or input step of a build pass, as JSON; None when nobody is known."""
    row = tx.one(
        "SELECT unblocked_by FROM jobs WHERE build_id = :build_id AND unblocked_by IS NOT NULL "
        "ORDER BY finished_at DESC, id DESC LIMIT 1",
        build_id=build_id,
    )
    return None if row is None else str(row["unblocked_by"])


def latest_jobs(tx: Transaction, build_id: str) -> list[Row]:
    """The jobs of a build that were not retried, in build order."""
    return tx.all(
        "SELECT jobs.* FROM jobs JOIN steps ON steps.id = jobs.step_id "
        "WHERE jobs.build_id = :build_id AND jobs.retried_in IS NULL ORDER BY steps.position, jobs.position_in_step",
        build_id=build_id,
    )


def count_jobs(tx: Transaction, build_id: str) -> int:
    """How many jobs a build has, retries included."""
    row = tx.one("SELECT count(*) AS n FROM jobs WHERE build_id = :build_id", build_id=build_id)
    assert row is not None
    return int(row["n"])


def count_states(tx: Transaction, build_id: str) -> list[tuple[JobState, bool, int]]:
    """`(state, soft_failed, count)` over the jobs of a build that were not retried."""
    rows = tx.all(
        "SELECT state, soft_failed, count(*) AS n FROM jobs WHERE build_id = :build_id AND retried_in IS NULL "
        "GROUP BY state, soft_failed",
        build_id=build_id,
    )
    return [(JobState(row["state"]), bool(row["soft_failed"]), row["n"]) for row in rows]


def groups_of_build(tx: Transaction, build_id: str) -> list[str]:
    """The concurrency groups in which a build has jobs that have not ended."""
    rows = tx.all(
        "SELECT DISTINCT concurrency_group FROM jobs "
        "WHERE build_id = :build_id AND concurrency_group IS NOT NULL AND finished_at IS NULL",
        build_id=build_id,
    )
    return [row["concurrency_group"] for row in rows]


ACTIVE_STATES = quote_states(ACTIVE)

"""What the servers of one database must tell each other by way of it: who was seen when, what is offered to whom."""

from __future__ import annotations

from collections.abc import Sequence
from sqlite3 import Row

from pipeseal.controlplane.store.database import Transaction

_MAX_IDS = 500  # in one statement

# An agent with the job in its hands, as every server sees it.
_AGENTS = """
    SELECT agents.*,
        (SELECT jobs.id FROM jobs WHERE jobs.agent_id = agents.id AND jobs.finished_at IS NULL
         ORDER BY jobs.accepted_at DESC LIMIT 1) AS held_job_id,
        (SELECT max(jobs.accepted_at) FROM jobs WHERE jobs.agent_id = agents.id AND jobs.finished_at IS NULL)
         AS held_since
    FROM agents WHERE agents.token_digest IS NOT NULL
"""


def agents_with_session(tx: Transaction) -> list[Row]:
    """Every agent whose session token works, with `held_job_id` and `held_since`."""
    return tx.all(_AGENTS)


def find_agent_with_session(tx: Transaction, agent_id: str) -> Row | None:
    """That agent, if its session token works."""
    return tx.one(_AGENTS + " AND agents.id = :id", id=agent_id)


def find_agent_by_token(tx: Transaction, digest: str) -> Row | None:
    """The agent whose session token has that digest."""
    return tx.one(_AGENTS + " AND agents.token_digest = :digest", digest=digest)


def set_stopping(tx: Transaction, agent_id: str) -> None:
    """The agent is to disconnect once its job is done."""
    tx.run("UPDATE agents SET stopping = 1 WHERE id = :id", id=agent_id)


def note_seen(tx: Transaction, agent_ids: Sequence[str], *, now: int) -> None:
    """These agents were heard of lately."""
    for start in range(0, len(agent_ids), _MAX_IDS):
        values = {f"id{number}": agent_id for number, agent_id in enumerate(agent_ids[start : start + _MAX_IDS])}
        names = ", ".join(f":{name}" for name in values)
        tx.run(f"UPDATE agents SET last_seen_at = :now WHERE id IN ({names})", now=now, **values)  # noqa: S608  (names from the line above)


def silent_agents(tx: Transaction, before: int) -> list[Row]:
    """Connected agents that no server has heard of since `before`."""
    return tx.all(
        "SELECT id, name FROM agents WHERE state = 'connected' AND token_digest IS NOT NULL "
        "AND CASE WHEN last_seen_at IS NULL THEN registered_at ELSE last_seen_at END < :before",
        before=before,
    )


def reserve_job(tx: Transaction, job_id: str, agent_id: str, *, now: int, until: int) -> bool:
    """Offer a scheduled job to an agent, and to no other before `until`, by any server; says whether it was free."""
    changed = tx.run(
        "UPDATE jobs SET offered_to = :agent_id, offered_until = :until WHERE id = :id AND state = 'scheduled' "
        "AND (offered_until IS NULL OR offered_until <= :now OR offered_to = :agent_id)",
        id=job_id,
        agent_id=agent_id,
        now=now,
        until=until,
    )
    return changed > 0


def clear_offer(tx: Transaction, job_id: str) -> None:
    """The job was accepted; should it come back to the queue, it is free again."""
    tx.run("UPDATE jobs SET offered_to = NULL, offered_until = NULL WHERE id = :id", id=job_id)


def offered_jobs(tx: Transaction, now: int) -> set[str]:
    """The scheduled jobs that some server has on offer to an agent."""
    rows = tx.all("SELECT id FROM jobs WHERE state = 'scheduled' AND offered_until > :now", now=now)
    return {row["id"] for row in rows}

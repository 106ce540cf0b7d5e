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
        # Each note is another one than that before it, also when a clock was put back.
        later = "CASE WHEN last_seen_at >= :now THEN last_seen_at + 1 ELSE :now END"
        tx.run(f"UPDATE agents SET last_seen_at = {later} WHERE id IN ({names})", now=now, **values)  # noqa: S608  (names from the lines above)


def connected_agents(tx: Transaction) -> list[Row]:
    """Agents that are thought to be there, and when they were noted as seen."""
    return tx.all(
        "SELECT id, name, registered_at, last_seen_at FROM agents "
        "WHERE state = 'connected' AND token_digest IS NOT NULL"
    )


def reserve_job(tx: Transaction, job_id: str, agent_id: str, *, now: int, until: int, longest: int) -> bool:
    """Offer a scheduled job to an agent, and to no other before `until`, by any server; says whether it was free.

    Parameters:
        longest: an offer that lasts longer than this was made before a clock was put back, and counts no more.
    """
    changed = tx.run(
        "UPDATE jobs SET offered_to = :agent_id, offered_until = :until WHERE id = :id AND state = 'scheduled' "
        "AND (offered_until IS NULL OR offered_until <= :now OR offered_until > :longest OR offered_to = :agent_id)",
        longest=longest,
        id=job_id,
        agent_id=agent_id,
        now=now,
        until=until,
    )
    return changed > 0


def clear_offer(tx: Transaction, job_id: str) -> None:
    """The job was accepted; should it come back to the queue, it is free again."""
    tx.run("UPDATE jobs SET offered_to = NULL, offered_until = NULL WHERE id = :id", id=job_id)


def offered_jobs(tx: Transaction, now: int, longest: int) -> set[str]:
    """The scheduled jobs that some server has on offer to an agent.

    Parameters:
        longest: until when an offer may last; one that lasts longer counts no more, see `reserve_job`.
    """
    rows = tx.all(
        "SELECT id FROM jobs WHERE state = 'scheduled' AND offered_until > :now AND offered_until <= :longest",
        now=now,
        longest=longest,
    )
    return {row["id"] for row in rows}

"""Agents, long-lived tokens and server settings in the database."""

from __future__ import annotations

from sqlite3 import Row
from typing import Any

from pipeseal.controlplane.store.database import Transaction
from pipeseal.controlplane.store.pages import count_rows


def insert_agent(tx: Transaction, **columns: Any) -> None:
    """Insert a registered agent."""
    tx.run(
        "INSERT INTO agents (id, name, state, token_digest, hostname, version, build, os, arch, pid, priority, tags, "
        "ignore_in_dispatches, paused, pause_note, registered_at) VALUES (:id, :name, 'connected', :token_digest, "
        ":hostname, :version, :build, :os, :arch, :pid, :priority, :tags, :ignore_in_dispatches, 0, '', "
        ":registered_at)",
        **columns,
    )


def set_agent_state(tx: Transaction, agent_id: str, state: str, *, now: int, keep_token: bool) -> None:
    """Mark an agent `connected`, `lost` or `disconnected`."""
    tx.run(
        "UPDATE agents SET state = :state, ended_at = :ended_at, "
        "token_digest = CASE WHEN :keep_token = 1 THEN token_digest ELSE NULL END WHERE id = :id",
        id=agent_id,
        state=state,
        ended_at=None if state == "connected" else now,
        keep_token=int(keep_token),
    )


def set_paused(tx: Transaction, agent_id: str, paused: bool, note: str, until: int | None = None) -> None:
    """Pause or resume an agent.

    Parameters:
        until: when it is resumed by itself, microseconds since the epoch; None for never.
    """
    tx.run(
        "UPDATE agents SET paused = :paused, pause_note = :note, paused_until = :until WHERE id = :id",
        id=agent_id,
        paused=int(paused),
        note=note,
        until=until,
    )


def resume_due(tx: Transaction, now: int) -> list[str]:
    """Resume the agents whose pause is over; returns their ids."""
    rows = tx.all(
        "UPDATE agents SET paused = 0, pause_note = '', paused_until = NULL WHERE paused_until <= :now RETURNING id",
        now=now,
    )
    return [row["id"] for row in rows]


def has_due(tx: Transaction, now: int) -> bool:
    """Whether an agent's pause is over."""
    return tx.one("SELECT 1 AS one FROM agents WHERE paused_until <= :now LIMIT 1", now=now) is not None


def set_ignored(tx: Transaction, agent_id: str) -> None:
    """The agent wants no further jobs."""
    tx.run("UPDATE agents SET ignore_in_dispatches = 1 WHERE id = :id", id=agent_id)


def set_policy_mode(tx: Transaction, agent_id: str, mode: str) -> None:
    """The mode that an agent told of; most of the time it is the one that is known."""
    tx.run("UPDATE agents SET policy_mode = :mode WHERE id = :id AND policy_mode <> :mode", id=agent_id, mode=mode)


def forget_lost(tx: Transaction, before: int) -> list[str]:
    """Revoke the tokens of agents lost before a time; returns their ids."""
    rows = tx.all(
        "UPDATE agents SET token_digest = NULL WHERE state = 'lost' AND token_digest IS NOT NULL "
        "AND ended_at < :before RETURNING id",
        before=before,
    )
    return [row["id"] for row in rows]


def agents_with_session(tx: Transaction) -> list[Row]:
    """Agents whose session token works."""
    return tx.all("SELECT * FROM agents WHERE token_digest IS NOT NULL")


_CONNECTED = (
    "FROM agents WHERE state = 'connected' AND (:name IS NULL OR name = :name) "
    "AND (:hostname IS NULL OR hostname = :hostname) AND (:version IS NULL OR version = :version)"
)


def list_agents(
    tx: Transaction,
    *,
    limit: int,
    offset: int,
    name: str | None = None,
    hostname: str | None = None,
    version: str | None = None,
) -> list[Row]:
    """Agents that are connected, newest first; all, or those with exactly this name, host or version."""
    return tx.all(
        f"SELECT * {_CONNECTED} ORDER BY registered_at DESC, id LIMIT :limit OFFSET :offset",
        name=name,
        hostname=hostname,
        version=version,
        limit=limit,
        offset=offset,
    )


def count_agents(tx: Transaction, *, name: str | None, hostname: str | None, version: str | None) -> int | None:
    """How many agents `list_agents` has; None when they are too many to be counted."""
    return count_rows(tx, _CONNECTED, name=name, hostname=hostname, version=version)


def find_agent(tx: Transaction, agent_id: str) -> Row | None:
    """The agent."""
    return tx.one("SELECT * FROM agents WHERE id = :id", id=agent_id)


def insert_token(tx: Transaction, *, digest: str, kind: str, description: str, now: int) -> None:
    """Record the digest of a long-lived token."""
    tx.run(
        "INSERT INTO tokens (digest, kind, description, created_at) VALUES (:digest, :kind, :description, :now)",
        digest=digest,
        kind=kind,
        description=description,
        now=now,
    )


def tokens_of_kind(tx: Transaction, kind: str) -> dict[str, str]:
    """Digest to description of every long-lived token of a kind."""
    rows = tx.all("SELECT digest, description FROM tokens WHERE kind = :kind", kind=kind)
    return {row["digest"]: row["description"] for row in rows}


def get_setting(tx: Transaction, name: str) -> str | None:
    """A server setting."""
    row = tx.one("SELECT value FROM settings WHERE name = :name", name=name)
    return None if row is None else str(row["value"])


def settings_like(tx: Transaction, prefix: str) -> list[Row]:
    """The server settings whose names begin with `prefix`, which holds no `%` and `_`."""
    return tx.all("SELECT name, value FROM settings WHERE name LIKE :pattern ORDER BY name", pattern=prefix + "%")


def set_setting(tx: Transaction, name: str, value: str) -> None:
    """Write a server setting."""
    tx.run(
        "INSERT INTO settings (name, value) VALUES (:name, :value) ON CONFLICT (name) DO UPDATE SET value = :value",
        name=name,
        value=value,
    )

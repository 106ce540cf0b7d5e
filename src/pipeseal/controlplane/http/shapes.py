"""How pipelines, builds, jobs and agents look in the REST API: the ecosystem's members, and ours behind them."""

from __future__ import annotations

from sqlite3 import Row
from typing import Any

import msgspec

from pipeseal.clock import render_timestamp
from pipeseal.controlplane.domain.agents import Rules
from pipeseal.controlplane.domain.job import JobState
from pipeseal.controlplane.services.dispatch import Session
from pipeseal.controlplane.services.plane import ControlPlane

_RULES = msgspec.json.Decoder(Rules)
_TEXTS = msgspec.json.Decoder(dict[str, str])


class _StepContent(msgspec.Struct):
    command: Any = None
    artifact_paths: Any = None


def time_text(microseconds: int | None) -> str | None:
    """A time of the database as RFC 3339 text."""
    return None if microseconds is None else render_timestamp(microseconds / 1_000_000)


def organization_url(plane: ControlPlane) -> str:
    """Where the organisation is in the REST API."""
    return f"{plane.url}/v2/organizations/{plane.settings.organization}"


def pipeline_shape(plane: ControlPlane, row: Row) -> dict[str, Any]:
    """A pipeline."""
    url = f"{organization_url(plane)}/pipelines/{row['slug']}"
    return {
        "id": row["id"],
        "url": url,
        "web_url": f"{plane.url}/{plane.settings.organization}/{row['slug']}",
        "name": row["name"],
        "slug": row["slug"],
        "description": row["description"] or None,
        "repository": row["repository"],
        "default_branch": row["default_branch"],
        "configuration": row["configuration"],
        "builds_url": f"{url}/builds",
        "created_at": time_text(row["created_at"]),
        "provider": {"id": "git", "settings": {}},
    }


def build_shape(
    plane: ControlPlane, row: Row, pipeline: Row, jobs: list[dict[str, Any]] | None, **more: Any
) -> dict[str, Any]:
    """A build.

    Parameters:
        jobs: its jobs in build order; None leaves them out.
        more: further members.
    """
    url = f"{organization_url(plane)}/pipelines/{pipeline['slug']}/builds/{row['number']}"
    pull_request = None if row["pull_request"] == "false" else {"id": row["pull_request"]}
    shape = {
        "id": row["id"],
        "url": url,
        "web_url": f"{plane.url}/{plane.settings.organization}/{pipeline['slug']}/builds/{row['number']}",
        "number": row["number"],
        "state": row["state"],
        "blocked": row["state"] == "blocked",
        "message": row["message"],
        "commit": row["commit_id"],
        "branch": row["branch"],
        "tag": row["tag"] or None,
        "pull_request": pull_request,
        "source": row["source"],
        "author": {"name": row["author"]} if row["author"] else None,
        "creator": {"name": row["author"]} if row["author"] else None,
        "env": _TEXTS.decode(row["env"]),
        "rebuilt_from": {"id": row["rebuilt_from_id"]} if row["rebuilt_from_id"] else None,
        "created_at": time_text(row["created_at"]),
        "scheduled_at": time_text(row["created_at"]),
        "started_at": time_text(row["started_at"]),
        "finished_at": time_text(row["finished_at"]),
        "cancel_asked_at": time_text(row["cancel_asked_at"]),
        "pipeline": pipeline_shape(plane, pipeline),
        **more,
    }
    if jobs is not None:
        shape["jobs"] = jobs
    return shape


def job_shape(plane: ControlPlane, row: Row, build_url: str, web_url: str) -> dict[str, Any]:
    """A job, from its row joined with `step_key`, `content`, `group_key` and `agent_name`."""
    shape: dict[str, Any] = {
        "id": row["id"],
        "type": row["kind"],
        "name": row["label"] or None,
        "label": row["label"] or None,
        "step_key": row["step_key"] or None,
        "step": {"id": row["step_id"]},
        "group_key": row["group_key"] or None,
        "state": row["state"],
        "reason": row["reason"] or None,
        "build_url": build_url,
        "web_url": f"{web_url}#{row['id']}",
        "created_at": time_text(row["created_at"]),
        "runnable_at": time_text(row["runnable_at"]),
        "scheduled_at": time_text(row["runnable_at"]),
        "started_at": time_text(row["started_at"]),
        "finished_at": time_text(row["finished_at"]),
    }
    if row["kind"] == "manual":
        shape["unblock_url"] = f"{build_url}/jobs/{row['id']}/unblock"
        shape["unblockable"] = row["state"] == JobState.BLOCKED
    if row["kind"] != "script":
        return shape
    content = msgspec.json.decode(row["content"], type=_StepContent)
    log = f"{build_url}/jobs/{row['id']}/log"
    has_agent = row["agent_id"] is not None
    shape |= {
        "command": content.command,
        "artifact_paths": content.artifact_paths,
        "agent_query_rules": [f"{key}={value}" for key, value in _RULES.decode(row["agent_rules"])],
        "log_url": log,
        "raw_log_url": f"{log}.txt",
        "log_bytes": row["log_bytes"],
        "log_missing_bytes": row["log_missing_bytes"],
        "chunks_failed": row["chunks_failed"],
        "exit_status": row["exit_status"],
        "signal": row["signal"],
        "signal_reason": row["signal_reason"],
        "soft_failed": bool(row["soft_failed"]),
        "refusal": None if row["refusal"] is None else msgspec.Raw(row["refusal"].encode()),
        "agent": {"id": row["agent_id"], "name": row["agent_name"]} if has_agent else None,
        "priority": {"number": row["priority"]},
        "matrix": None if row["matrix"] is None else msgspec.Raw(row["matrix"].encode()),
        "parallel_group_index": row["parallel_index"],
        "parallel_group_total": row["parallel_count"],
        "concurrency_group": row["concurrency_group"],
        "timeout_in_minutes": row["timeout_minutes"],
        "retried": row["retried_in"] is not None,
        "retried_in_job_id": row["retried_in"],
        "retries_count": row["retry_count"],
        "retry_type": row["retry_kind"],
    }
    return shape


def agent_shape(plane: ControlPlane, row: Row, session: Session | None) -> dict[str, Any]:
    """An agent; `session` is what memory holds of it, None when it is not connected."""
    tags = msgspec.json.decode(row["tags"], type=list[tuple[str, str]])
    return {
        "id": row["id"],
        "url": f"{organization_url(plane)}/agents/{row['id']}",
        "name": row["name"],
        "connection_state": row["state"] if session is None else session.state,
        "hostname": row["hostname"],
        "version": row["version"],
        "os": row["os"],
        "arch": row["arch"],
        "priority": row["priority"],
        "meta_data": [f"{key}={value}" for key, value in tags],
        "paused": bool(row["paused"]),
        "paused_note": row["pause_note"] or None,
        "job": {"id": session.job_id} if session is not None and session.job_id else None,
        "last_seen_at": None if session is None else render_timestamp(session.last_seen),
        "created_at": time_text(row["registered_at"]),
    }

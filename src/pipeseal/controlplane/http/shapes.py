"""How pipelines, builds, jobs and agents look in the REST API: the ecosystem's members, and ours behind them."""

from __future__ import annotations

from sqlite3 import Row
from typing import Any

import msgspec

from pipeseal.clock import render_timestamp
from pipeseal.controlplane.domain.agents import Rules
from pipeseal.controlplane.domain.job import JobState
from pipeseal.controlplane.services.build_shape import build_shape, organization_url, pipeline_shape, time_text
from pipeseal.controlplane.services.dispatch import Session
from pipeseal.controlplane.services.plane import ControlPlane

_RULES = msgspec.json.Decoder(Rules)
__all__ = ["agent_shape", "build_shape", "job_shape", "organization_url", "pipeline_shape", "time_text"]


class _StepContent(msgspec.Struct):
    command: Any = None
    artifact_paths: Any = None


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
        shape |= _form(row["content"])
    if row["kind"] == "trigger":
        shape["triggered_build"] = _triggered_build(plane, row)
        shape["soft_failed"] = bool(row["soft_failed"])
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


class _Form(msgspec.Struct):
    prompt: Any = None
    fields: Any = None
    blocked_state: Any = None


def _form(content: str) -> dict[str, Any]:
    """What a person is asked before a block or input step goes on."""
    form = msgspec.json.decode(content, type=_Form) if content.startswith("{") else _Form()
    return {"prompt": form.prompt, "fields": form.fields or [], "blocked_state": form.blocked_state or "passed"}


def _triggered_build(plane: ControlPlane, row: Row) -> dict[str, Any] | None:
    if row["triggered_build_id"] is None or row["triggered_number"] is None:
        return None
    path = f"{row['triggered_slug']}/builds/{row['triggered_number']}"
    return {
        "id": row["triggered_build_id"],
        "number": row["triggered_number"],
        "url": f"{organization_url(plane)}/pipelines/{path}",
        "web_url": f"{plane.url}/{plane.settings.organization}/{path}",
    }


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

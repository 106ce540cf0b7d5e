"""How jobs look to the outside, in the REST API and in notifications: the ecosystem's members, ours behind them."""

from __future__ import annotations

from sqlite3 import Row
from typing import TYPE_CHECKING, Any

import msgspec

from pipeseal.controlplane.domain.agents import Rules
from pipeseal.controlplane.domain.dependencies import Dependency
from pipeseal.controlplane.domain.job import JobState
from pipeseal.controlplane.domain.unblocker import decode_unblocker
from pipeseal.controlplane.services.build_shape import organization_url, time_text
from pipeseal.controlplane.services.decisions import decision_shape

if TYPE_CHECKING:
    from pipeseal.controlplane.services.plane import ControlPlane

_RULES = msgspec.json.Decoder(Rules)
_DEPENDENCIES = msgspec.json.Decoder(list[Dependency])


class _StepContent(msgspec.Struct):
    command: Any = None
    artifact_paths: Any = None


def job_shape(plane: ControlPlane, row: Row, build_url: str, web_url: str) -> dict[str, Any]:
    """A job, from its row joined with what `store/pages.py` shows beside it."""
    shape: dict[str, Any] = {
        "id": row["id"],
        "type": row["kind"],
        "name": row["label"] or None,
        "label": row["label"] or None,
        "step_key": row["step_key"] or None,
        "step": {"id": row["step_id"], "type": row["step_kind"]},
        "group_key": row["group_key"] or None,
        "depends_on": _depends_on(row["depends_on"], row["group_depends_on"]),
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
        shape["unblocked_by"] = _unblocker(row["unblocked_by"])
        shape["unblocked_at"] = time_text(row["finished_at"] if row["state"] == JobState.PASSED else None)
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
        "log_deleted_at": time_text(row["log_deleted_at"]),
        "log_deleted_by": row["log_deleted_by"],
        "chunks_failed": row["chunks_failed"],
        "exit_status": row["exit_status"],
        "signal": row["signal"],
        "signal_reason": row["signal_reason"],
        "soft_failed": bool(row["soft_failed"]),
        "refusal": None if row["refusal"] is None else msgspec.Raw(row["refusal"].encode()),
        "decision": decision_shape(row),
        "agent": {"id": row["agent_id"], "name": row["agent_name"], "version": row["agent_version"]}
        if has_agent
        else None,
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


def _depends_on(*texts: str | None) -> list[str] | None:
    """Keys of the steps that a step and its group name; None when neither says any, and a `wait` counts instead."""
    said = [text for text in texts if text is not None]
    return [dependency.step for text in said for dependency in _DEPENDENCIES.decode(text)] if said else None


def _unblocker(text: str | None) -> dict[str, str | None] | None:
    if text is None:
        return None
    person = decode_unblocker(text)
    return {"id": person.id or None, "name": person.name or None, "email": person.email or None}


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

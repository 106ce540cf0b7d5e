"""How pipelines, builds, jobs and agents look in the REST API: the ecosystem's members, and ours behind them."""

from __future__ import annotations

from sqlite3 import Row
from typing import Any

import msgspec

from pipeseal.clock import render_timestamp
from pipeseal.controlplane.services.build_shape import build_shape, organization_url, pipeline_shape, time_text
from pipeseal.controlplane.services.dispatch import Session
from pipeseal.controlplane.services.job_shape import job_shape
from pipeseal.controlplane.services.plane import ControlPlane

__all__ = [
    "agent_shape",
    "build_shape",
    "job_shape",
    "organization_shape",
    "organization_url",
    "pipeline_shape",
    "time_text",
]


def organization_shape(plane: ControlPlane, *, public_pipelines: bool) -> dict[str, Any]:
    """The organisation."""
    slug, url = plane.settings.organization, organization_url(plane)
    return {
        "id": plane.organization_id,
        "url": url,
        "web_url": f"{plane.url}/{slug}",
        "name": slug,
        "slug": slug,
        "pipelines_url": f"{url}/pipelines",
        "agents_url": f"{url}/agents",
        "public_pipelines": public_pipelines,
    }


def _seen_at(plane: ControlPlane, session: Session) -> float:
    """When an agent was last heard of, in seconds since the epoch."""
    return plane.clock.now() - (plane.steady() - session.last_seen)


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
        "policy_mode": row["policy_mode"] or None,
        "paused": bool(row["paused"]),
        "paused_note": row["pause_note"] or None,
        "job": {"id": session.job_id} if session is not None and session.job_id else None,
        "last_seen_at": None if session is None else render_timestamp(_seen_at(plane, session)),
        "created_at": time_text(row["registered_at"]),
    }

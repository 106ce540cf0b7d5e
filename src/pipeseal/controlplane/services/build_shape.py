"""How pipelines and builds look to the outside, in the REST API and in notifications: the ecosystem's members."""

from __future__ import annotations

from collections.abc import Mapping
from sqlite3 import Row
from typing import TYPE_CHECKING, Any

import msgspec

from pipeseal.clock import render_timestamp
from pipeseal.controlplane.domain.build_origin import decode_origin
from pipeseal.controlplane.domain.pipeline_settings import decode_settings

if TYPE_CHECKING:
    from pipeseal.controlplane.services.plane import ControlPlane

_TEXTS = msgspec.json.Decoder(dict[str, str])


def time_text(microseconds: int | None) -> str | None:
    """A time of the database as RFC 3339 text."""
    return None if microseconds is None else render_timestamp(microseconds / 1_000_000)


def organization_url(plane: ControlPlane) -> str:
    """Where the organisation is in the REST API."""
    return f"{plane.url}/v2/organizations/{plane.settings.organization}"


def pipeline_shape(plane: ControlPlane, row: Row) -> dict[str, Any]:
    """A pipeline."""
    url = f"{organization_url(plane)}/pipelines/{row['slug']}"
    settings = decode_settings(row["settings"])
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
        "visibility": row["visibility"],
        "public_since": time_text(row["public_since"]) if row["public_since"] else None,
        "branch_configuration": settings.branch_configuration or None,
        "skip_queued_branch_builds": settings.skip_queued_branch_builds,
        "skip_queued_branch_builds_filter": settings.skip_queued_branch_builds_filter or None,
        "cancel_running_branch_builds": settings.cancel_running_branch_builds,
        "cancel_running_branch_builds_filter": settings.cancel_running_branch_builds_filter or None,
        "provider": {"id": "git", "settings": msgspec.to_builtins(settings.provider_settings)},
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
    origin = decode_origin(row["origin"])
    pull_request = None
    if row["pull_request"] != "false":
        pull_request = {
            "id": row["pull_request"],
            "base": origin.env.get("BUILDKITE_PULL_REQUEST_BASE_BRANCH"),
            "repository": origin.env.get("BUILDKITE_PULL_REQUEST_REPO"),
        }
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
        "triggered_from": _triggered_from(origin.env),
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


def _triggered_from(env: Mapping[str, str]) -> dict[str, Any] | None:
    build_id = env.get("BUILDKITE_TRIGGERED_FROM_BUILD_ID")
    if build_id is None:
        return None
    return {
        "build_id": build_id,
        "build_number": int(env["BUILDKITE_TRIGGERED_FROM_BUILD_NUMBER"]),
        "build_pipeline_slug": env["BUILDKITE_TRIGGERED_FROM_BUILD_PIPELINE_SLUG"],
    }

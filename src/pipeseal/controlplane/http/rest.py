"""The REST API for people and tools, below `/v2`, with the ecosystem's paths and shapes: pipelines and agents."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from sqlite3 import Row
from typing import Any, TypeAlias

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeseal.controlplane.domain.pipeline_settings import PipelineSettings
from pipeseal.controlplane.http.bodies import read_json, sent_members
from pipeseal.controlplane.http.paging import cut_page, read_page, render_page
from pipeseal.controlplane.http.public import check_public, is_stranger, shown
from pipeseal.controlplane.http.readers import count_request, read_reader
from pipeseal.controlplane.http.respond import render
from pipeseal.controlplane.http.rest_artifacts import ARTIFACT_ENDPOINTS
from pipeseal.controlplane.http.rest_bodies import (
    NewPipeline,
    OrganizationChanges,
    PauseBody,
    PipelineChanges,
    StopBody,
)
from pipeseal.controlplane.http.rest_build_notes import BUILD_NOTE_ENDPOINTS
from pipeseal.controlplane.http.rest_builds import BUILD_ENDPOINTS, list_builds
from pipeseal.controlplane.http.rest_changes import CHANGE_ENDPOINTS
from pipeseal.controlplane.http.rest_feed import FEED_ENDPOINTS
from pipeseal.controlplane.http.rest_jobs import JOB_ENDPOINTS
from pipeseal.controlplane.http.rest_members import MEMBER_ENDPOINTS
from pipeseal.controlplane.http.rest_own import OWN_ENDPOINTS
from pipeseal.controlplane.http.rest_scheduling import SCHEDULING_ENDPOINTS
from pipeseal.controlplane.http.rest_stream import STREAM_ENDPOINTS
from pipeseal.controlplane.http.rest_trust import TRUST_ENDPOINTS
from pipeseal.controlplane.http.scopes import NEEDED
from pipeseal.controlplane.http.shapes import agent_shape, organization_shape, pipeline_shape
from pipeseal.controlplane.services import pipelines
from pipeseal.controlplane.services.agent_control import stop_any_agent
from pipeseal.controlplane.services.authenticate import missing_token, not_found
from pipeseal.controlplane.services.changes import note_change
from pipeseal.controlplane.services.plane import ControlPlane
from pipeseal.controlplane.services.public import (
    PUBLIC,
    allow_public_pipelines,
    public_pipelines_allowed,
    set_visibility,
)
from pipeseal.controlplane.services.register_agent import pause_agent
from pipeseal.controlplane.store import agents as agent_store
from pipeseal.controlplane.store import builds as build_store
from pipeseal.controlplane.store.database import Transaction
from pipeseal.errors import MalformedInput

PREFIX = "/v2"
ORGANIZATION = "/organizations/{organization}"
Handler: TypeAlias = Callable[[ControlPlane, Request], Awaitable[Response]]


async def _list_pipelines(plane: ControlPlane, request: Request) -> Response:
    page = read_page(request)
    repository = request.query_params.get("repository")
    visibility = PUBLIC if is_stranger(request) else None

    def look(tx: Transaction) -> tuple[list[Row], int | None]:
        rows = build_store.list_pipelines(
            tx, repository=repository, visibility=visibility, limit=page.limit, offset=page.offset
        )
        if len(rows) <= page.size:
            return rows, None
        return rows, build_store.count_pipelines(tx, repository=repository, visibility=visibility)

    rows, total = await plane.database.read(look)
    shapes = [pipeline_shape(plane, row) for row in rows]
    return render_page(plane, request, page, shown(request, shapes), total=total)


async def _create_pipeline(plane: ControlPlane, request: Request) -> Response:
    body = await read_json(request, NewPipeline, plane.settings.limits.max_upload_bytes)
    if body.steps is not None:
        raise MalformedInput("request.malformed", "send the steps as YAML text in `configuration`, not as `steps`")
    slug = await pipelines.create_pipeline(
        plane,
        name=body.name,
        repository=body.repository,
        slug=body.slug,
        default_branch=body.default_branch or "main",
        description=body.description or "",
        configuration=body.configuration,
        settings=body.revise(PipelineSettings()),
    )
    return render(await _read_pipeline(plane, slug), 201)


async def _show_pipeline(plane: ControlPlane, request: Request) -> Response:
    return render(shown(request, await _read_pipeline(plane, request.path_params["slug"])))


async def _update_pipeline(plane: ControlPlane, request: Request) -> Response:
    body = await read_json(request, PipelineChanges, plane.settings.limits.max_upload_bytes)
    slug = request.path_params["slug"]
    names = ("name", "repository", "configuration", "default_branch", "description")
    changes = {name: getattr(body, name) for name in names if getattr(body, name) is not None}
    await pipelines.update_pipeline(plane, slug, changes, body.revise)
    if body.visibility is not None:
        await set_visibility(plane, slug, body.visibility, past=body.public_since == "all")
    return render(await _read_pipeline(plane, slug))


async def _read_pipeline(plane: ControlPlane, slug: str) -> dict[str, Any]:
    row = await plane.database.read(lambda tx: build_store.find_pipeline(tx, slug))
    if row is None:
        raise not_found("such pipeline")
    return pipeline_shape(plane, row)


async def _list_agents(plane: ControlPlane, request: Request) -> Response:
    page = read_page(request)
    name, hostname, version = (request.query_params.get(key) for key in ("name", "hostname", "version"))

    def look(tx: Transaction) -> tuple[list[Row], int | None]:
        rows = agent_store.list_agents(
            tx, limit=page.limit, offset=page.offset, name=name, hostname=hostname, version=version
        )
        if len(rows) <= page.size:
            return rows, None
        return rows, agent_store.count_agents(tx, name=name, hostname=hostname, version=version)

    rows, total = await plane.database.read(look)
    shapes = [agent_shape(plane, row, plane.sessions.get(row["id"])) for row in rows]
    return render_page(plane, request, page, shapes, total=total)


async def _show_agent(plane: ControlPlane, request: Request) -> Response:
    agent_id = request.path_params["agent_id"]
    row = await plane.database.read(lambda tx: agent_store.find_agent(tx, agent_id))
    if row is None:
        raise not_found("such agent")
    return render(agent_shape(plane, row, plane.sessions.get(agent_id)))


async def _pause_agent(plane: ControlPlane, request: Request) -> Response:
    body = await read_json(request, PauseBody, plane.settings.limits.max_body_bytes, empty=PauseBody())
    await pause_agent(plane, request.path_params["agent_id"], True, (body.note or "")[:500])
    return Response(status_code=204)


async def _resume_agent(plane: ControlPlane, request: Request) -> Response:
    await pause_agent(plane, request.path_params["agent_id"], False)
    return Response(status_code=204)


async def _stop_agent(plane: ControlPlane, request: Request) -> Response:
    body = await read_json(request, StopBody, plane.settings.limits.max_body_bytes, empty=StopBody())
    await stop_any_agent(plane, request.path_params["agent_id"], force=body.force)
    return Response(status_code=204)


async def _read_organization(plane: ControlPlane) -> dict[str, Any]:
    allowed = await plane.database.read(public_pipelines_allowed)
    return organization_shape(plane, public_pipelines=allowed)


async def _show_organization(plane: ControlPlane, _request: Request) -> Response:
    return render(await _read_organization(plane))


async def _update_organization(plane: ControlPlane, request: Request) -> Response:
    body = await read_json(request, OrganizationChanges, plane.settings.limits.max_body_bytes)
    await allow_public_pipelines(plane, body.public_pipelines)
    return render(await _read_organization(plane))


async def _list_organizations(plane: ControlPlane, request: Request) -> Response:
    page = read_page(request)
    return render_page(plane, request, page, cut_page(page, [await _read_organization(plane)]))


# Method, path below `/v2/organizations/{organization}`, handler.
ENDPOINTS: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "", _show_organization),
    ("PATCH", "", _update_organization),
    ("GET", "/pipelines", _list_pipelines),
    ("POST", "/pipelines", _create_pipeline),
    ("GET", "/pipelines/{slug}", _show_pipeline),
    ("PATCH", "/pipelines/{slug}", _update_pipeline),
    *BUILD_ENDPOINTS,
    *JOB_ENDPOINTS,
    *STREAM_ENDPOINTS,
    *ARTIFACT_ENDPOINTS,
    *SCHEDULING_ENDPOINTS,
    *MEMBER_ENDPOINTS,
    *TRUST_ENDPOINTS,
    *BUILD_NOTE_ENDPOINTS,
    *FEED_ENDPOINTS,
    *CHANGE_ENDPOINTS,
    ("GET", "/agents", _list_agents),
    ("GET", "/agents/{agent_id}", _show_agent),
    ("PUT", "/agents/{agent_id}/pause", _pause_agent),
    ("PUT", "/agents/{agent_id}/resume", _resume_agent),
    ("PUT", "/agents/{agent_id}/stop", _stop_agent),
)


# Method, path below `/v2`, handler: what is not below one organisation.
OUTER_ENDPOINTS: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "/organizations", _list_organizations),
    ("GET", "/builds", list_builds),
    *OWN_ENDPOINTS,
)


def rest_routes(plane: ControlPlane) -> list[Route]:
    """The endpoints of the REST API."""
    rows = [
        *((method, path, "", handler) for method, path, handler in OUTER_ENDPOINTS),
        *((method, path, ORGANIZATION, handler) for method, path, handler in ENDPOINTS),
    ]
    return [
        Route(PREFIX + below + path, _bound(plane, f"{method} {path}", bool(below), handler), methods=[method])
        for method, path, below, handler in rows
    ]


def _bound(
    plane: ControlPlane, row: str, is_below: bool, handler: Handler
) -> Callable[[Request], Awaitable[Response]]:
    """A handler behind the check of who asks.

    Parameters:
        row: method and path in the table.
        is_below: the path is below one organisation; only there is something public.
    """
    scope, writes = NEEDED[row], not row.startswith("GET ")
    own_path = f"/organizations/{plane.settings.organization}"

    async def endpoint(request: Request) -> Response:
        reader = await read_reader(plane, request)
        request.state.reader = reader
        count_request(plane, request, reader)
        own = request.path_params.get("organization", plane.settings.organization) == plane.settings.organization
        if reader.kind == "anonymous":
            if not (own and is_below):
                raise missing_token("Bearer")
            await check_public(plane, request, row)
        elif scope:
            reader.need(scope)
        if not own:
            raise not_found("such organisation")
        answer = await handler(plane, request)
        # Builds that programs make, end and let go on are told by the builds themselves.
        if writes and not (reader.kind == "token" and scope == "write_builds"):
            subject = request.url.path.removeprefix(PREFIX).removeprefix(own_path)
            await note_change(plane, reader, request.method, subject, sent_members(request))
        return answer

    return endpoint

"""The REST API for people and tools, below `/v2/organizations/{organization}`, with the ecosystem's paths and shapes.

Ours are two ways of waiting without polling: a build with `?wait=SECONDS` and `If-None-Match`, and a log with
`?offset=BYTES&wait=SECONDS`.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from sqlite3 import Row
from typing import Any, TypeAlias

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeseal.controlplane.domain.pipeline_settings import PipelineSettings
from pipeseal.controlplane.http.bodies import bearer, read_json, read_number
from pipeseal.controlplane.http.log_download import send_log
from pipeseal.controlplane.http.respond import render
from pipeseal.controlplane.http.rest_artifacts import ARTIFACT_ENDPOINTS
from pipeseal.controlplane.http.rest_scheduling import SCHEDULING_ENDPOINTS
from pipeseal.controlplane.http.shapes import agent_shape, build_shape, job_shape, pipeline_shape
from pipeseal.controlplane.services import act_on_job, pipelines
from pipeseal.controlplane.services import create_build as builds
from pipeseal.controlplane.services.authenticate import not_found, verify_api_token
from pipeseal.controlplane.services.events import build_topic, wait_for
from pipeseal.controlplane.services.plane import ControlPlane
from pipeseal.controlplane.services.register_agent import pause_agent, stop_agent
from pipeseal.controlplane.store import agents as agent_store
from pipeseal.controlplane.store import builds as build_store
from pipeseal.controlplane.store import pages
from pipeseal.controlplane.store.database import Transaction
from pipeseal.errors import MalformedInput

_MAX_PAGE = 100
_MAX_WAIT = 50
_GATHER_SECONDS = 0.03
Handler: TypeAlias = Callable[[ControlPlane, Request], Awaitable[Response]]


class _Settings(msgspec.Struct, kw_only=True):
    """Settings of a pipeline; a null is the default again, what is not there stays as it is."""

    branch_configuration: str | msgspec.UnsetType | None = msgspec.UNSET
    skip_queued_branch_builds: bool | msgspec.UnsetType | None = msgspec.UNSET
    skip_queued_branch_builds_filter: str | msgspec.UnsetType | None = msgspec.UNSET
    cancel_running_branch_builds: bool | msgspec.UnsetType | None = msgspec.UNSET
    cancel_running_branch_builds_filter: str | msgspec.UnsetType | None = msgspec.UNSET
    provider_settings: dict[str, Any] | msgspec.UnsetType | None = msgspec.UNSET

    def revise(self, settings: PipelineSettings) -> PipelineSettings:
        """`settings` with the changes.

        Raises:
            MalformedInput: `request.malformed`, `provider_settings` has something else than it can have.
        """
        kept = msgspec.to_builtins(settings)
        for name in _Settings.__struct_fields__:
            value = getattr(self, name)
            if isinstance(value, dict):
                kept[name] |= value
            elif value is None:
                del kept[name]
            elif value is not msgspec.UNSET:
                kept[name] = value
        try:
            return msgspec.convert(kept, PipelineSettings)
        except msgspec.ValidationError as error:
            raise MalformedInput("request.malformed", f"the settings cannot be used: {error}") from error


class _NewPipeline(_Settings, kw_only=True):
    name: str
    repository: str
    configuration: str = ""
    slug: str = ""
    default_branch: str = "main"
    description: str | None = None
    steps: Any = None


class _PipelineChanges(_Settings, kw_only=True):
    name: str | None = None
    repository: str | None = None
    configuration: str | None = None
    default_branch: str | None = None
    description: str | None = None


class _Author(msgspec.Struct):
    name: str = ""
    email: str = ""


class _NewBuild(msgspec.Struct):
    commit: str = "HEAD"
    branch: str = ""
    message: str = ""
    tag: str | None = None
    author: _Author | None = None
    env: dict[str, str] = {}
    meta_data: dict[str, str] = {}
    pull_request_id: int | str | None = None


class _Unblock(msgspec.Struct):
    fields: dict[str, str] = {}


class _Pause(msgspec.Struct):
    note: str = ""


def _page(request: Request) -> tuple[int, int]:
    """Limit and offset of the page asked for."""
    size = min(max(read_number(request, "per_page", 30), 1), _MAX_PAGE)
    return size, (max(read_number(request, "page", 1, most=10**9), 1) - 1) * size


async def _list_pipelines(plane: ControlPlane, request: Request) -> Response:
    limit, offset = _page(request)
    repository = request.query_params.get("repository")
    rows = await plane.database.read(
        lambda tx: build_store.list_pipelines(tx, repository=repository, limit=limit, offset=offset)
    )
    return render([pipeline_shape(plane, row) for row in rows])


async def _create_pipeline(plane: ControlPlane, request: Request) -> Response:
    body = await read_json(request, _NewPipeline, plane.settings.limits.max_upload_bytes)
    if body.steps is not None:
        raise MalformedInput("request.malformed", "send the steps as YAML text in `configuration`, not as `steps`")
    slug = await pipelines.create_pipeline(
        plane,
        name=body.name,
        repository=body.repository,
        slug=body.slug,
        default_branch=body.default_branch,
        description=body.description or "",
        configuration=body.configuration,
        settings=body.revise(PipelineSettings()),
    )
    return render(await _read_pipeline(plane, slug), 201)


async def _show_pipeline(plane: ControlPlane, request: Request) -> Response:
    return render(await _read_pipeline(plane, request.path_params["slug"]))


async def _update_pipeline(plane: ControlPlane, request: Request) -> Response:
    body = await read_json(request, _PipelineChanges, plane.settings.limits.max_upload_bytes)
    slug = request.path_params["slug"]
    names = ("name", "repository", "configuration", "default_branch", "description")
    changes = {name: getattr(body, name) for name in names if getattr(body, name) is not None}
    await pipelines.update_pipeline(plane, slug, changes, body.revise)
    return render(await _read_pipeline(plane, slug))


async def _read_pipeline(plane: ControlPlane, slug: str) -> dict[str, Any]:
    row = await plane.database.read(lambda tx: build_store.find_pipeline(tx, slug))
    if row is None:
        raise not_found("such pipeline")
    return pipeline_shape(plane, row)


async def _list_builds(plane: ControlPlane, request: Request) -> Response:
    limit, offset = _page(request)
    slug = request.path_params["slug"]

    def look(tx: Transaction) -> list[dict[str, Any]]:
        pipeline = build_store.find_pipeline(tx, slug)
        if pipeline is None:
            raise not_found("such pipeline")
        rows = build_store.list_builds(
            tx,
            pipeline["id"],
            state=request.query_params.get("state"),
            branch=request.query_params.get("branch"),
            limit=limit,
            offset=offset,
        )
        return [build_shape(plane, row, pipeline, None) for row in rows]

    return render(await plane.database.read(look))


async def _create_build(plane: ControlPlane, request: Request) -> Response:
    body = await read_json(request, _NewBuild, plane.settings.limits.max_body_bytes)
    slug = request.path_params["slug"]
    new = builds.NewBuild(
        commit=body.commit,
        branch=body.branch,
        message=body.message,
        tag=body.tag or "",
        pull_request="false" if body.pull_request_id in (None, "") else str(body.pull_request_id),
        author=body.author.name if body.author else "",
        env=body.env,
        meta_data=body.meta_data,
    )
    number = await builds.create_build(plane, slug, new)
    return render(await _read_build(plane, slug, number), 201)


async def _read_build(plane: ControlPlane, slug: str, number: int) -> dict[str, Any]:
    def look(tx: Transaction) -> dict[str, Any]:
        build, pipeline = _find(tx, slug, number)
        shape = build_shape(
            plane,
            build,
            pipeline,
            None,
            warnings=pages.warnings_of_build(tx, build["id"]),
            meta_data=pages.meta_data_of_build(tx, build["id"]),
        )
        rows = pages.jobs_of_build(tx, build["id"])
        shape["jobs"] = [job_shape(plane, row, shape["url"], shape["web_url"]) for row in rows]
        return shape

    return await plane.database.read(look)


def _find(tx: Transaction, slug: str, number: int) -> tuple[Row, Row]:
    build = build_store.find_build(tx, slug, number)
    pipeline = build_store.find_pipeline(tx, slug)
    if build is None or pipeline is None:
        raise not_found("such build")
    return build, pipeline


async def _show_build(plane: ControlPlane, request: Request) -> Response:
    slug, number = request.path_params["slug"], request.path_params["number"]
    seconds = read_number(request, "wait", 0, most=_MAX_WAIT)
    seen = request.headers.get("if-none-match", "")
    build, _ = await plane.database.read(lambda tx: _find(tx, slug, number))
    deadline = asyncio.get_running_loop().time() + seconds
    with plane.events.listen(build_topic(build["id"])) as event:
        while True:
            shape = msgspec.json.encode(await _read_build(plane, slug, number))
            tag = f'"{hashlib.sha256(shape).hexdigest()[:32]}"'
            if tag != seen:
                return Response(shape, headers={"ETag": tag}, media_type="application/json")
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0 or plane.dispatcher.closed:
                return Response(status_code=304, headers={"ETag": tag})
            if await wait_for(event, left):
                await asyncio.sleep(_GATHER_SECONDS)  # many jobs change at once: one look for all of them
                event.clear()


async def _cancel_build(plane: ControlPlane, request: Request) -> Response:
    slug, number = request.path_params["slug"], request.path_params["number"]
    await builds.cancel_build(plane, slug, number)
    return render(await _read_build(plane, slug, number))


async def _rebuild(plane: ControlPlane, request: Request) -> Response:
    slug = request.path_params["slug"]
    number = await builds.rebuild(plane, slug, request.path_params["number"])
    return render(await _read_build(plane, slug, number), 201)


async def _read_job(plane: ControlPlane, request: Request, job_id: str) -> dict[str, Any]:
    slug, number = request.path_params["slug"], request.path_params["number"]

    def look(tx: Transaction) -> dict[str, Any]:
        build, pipeline = _find(tx, slug, number)
        row = pages.job_of_build(tx, build["id"], job_id)
        if row is None:
            raise not_found("such job")
        shape = build_shape(plane, build, pipeline, None)
        return job_shape(plane, row, shape["url"], shape["web_url"])

    return await plane.database.read(look)


async def _show_job(plane: ControlPlane, request: Request) -> Response:
    return render(await _read_job(plane, request, request.path_params["job_id"]))


async def _unblock(plane: ControlPlane, request: Request) -> Response:
    body = await read_json(request, _Unblock, plane.settings.limits.max_body_bytes, empty=_Unblock())
    slug, number, job_id = (request.path_params[name] for name in ("slug", "number", "job_id"))
    await act_on_job.unblock_job(plane, slug, number, job_id, body.fields)
    return render(await _read_job(plane, request, job_id))


async def _retry(plane: ControlPlane, request: Request) -> Response:
    slug, number, job_id = (request.path_params[name] for name in ("slug", "number", "job_id"))
    return render(await _read_job(plane, request, await act_on_job.retry_job(plane, slug, number, job_id)))


async def _show_log(plane: ControlPlane, request: Request) -> Response:
    job = await _read_job(plane, request, request.path_params["job_id"])
    if job["type"] != "script":
        raise not_found("log of this kind of job")
    as_text = request.url.path.endswith(".txt") or "text/plain" in request.headers.get("accept", "")
    return await send_log(plane, request, job, as_text=as_text)


async def _list_agents(plane: ControlPlane, request: Request) -> Response:
    limit, offset = _page(request)
    rows = await plane.database.read(lambda tx: agent_store.list_agents(tx, limit=limit, offset=offset))
    return render([agent_shape(plane, row, plane.sessions.get(row["id"])) for row in rows])


async def _show_agent(plane: ControlPlane, request: Request) -> Response:
    agent_id = request.path_params["agent_id"]
    row = await plane.database.read(lambda tx: agent_store.find_agent(tx, agent_id))
    if row is None:
        raise not_found("such agent")
    return render(agent_shape(plane, row, plane.sessions.get(agent_id)))


async def _pause_agent(plane: ControlPlane, request: Request) -> Response:
    body = await read_json(request, _Pause, plane.settings.limits.max_body_bytes, empty=_Pause())
    await pause_agent(plane, request.path_params["agent_id"], True, body.note[:500])
    return Response(status_code=204)


async def _resume_agent(plane: ControlPlane, request: Request) -> Response:
    await pause_agent(plane, request.path_params["agent_id"], False)
    return Response(status_code=204)


async def _stop_agent(plane: ControlPlane, request: Request) -> Response:
    await stop_agent(plane, request.path_params["agent_id"])
    return Response(status_code=204)


async def _show_organization(plane: ControlPlane, _request: Request) -> Response:
    slug = plane.settings.organization
    return render({"id": plane.organization_id, "slug": slug, "name": slug})


_BUILD = "/pipelines/{slug}/builds/{number:int}"
_JOB = _BUILD + "/jobs/{job_id}"

# Method, path below `/v2/organizations/{organization}`, handler.
ENDPOINTS: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "", _show_organization),
    ("GET", "/pipelines", _list_pipelines),
    ("POST", "/pipelines", _create_pipeline),
    ("GET", "/pipelines/{slug}", _show_pipeline),
    ("PATCH", "/pipelines/{slug}", _update_pipeline),
    ("GET", "/pipelines/{slug}/builds", _list_builds),
    ("POST", "/pipelines/{slug}/builds", _create_build),
    ("GET", _BUILD, _show_build),
    ("PUT", _BUILD + "/cancel", _cancel_build),
    ("PUT", _BUILD + "/rebuild", _rebuild),
    ("GET", _JOB, _show_job),
    ("GET", _JOB + "/log", _show_log),
    ("GET", _JOB + "/log.txt", _show_log),
    ("PUT", _JOB + "/unblock", _unblock),
    ("PUT", _JOB + "/retry", _retry),
    *ARTIFACT_ENDPOINTS,
    *SCHEDULING_ENDPOINTS,
    ("GET", "/agents", _list_agents),
    ("GET", "/agents/{agent_id}", _show_agent),
    ("PUT", "/agents/{agent_id}/pause", _pause_agent),
    ("PUT", "/agents/{agent_id}/resume", _resume_agent),
    ("PUT", "/agents/{agent_id}/stop", _stop_agent),
)


def rest_routes(plane: ControlPlane) -> list[Route]:
    """The endpoints of the REST API."""
    prefix = "/v2/organizations/{organization}"
    return [Route(prefix + path, _bound(plane, handler), methods=[method]) for method, path, handler in ENDPOINTS]


def _bound(plane: ControlPlane, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        verify_api_token(plane, bearer(request, "Bearer"))
        if request.path_params["organization"] != plane.settings.organization:
            raise not_found("such organisation")
        return await handler(plane, request)

    return endpoint

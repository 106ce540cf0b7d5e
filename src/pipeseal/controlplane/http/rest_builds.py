"""The REST API's view of builds and jobs, in the ecosystem's shapes.

Ours are two ways of waiting without polling: a build with `?wait=SECONDS` and `If-None-Match`, and a log with
`?offset=BYTES&wait=SECONDS`.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from sqlite3 import Row
from typing import Any, TypeAlias

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from pipeseal.controlplane.domain.unblocker import Unblocker, read_unblocker
from pipeseal.controlplane.http.bodies import read_json, read_number
from pipeseal.controlplane.http.log_download import send_log
from pipeseal.controlplane.http.paging import read_page, render_page
from pipeseal.controlplane.http.public import is_stranger, shown
from pipeseal.controlplane.http.readers import reader_of
from pipeseal.controlplane.http.respond import render
from pipeseal.controlplane.http.rest_bodies import NewBuildBody, UnblockBody
from pipeseal.controlplane.http.shapes import build_shape, job_shape
from pipeseal.controlplane.services import act_on_job
from pipeseal.controlplane.services import create_build as builds
from pipeseal.controlplane.services.accept_job import read_environment
from pipeseal.controlplane.services.authenticate import not_found
from pipeseal.controlplane.services.events import build_topic, wait_for
from pipeseal.controlplane.services.plane import ControlPlane
from pipeseal.controlplane.services.public import read_pipeline_environment
from pipeseal.controlplane.store import builds as build_store
from pipeseal.controlplane.store import pages
from pipeseal.controlplane.store.database import Transaction
from pipeseal.errors import MalformedInput

MAX_WAIT = 50
_GATHER_SECONDS = 0.03
_MAX_WANTED = 100  # values of one filter
# One word for several states, as the ecosystem has it.
_FINISHED = ("passed", "failed", "blocked", "canceled")
Handler: TypeAlias = Callable[[ControlPlane, Request], Awaitable[Response]]


def read_flag(request: Request, name: str, default: bool) -> bool:
    """`?name=true` or `?name=false`.

    Raises:
        MalformedInput: `request.malformed`.
    """
    text = request.query_params.get(name)
    if text is not None:
        text = text.lower()  # the ecosystem's clients also write `True`
    if text not in (None, "true", "false"):
        raise MalformedInput("request.malformed", f"`{name}` is true or false")
    return default if text is None else text == "true"


def read_several(request: Request, name: str) -> tuple[str, ...]:
    """`?name=a`, or `?name[]=a&name[]=b`.

    Raises:
        MalformedInput: `request.malformed`.
    """
    found = (*request.query_params.getlist(name), *request.query_params.getlist(f"{name}[]"))
    if len(found) > _MAX_WANTED:
        raise MalformedInput("request.malformed", f"`{name}` is given {len(found)} times, at most {_MAX_WANTED}")
    return found


def _time(request: Request, name: str) -> int | None:
    """A time of the query in microseconds; without a zone it is UTC."""
    text = request.query_params.get(name)
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text.replace(" ", "+") if text.count(":") > 2 else text)
        moment = found if found.tzinfo is not None else found.replace(tzinfo=UTC)
        return int(moment.timestamp() * 1_000_000)
    except (ValueError, OverflowError) as error:
        raise MalformedInput("request.malformed", f"`{name}` is a time such as 2026-01-31T08:00:00Z") from error


def _meta_data(request: Request) -> tuple[tuple[str, str], ...]:
    """`?meta_data[key]=value`."""
    pairs = request.query_params.multi_items()
    found = tuple((key[10:-1], value) for key, value in pairs if key.startswith("meta_data[") and key.endswith("]"))
    if len(found) > _MAX_WANTED:
        raise MalformedInput("request.malformed", f"`meta_data` is given {len(found)} times, at most {_MAX_WANTED}")
    return found


async def list_builds(plane: ControlPlane, request: Request) -> Response:
    """Builds of a pipeline, or of all pipelines when the path names none."""
    page, slug = read_page(request), request.path_params.get("slug")
    states = [*read_several(request, "state")]
    if "finished" in states:
        states += _FINISHED
    search = build_store.BuildSearch(
        states=tuple(states),
        branches=read_several(request, "branch"),
        commits=read_several(request, "commit"),
        author=request.query_params.get("creator"),
        created_from=_time(request, "created_from"),
        created_to=_time(request, "created_to"),
        finished_from=_time(request, "finished_from"),
        meta_data=_meta_data(request),
    )
    with_jobs = not read_flag(request, "exclude_jobs", False)
    retried = read_flag(request, "include_retried_jobs", False)

    def look(tx: Transaction) -> tuple[list[dict[str, Any]], int | None]:
        wanted = search
        if slug is not None:
            pipeline = build_store.find_pipeline(tx, slug)
            if pipeline is None:
                raise not_found("such pipeline")
            wanted = replace(search, pipeline_id=pipeline["id"])
            if is_stranger(request):
                since = request.state.public_since
                wanted = replace(wanted, created_from=max(since, search.created_from or 0), author=None, meta_data=())
        rows = build_store.list_builds(tx, wanted, limit=page.limit, offset=page.offset)
        pipelines = build_store.pipelines_of(tx, (row["pipeline_id"] for row in rows))
        shapes = [
            _listed(plane, tx, row, pipelines[row["pipeline_id"]], with_jobs=with_jobs, retried=retried)
            for row in rows
        ]
        return shapes, build_store.count_builds(tx, wanted) if len(rows) > page.size else None

    found, total = await plane.database.read(look)
    return render_page(plane, request, page, shown(request, found), total=total)


def _listed(
    plane: ControlPlane, tx: Transaction, build: Row, pipeline: Row, *, with_jobs: bool, retried: bool
) -> dict[str, Any]:
    shape = build_shape(plane, build, pipeline, None, meta_data=pages.meta_data_of_build(tx, build["id"]))
    if with_jobs:
        shape["jobs"] = _jobs(plane, tx, build["id"], shape, retried=retried)
    return shape


def _jobs(
    plane: ControlPlane, tx: Transaction, build_id: str, shape: dict[str, Any], *, retried: bool
) -> list[dict[str, Any]]:
    rows = pages.jobs_of_build(tx, build_id)
    return [
        job_shape(plane, row, shape["url"], shape["web_url"]) for row in rows if retried or row["retried_in"] is None
    ]


async def _create_build(plane: ControlPlane, request: Request) -> Response:
    body = await read_json(request, NewBuildBody, plane.settings.limits.max_body_bytes)
    slug = request.path_params["slug"]
    new = builds.NewBuild(
        commit=body.commit or "",
        branch=body.branch or "",
        message=body.message or "",
        tag=body.tag or "",
        pull_request="false" if body.pull_request_id in (None, "") else str(body.pull_request_id),
        author=(body.author.name or "") if body.author else "",
        env=body.env or {},
        meta_data=body.meta_data or {},
    )
    number = await builds.create_build(plane, slug, new)
    return render(await read_build(plane, slug, number, retried=False), 201)


async def read_build(plane: ControlPlane, slug: str, number: int, *, retried: bool) -> dict[str, Any]:
    """A build with its jobs, as everybody who may see all of it gets it.

    Parameters:
        retried: also the jobs that were retried, not only the latest of each.

    Raises:
        MalformedInput: `request.not_found`.
    """

    def look(tx: Transaction) -> dict[str, Any]:
        build, pipeline = find_build(tx, slug, number)
        shape = build_shape(
            plane,
            build,
            pipeline,
            None,
            warnings=pages.warnings_of_build(tx, build["id"]),
            meta_data=pages.meta_data_of_build(tx, build["id"]),
        )
        shape["jobs"] = _jobs(plane, tx, build["id"], shape, retried=retried)
        return shape

    return await plane.database.read(look)


def find_build(tx: Transaction, slug: str, number: int) -> tuple[Row, Row]:
    """A build and its pipeline.

    Raises:
        MalformedInput: `request.not_found`.
    """
    build = build_store.find_build(tx, slug, number)
    pipeline = build_store.find_pipeline(tx, slug)
    if build is None or pipeline is None:
        raise not_found("such build")
    return build, pipeline


async def _show_build(plane: ControlPlane, request: Request) -> Response:
    slug, number = request.path_params["slug"], request.path_params["number"]
    seconds = read_number(request, "wait", 0, most=MAX_WAIT)
    retried = read_flag(request, "include_retried_jobs", False)
    seen = request.headers.get("if-none-match", "")
    build, _ = await plane.database.read(lambda tx: find_build(tx, slug, number))
    deadline = asyncio.get_running_loop().time() + seconds
    with plane.events.listen(build_topic(build["id"])) as event:
        while True:
            shape = msgspec.json.encode(shown(request, await read_build(plane, slug, number, retried=retried)))
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
    return render(await read_build(plane, slug, number, retried=False))


async def _rebuild(plane: ControlPlane, request: Request) -> Response:
    slug = request.path_params["slug"]
    number = await builds.rebuild(plane, slug, request.path_params["number"])
    return render(await read_build(plane, slug, number, retried=False), 201)


async def read_job(plane: ControlPlane, request: Request, job_id: str) -> dict[str, Any]:
    """A job of the build that the path names, as everybody who may see all of it gets it.

    Raises:
        MalformedInput: `request.not_found`.
    """
    slug, number = request.path_params["slug"], request.path_params["number"]

    def look(tx: Transaction) -> dict[str, Any]:
        build, pipeline = find_build(tx, slug, number)
        row = pages.job_of_build(tx, build["id"], job_id)
        if row is None:
            raise not_found("such job")
        shape = build_shape(plane, build, pipeline, None)
        return job_shape(plane, row, shape["url"], shape["web_url"])

    return await plane.database.read(look)


async def _show_job(plane: ControlPlane, request: Request) -> Response:
    return render(shown(request, await read_job(plane, request, request.path_params["job_id"])))


async def _show_environment(plane: ControlPlane, request: Request) -> Response:
    job = await read_job(plane, request, request.path_params["job_id"])
    read = read_pipeline_environment if is_stranger(request) else read_environment
    origins = await read(plane, job["id"])
    env = {name: value for name, (value, _) in origins.items()}
    set_by = {name: speaker for name, (_, speaker) in origins.items()}
    return render(shown(request, {"env": env, "set_by": set_by}))


async def _unblock(plane: ControlPlane, request: Request) -> Response:
    body = await read_json(request, UnblockBody, plane.settings.limits.max_body_bytes, empty=UnblockBody())
    slug, number, job_id = (request.path_params[name] for name in ("slug", "number", "job_id"))
    reader = reader_of(request)
    # Whoever is signed in is known; a program may say for whom it asks.
    known = Unblocker(reader.id, reader.name) if reader.kind == "account" else read_unblocker(body.unblocker or "")
    await act_on_job.unblock_job(plane, slug, number, job_id, body.fields or {}, unblocker=known)
    return render(await read_job(plane, request, job_id))


async def _retry(plane: ControlPlane, request: Request) -> Response:
    slug, number, job_id = (request.path_params[name] for name in ("slug", "number", "job_id"))
    return render(await read_job(plane, request, await act_on_job.retry_job(plane, slug, number, job_id)))


async def _show_log(plane: ControlPlane, request: Request) -> Response:
    job = await read_job(plane, request, request.path_params["job_id"])
    if job["type"] != "script":
        raise not_found("log of this kind of job")
    as_text = request.url.path.endswith(".txt") or "text/plain" in request.headers.get("accept", "")
    return await send_log(plane, request, job, as_text=as_text)


_BUILD = "/pipelines/{slug}/builds/{number:whole}"
_JOB = _BUILD + "/jobs/{job_id}"

# Method, path below `/v2/organizations/{organization}`, handler.
BUILD_ENDPOINTS: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "/builds", list_builds),
    ("GET", "/pipelines/{slug}/builds", list_builds),
    ("POST", "/pipelines/{slug}/builds", _create_build),
    ("GET", _BUILD, _show_build),
    ("PUT", _BUILD + "/cancel", _cancel_build),
    ("PUT", _BUILD + "/rebuild", _rebuild),
    ("GET", _JOB, _show_job),
    ("GET", _JOB + "/env", _show_environment),
    ("GET", _JOB + "/log", _show_log),
    ("GET", _JOB + "/log.txt", _show_log),
    ("PUT", _JOB + "/unblock", _unblock),
    ("PUT", _JOB + "/retry", _retry),
)

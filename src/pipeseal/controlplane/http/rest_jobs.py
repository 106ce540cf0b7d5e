"""The REST API's list of a build's jobs, running all again that failed, deleting logs; as the ecosystem has it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from sqlite3 import Row
from typing import Any, TypeAlias

from starlette.requests import Request
from starlette.responses import Response

from pipeseal.controlplane.http.bodies import read_json
from pipeseal.controlplane.http.paging import cut_page, link_header, page_links, read_page
from pipeseal.controlplane.http.public import shown
from pipeseal.controlplane.http.readers import name_of
from pipeseal.controlplane.http.respond import render
from pipeseal.controlplane.http.rest_bodies import RetryFailedBody
from pipeseal.controlplane.http.rest_builds import find_build, read_flag, read_several
from pipeseal.controlplane.http.shapes import build_shape, job_shape
from pipeseal.controlplane.services import act_on_job, deletions
from pipeseal.controlplane.services.plane import ControlPlane
from pipeseal.controlplane.store import pages
from pipeseal.controlplane.store.database import Transaction

Handler: TypeAlias = Callable[[ControlPlane, Request], Awaitable[Response]]


async def _list_jobs(plane: ControlPlane, request: Request) -> Response:
    """One page of the jobs of a build. Unlike other lists, and as in the ecosystem, it is an object with `links`."""
    slug, number, page = request.path_params["slug"], request.path_params["number"], read_page(request)
    retried = read_flag(request, "include_retried_jobs", False)
    wanted = {name: read_several(request, name) for name in ("state", "step_key", "group_key")}

    def is_wanted(row: Row) -> bool:
        return (retried or row["retried_in"] is None) and all(
            not values or row[name] in values for name, values in wanted.items()
        )

    def look(tx: Transaction) -> tuple[list[dict[str, Any]], int]:
        build, pipeline = find_build(tx, slug, number)
        shape = build_shape(plane, build, pipeline, None)
        rows = [row for row in pages.jobs_of_build(tx, build["id"]) if is_wanted(row)]
        return [job_shape(plane, row, shape["url"], shape["web_url"]) for row in cut_page(page, rows)], len(rows)

    found, total = await plane.database.read(look)
    links = page_links(plane, request, page, has_next=len(found) > page.size, total=total)
    answer = {"items": found[: page.size], "links": {"next": None, **links}}
    return render(shown(request, answer), headers=link_header(links))


async def _retry_failed(plane: ControlPlane, request: Request) -> Response:
    slug, number = request.path_params["slug"], request.path_params["number"]
    limit = plane.settings.limits.max_body_bytes
    body = await read_json(request, RetryFailedBody, limit, empty=RetryFailedBody())
    wanted = act_on_job.FAILURES if body.states is None else body.states
    return render({"retried_jobs_count": await act_on_job.retry_failed_jobs(plane, slug, number, wanted)})


async def _delete_log(plane: ControlPlane, request: Request) -> Response:
    slug, number, job_id = (request.path_params[name] for name in ("slug", "number", "job_id"))
    await deletions.delete_log(plane, slug, number, job_id, by=name_of(request))
    return Response(status_code=204)


_BUILD = "/pipelines/{slug}/builds/{number:whole}"

# Method, path below `/v2/organizations/{organization}`, handler.
JOB_ENDPOINTS: tuple[tuple[str, str, Handler], ...] = (
    ("GET", _BUILD + "/jobs", _list_jobs),
    ("DELETE", _BUILD + "/jobs/{job_id}/log", _delete_log),
    ("POST", _BUILD + "/retry_failed_jobs", _retry_failed),
)

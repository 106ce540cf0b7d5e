"""The REST API's view of what jobs leave behind, and the secrets they may ask for, in the ecosystem's shapes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from sqlite3 import Row
from typing import Any, TypeAlias

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from pipeseal.controlplane.http.annotations import annotation_shapes
from pipeseal.controlplane.http.bodies import read_json
from pipeseal.controlplane.http.paging import cut_page, read_page, render_page
from pipeseal.controlplane.http.public import shown
from pipeseal.controlplane.http.readers import name_of
from pipeseal.controlplane.http.respond import render
from pipeseal.controlplane.http.rest_bodies import SecretValue
from pipeseal.controlplane.http.shapes import organization_url, time_text
from pipeseal.controlplane.services import deletions, secrets
from pipeseal.controlplane.services.artifact_links import download_url
from pipeseal.controlplane.services.authenticate import not_found
from pipeseal.controlplane.services.plane import ControlPlane
from pipeseal.controlplane.store import annotations as annotation_store
from pipeseal.controlplane.store import artifacts as artifact_store
from pipeseal.controlplane.store import builds as build_store
from pipeseal.controlplane.store import pages
from pipeseal.controlplane.store import secrets as secret_store
from pipeseal.controlplane.store.database import Transaction

Handler: TypeAlias = Callable[[ControlPlane, Request], Awaitable[Response]]


def build_url(plane: ControlPlane, request: Request) -> str:
    """The build that the path names, in the REST API."""
    found = request.path_params
    return f"{organization_url(plane)}/pipelines/{found['slug']}/builds/{found['number']}"


def _find_build(tx: Transaction, request: Request) -> Row:
    build = build_store.find_build(tx, request.path_params["slug"], request.path_params["number"])
    if build is None:
        raise not_found("such build")
    return build


def _find_job(tx: Transaction, request: Request) -> str | None:
    """The job that the path names; None when it names the build alone."""
    job_id: str | None = request.path_params.get("job_id")
    if job_id is not None and pages.job_of_build(tx, _find_build(tx, request)["id"], job_id) is None:
        raise not_found("such job")
    return job_id


def _artifact_shape(row: Row, build_url: str) -> dict[str, Any]:
    directory, _, name = row["path"].rpartition("/")
    url = f"{build_url}/jobs/{row['job_id']}/artifacts/{row['id']}"
    return {
        "id": row["id"],
        "job_id": row["job_id"],
        "url": url,
        "download_url": f"{url}/download",
        "state": row["state"],
        "path": row["path"],
        "dirname": directory or ".",
        "filename": name,
        "mime_type": row["content_type"] or "application/octet-stream",
        "file_size": row["file_size"],
        "glob_path": row["glob_path"],
        "original_path": row["absolute_path"],
        "sha1sum": row["sha1sum"],
        "sha256sum": row["sha256sum"],
        "created_at": time_text(row["created_at"]),
        "deleted_at": time_text(row["deleted_at"]),
        "deleted_by": row["deleted_by"],
    }


async def _list_artifacts(plane: ControlPlane, request: Request) -> Response:
    page, state = read_page(request), request.query_params.get("state")

    def look(tx: Transaction) -> list[Row]:
        build, job_id = _find_build(tx, request), _find_job(tx, request)
        return artifact_store.artifacts_of_build(tx, build["id"], state=state, job_id=job_id)

    rows = await plane.database.read(look)
    url = build_url(plane, request)
    shapes = [_artifact_shape(row, url) for row in cut_page(page, rows)]
    return render_page(plane, request, page, shown(request, shapes), total=len(rows))


async def _find_artifact(plane: ControlPlane, request: Request) -> Row:
    found = request.path_params

    def look(tx: Transaction) -> Row:
        build = _find_build(tx, request)
        row = artifact_store.find_artifact(tx, found["artifact_id"])
        if row is None or row["build_id"] != build["id"] or row["job_id"] != found["job_id"]:
            raise not_found("such artifact")
        return row

    return await plane.database.read(look)


async def _show_artifact(plane: ControlPlane, request: Request) -> Response:
    row = await _find_artifact(plane, request)
    return render(shown(request, _artifact_shape(row, build_url(plane, request))))


async def _download_artifact(plane: ControlPlane, request: Request) -> Response:
    row = await _find_artifact(plane, request)
    if row["state"] != "finished" or row["url"]:
        raise not_found("such artifact on this server")
    url = download_url(plane, row["id"])
    return RedirectResponse(url, 302, headers={"Cache-Control": "no-store"})


async def _delete_artifact(plane: ControlPlane, request: Request) -> Response:
    found = request.path_params
    await deletions.delete_artifact(
        plane, found["slug"], found["number"], found["job_id"], found["artifact_id"], by=name_of(request)
    )
    return Response(status_code=204)


async def _list_annotations(plane: ControlPlane, request: Request) -> Response:
    page = read_page(request)

    def look(tx: Transaction) -> tuple[str, list[Row]]:
        build_id = _find_build(tx, request)["id"]
        rows = annotation_store.annotations_of_build(tx, build_id)
        job_id = _find_job(tx, request)
        return build_id, rows if job_id is None else [row for row in rows if row["owner"] == job_id]

    build_id, rows = await plane.database.read(look)
    url = build_url(plane, request)
    found = await annotation_shapes(plane, build_id, url, cut_page(page, rows))
    return render_page(plane, request, page, shown(request, found), total=len(rows))


def _secret_shape(row: Row) -> dict[str, Any]:
    pipelines = row["pipelines"]
    return {
        "id": row["id"],
        "key": row["key"],
        "description": row["description"],
        "pipelines": None if pipelines is None else msgspec.json.decode(pipelines, type=list[str]),
        "created_at": time_text(row["created_at"]),
        "updated_at": time_text(row["updated_at"]),
    }


async def _list_secrets(plane: ControlPlane, request: Request) -> Response:
    page = read_page(request)
    rows = await plane.database.read(secret_store.list_secrets)
    shapes = [_secret_shape(row) for row in cut_page(page, rows)]
    return render_page(plane, request, page, shapes, total=len(rows))


async def _set_secret(plane: ControlPlane, request: Request) -> Response:
    key = request.path_params["key"]
    body = await read_json(request, SecretValue, plane.settings.limits.max_body_bytes)
    await secrets.set_secret(plane, key, body.value, description=body.description, pipelines=body.pipelines)
    row = await plane.database.read(lambda tx: secret_store.find_secret(tx, key))
    if row is None:
        raise not_found("such secret")
    return render(_secret_shape(row))


async def _delete_secret(plane: ControlPlane, request: Request) -> Response:
    await secrets.delete_secret(plane, request.path_params["key"])
    return Response(status_code=204)


_BUILD = "/pipelines/{slug}/builds/{number:whole}"
_JOB = _BUILD + "/jobs/{job_id}"

# Method, path below `/v2/organizations/{organization}`, handler.
ARTIFACT_ENDPOINTS: tuple[tuple[str, str, Handler], ...] = (
    ("GET", _BUILD + "/artifacts", _list_artifacts),
    ("GET", _JOB + "/artifacts", _list_artifacts),
    ("GET", _JOB + "/artifacts/{artifact_id}", _show_artifact),
    ("DELETE", _JOB + "/artifacts/{artifact_id}", _delete_artifact),
    ("GET", _JOB + "/artifacts/{artifact_id}/download", _download_artifact),
    ("GET", _BUILD + "/annotations", _list_annotations),
    ("GET", _JOB + "/annotations", _list_annotations),
    ("GET", "/secrets", _list_secrets),
    ("PUT", "/secrets/{key}", _set_secret),
    ("DELETE", "/secrets/{key}", _delete_secret),
)

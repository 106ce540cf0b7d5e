"""What people and tools write beside a build: annotations and meta-data."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from starlette.requests import Request
from starlette.responses import Response

from pipeseal.agentapi.job_messages import Annotation
from pipeseal.agentapi.messages import MetaDataItem
from pipeseal.controlplane.http.annotations import annotation_shapes
from pipeseal.controlplane.http.bodies import read_json
from pipeseal.controlplane.http.respond import render
from pipeseal.controlplane.http.rest_artifacts import build_url
from pipeseal.controlplane.http.rest_bodies import NewAnnotation
from pipeseal.controlplane.services.annotations import delete_annotation, set_annotation
from pipeseal.controlplane.services.authenticate import not_found
from pipeseal.controlplane.services.meta_data import set_build_meta_data
from pipeseal.controlplane.services.plane import ControlPlane
from pipeseal.controlplane.store import annotations as annotation_store
from pipeseal.controlplane.store import builds as build_store
from pipeseal.controlplane.store.database import Transaction
from pipeseal.controlplane.store.pages import meta_data_of_build

Handler: TypeAlias = Callable[[ControlPlane, Request], Awaitable[Response]]


def _finder(request: Request) -> Callable[[Transaction], str]:
    slug, number = request.path_params["slug"], request.path_params["number"]

    def find(tx: Transaction) -> str:
        build = build_store.find_build(tx, slug, number)
        if build is None:
            raise not_found("such build")
        return str(build["id"])

    return find


async def _annotate(plane: ControlPlane, request: Request) -> Response:
    body = await read_json(request, NewAnnotation, plane.settings.limits.max_upload_bytes)
    sent = Annotation(body=body.body, style=body.style or "", context=body.context or "", append=body.append)
    if body.priority is not None:
        sent["priority"] = body.priority
    find = _finder(request)
    annotation_id = await set_annotation(plane, find, sent)
    rows = await plane.database.read(lambda tx: annotation_store.annotations_of_build(tx, find(tx)))
    made = [row for row in rows if row["id"] == annotation_id]
    if not made:
        raise not_found("such annotation any more")
    (shape,) = await annotation_shapes(plane, made[0]["build_id"], build_url(plane, request), made)
    return render(shape, 201)


async def _delete_annotation(plane: ControlPlane, request: Request) -> Response:
    await delete_annotation(plane, _finder(request), request.path_params["annotation_id"])
    return Response(status_code=204)


async def _show_meta_data(plane: ControlPlane, request: Request) -> Response:
    find = _finder(request)
    return render(await plane.database.read(lambda tx: meta_data_of_build(tx, find(tx))))


async def _set_meta_data(plane: ControlPlane, request: Request) -> Response:
    body = await read_json(request, dict[str, str], plane.settings.limits.max_body_bytes)
    await set_build_meta_data(plane, _finder(request), [MetaDataItem(key, value) for key, value in body.items()])
    return await _show_meta_data(plane, request)


_BUILD = "/pipelines/{slug}/builds/{number:whole}"

# Method, path below `/v2/organizations/{organization}`, handler.
BUILD_NOTE_ENDPOINTS: tuple[tuple[str, str, Handler], ...] = (
    ("POST", _BUILD + "/annotations", _annotate),
    ("DELETE", _BUILD + "/annotations/{annotation_id}", _delete_annotation),
    ("GET", _BUILD + "/meta-data", _show_meta_data),
    ("PATCH", _BUILD + "/meta-data", _set_meta_data),
)

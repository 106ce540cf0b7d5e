"""What readers check signatures with, in the REST API: signed steps, public keys, and how signing stands."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from pipeseal.controlplane.http.bodies import read_json, read_number
from pipeseal.controlplane.http.paging import cut_page, read_page, render_page
from pipeseal.controlplane.http.public import is_stranger, shown
from pipeseal.controlplane.http.respond import render
from pipeseal.controlplane.services import signed_steps, signing_report
from pipeseal.controlplane.services.authenticate import not_found
from pipeseal.controlplane.services.plane import ControlPlane
from pipeseal.controlplane.store import builds as build_store
from pipeseal.controlplane.store import pages
from pipeseal.controlplane.store import signing_keys as key_store
from pipeseal.controlplane.store.database import Transaction
from pipeseal.errors import MalformedInput

Handler: TypeAlias = Callable[[ControlPlane, Request], Awaitable[Response]]
_MAX_DESCRIPTION = 200


class NewKeys(msgspec.Struct, forbid_unknown_fields=True):
    """Public keys to make known: a JWK Set, or one JWK (RFC 7517)."""

    jwks: dict[str, Any]
    description: str = ""


class KeyChanges(msgspec.Struct, forbid_unknown_fields=True):
    """Whether the key counts as revoked."""

    revoked: bool


def _find_build(tx: Transaction, request: Request) -> str:
    build = build_store.find_build(tx, request.path_params["slug"], request.path_params["number"])
    if build is None:
        raise not_found("such build")
    return str(build["id"])


async def _list_signed_steps(plane: ControlPlane, request: Request) -> Response:
    page = read_page(request)

    def look(tx: Transaction) -> tuple[list[str], int | None]:
        build_id = _find_build(tx, request)
        job_ids = key_store.script_jobs(tx, build_id, limit=page.limit, offset=page.offset)
        return job_ids, key_store.count_script_jobs(tx, build_id) if len(job_ids) > page.size else None

    job_ids, total = await plane.database.read(look)
    found = await signed_steps.read_signed_steps(plane, job_ids, stranger=is_stranger(request))
    return render_page(plane, request, page, shown(request, found), total=total)


async def _show_signed_step(plane: ControlPlane, request: Request) -> Response:
    job_id = request.path_params["job_id"]

    def look(tx: Transaction) -> None:
        row = pages.job_of_build(tx, _find_build(tx, request), job_id)
        if row is None or row["kind"] != "script":
            raise not_found("signature of such a job")

    await plane.database.read(look)
    found = await signed_steps.read_signed_steps(plane, [job_id], stranger=is_stranger(request))
    if not found:
        raise not_found("signature of such a job")
    return render(shown(request, found[0]))


async def _list_keys(plane: ControlPlane, request: Request) -> Response:
    page = read_page(request)
    rows = await plane.database.read(key_store.list_keys)
    shapes = [signed_steps.key_shape(row) for row in cut_page(page, rows)]
    return render_page(plane, request, page, shapes, total=len(rows))


async def _add_keys(plane: ControlPlane, request: Request) -> Response:
    body = await read_json(request, NewKeys, plane.settings.limits.max_body_bytes)
    description = " ".join(body.description.split())
    if len(description) > _MAX_DESCRIPTION:
        raise MalformedInput("request.malformed", f"a description has at most {_MAX_DESCRIPTION} characters")
    return render(await signed_steps.add_keys(plane, msgspec.json.encode(body.jwks), description), 201)


def _find_key(tx: Transaction, request: Request) -> str:
    key_id: str = request.path_params["key_id"]
    if key_store.find_key(tx, key_id) is None:
        raise not_found("such key")
    return key_id


async def _change_key(plane: ControlPlane, request: Request) -> Response:
    body = await read_json(request, KeyChanges, plane.settings.limits.max_body_bytes)
    now = plane.now()

    def change(tx: Transaction) -> signed_steps.SigningKey:
        key_id = _find_key(tx, request)
        row = key_store.find_key(tx, key_id)
        if row is not None and (row["revoked_at"] is not None) != body.revoked:
            key_store.set_revoked(tx, key_id, now if body.revoked else None)
        row = key_store.find_key(tx, key_id)
        assert row is not None
        return signed_steps.key_shape(row)

    return render(await plane.database.write(change))


async def _delete_key(plane: ControlPlane, request: Request) -> Response:
    await plane.database.write(lambda tx: key_store.delete_key(tx, _find_key(tx, request)))
    return Response(status_code=204)


async def _list_uses(plane: ControlPlane, request: Request) -> Response:
    page = read_page(request)

    def look(tx: Transaction) -> str:
        row = key_store.find_key(tx, _find_key(tx, request))
        assert row is not None
        return str(row["kid"])

    uses = await signed_steps.read_uses(plane, await plane.database.read(look))
    return render_page(plane, request, page, cut_page(page, uses), total=len(uses))


async def _show_report(plane: ControlPlane, request: Request) -> Response:
    days = read_number(request, "days", signing_report.REPORT_DAYS, most=signing_report.MOST_DAYS)
    return render(await signing_report.read_report(plane, request.path_params["slug"], days=days))


async def _list_signing(plane: ControlPlane, request: Request) -> Response:
    page = read_page(request)
    found, total = await signing_report.list_signing(plane, limit=page.limit, offset=page.offset)
    return render_page(plane, request, page, found, total=total)


_BUILD = "/pipelines/{slug}/builds/{number:whole}"

# Method, path below `/v2/organizations/{organization}`, handler.
TRUST_ENDPOINTS: tuple[tuple[str, str, Handler], ...] = (
    ("GET", _BUILD + "/signed-steps", _list_signed_steps),
    ("GET", _BUILD + "/jobs/{job_id}/signed-step", _show_signed_step),
    ("GET", "/signing", _list_signing),
    ("GET", "/pipelines/{slug}/signing", _show_report),
    ("GET", "/keys", _list_keys),
    ("POST", "/keys", _add_keys),
    ("PATCH", "/keys/{key_id}", _change_key),
    ("DELETE", "/keys/{key_id}", _delete_key),
    ("GET", "/keys/{key_id}/steps", _list_uses),
)

"""The REST API's view of what makes builds, and of what is told about them: schedules, webhooks, notifications."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from sqlite3 import Row
from typing import Any, TypeAlias

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from pipeseal.controlplane.http.bodies import read_json
from pipeseal.controlplane.http.paging import cut_page, read_page, render_page
from pipeseal.controlplane.http.respond import render
from pipeseal.controlplane.http.rest_bodies import NewWebhook, WebhookSecret
from pipeseal.controlplane.http.shapes import organization_url, time_text
from pipeseal.controlplane.services import schedules, webhooks
from pipeseal.controlplane.services.authenticate import not_found
from pipeseal.controlplane.services.notify import notification_secret
from pipeseal.controlplane.services.plane import ControlPlane
from pipeseal.controlplane.store import builds as build_store
from pipeseal.controlplane.store import notifications as notification_store
from pipeseal.controlplane.store import schedules as schedule_store
from pipeseal.controlplane.store import webhooks as webhook_store
from pipeseal.controlplane.store.database import Transaction

Handler: TypeAlias = Callable[[ControlPlane, Request], Awaitable[Response]]
_TEXTS = msgspec.json.Decoder(dict[str, str])


def _pipeline(tx: Transaction, request: Request) -> Row:
    row = build_store.find_pipeline(tx, request.path_params["slug"])
    if row is None:
        raise not_found("such pipeline")
    return row


def _schedule_shape(plane: ControlPlane, slug: str, row: Row) -> dict[str, Any]:
    return {
        "id": row["id"],
        "url": f"{organization_url(plane)}/pipelines/{slug}/schedules/{row['id']}",
        "label": row["label"],
        "cronline": row["cronline"],
        "message": row["message"],
        "commit": row["commit_id"],
        "branch": row["branch"] or None,
        "env": _TEXTS.decode(row["env"]),
        "enabled": bool(row["enabled"]),
        "next_build_at": time_text(row["next_at"]),
        "failed_at": time_text(row["failed_at"]),
        "failed_message": row["failed_message"] or None,
        "created_at": time_text(row["created_at"]),
    }


async def _read_schedule(plane: ControlPlane, request: Request, schedule_id: str) -> dict[str, Any]:
    slug = request.path_params["slug"]
    row = await plane.database.read(lambda tx: schedules.find_schedule(tx, slug, schedule_id))
    return _schedule_shape(plane, slug, row)


async def _list_schedules(plane: ControlPlane, request: Request) -> Response:
    slug = request.path_params["slug"]
    rows = await plane.database.read(lambda tx: schedule_store.list_schedules(tx, _pipeline(tx, request)["id"]))
    page = read_page(request)
    shapes = [_schedule_shape(plane, slug, row) for row in cut_page(page, rows)]
    return render_page(plane, request, page, shapes, total=len(rows))


async def _create_schedule(plane: ControlPlane, request: Request) -> Response:
    body = await read_json(request, schedules.ScheduleFields, plane.settings.limits.max_body_bytes)
    schedule_id = await schedules.create_schedule(plane, request.path_params["slug"], body)
    return render(await _read_schedule(plane, request, schedule_id), 201)


async def _show_schedule(plane: ControlPlane, request: Request) -> Response:
    return render(await _read_schedule(plane, request, request.path_params["schedule_id"]))


async def _update_schedule(plane: ControlPlane, request: Request) -> Response:
    body = await read_json(request, schedules.ScheduleFields, plane.settings.limits.max_body_bytes)
    schedule_id = request.path_params["schedule_id"]
    await schedules.update_schedule(plane, request.path_params["slug"], schedule_id, body)
    return render(await _read_schedule(plane, request, schedule_id))


async def _delete_schedule(plane: ControlPlane, request: Request) -> Response:
    await schedules.delete_schedule(plane, request.path_params["slug"], request.path_params["schedule_id"])
    return Response(status_code=204)


async def _list_webhooks(plane: ControlPlane, request: Request) -> Response:
    rows = await plane.database.read(lambda tx: webhook_store.list_webhooks(tx, _pipeline(tx, request)["id"]))
    page = read_page(request)
    shapes = [
        {"id": row["id"], "provider": row["provider"], "created_at": time_text(row["created_at"])}
        for row in cut_page(page, rows)
    ]
    return render_page(plane, request, page, shapes, total=len(rows))


async def _create_webhook(plane: ControlPlane, request: Request) -> Response:
    body = await read_json(request, NewWebhook, plane.settings.limits.max_body_bytes)
    made = await webhooks.create_webhook(plane, request.path_params["slug"], body.provider, body.secret)
    return render({"id": made.id, "provider": body.provider, "webhook_url": made.url, "secret": made.secret}, 201)


async def _replace_webhook_secret(plane: ControlPlane, request: Request) -> Response:
    body = await read_json(request, WebhookSecret, plane.settings.limits.max_body_bytes, empty=WebhookSecret())
    webhook_id = request.path_params["webhook_id"]
    secret = await webhooks.replace_secret(plane, request.path_params["slug"], webhook_id, body.secret)
    return render({"id": webhook_id, "secret": secret})


async def _delete_webhook(plane: ControlPlane, request: Request) -> Response:
    await webhooks.delete_webhook(plane, request.path_params["slug"], request.path_params["webhook_id"])
    return Response(status_code=204)


async def _list_notifications(plane: ControlPlane, request: Request) -> Response:
    slug, number = request.path_params["slug"], request.path_params["number"]

    def look(tx: Transaction) -> list[Row]:
        build = build_store.find_build(tx, slug, number)
        if build is None:
            raise not_found("such build")
        return notification_store.notifications_of_build(tx, build["id"])

    page = read_page(request)
    rows = await plane.database.read(look)
    shapes = [
        {
            "id": row["id"],
            "event": row["event"],
            "url": row["url"],
            "attempts": row["attempts"],
            "status": row["status"],
            "next_attempt_at": time_text(row["next_at"]),
            "created_at": time_text(row["created_at"]),
        }
        for row in cut_page(page, rows)
    ]
    return render_page(plane, request, page, shapes, total=len(rows))


async def _show_notification_secret(plane: ControlPlane, _request: Request) -> Response:
    return render({"secret": await notification_secret(plane)})


_PIPELINE = "/pipelines/{slug}"
_SCHEDULE = _PIPELINE + "/schedules/{schedule_id}"
_WEBHOOK = _PIPELINE + "/webhooks/{webhook_id}"

# Method, path below `/v2/organizations/{organization}`, handler.
SCHEDULING_ENDPOINTS: tuple[tuple[str, str, Handler], ...] = (
    ("GET", _PIPELINE + "/schedules", _list_schedules),
    ("POST", _PIPELINE + "/schedules", _create_schedule),
    ("GET", _SCHEDULE, _show_schedule),
    ("PATCH", _SCHEDULE, _update_schedule),
    ("DELETE", _SCHEDULE, _delete_schedule),
    ("GET", _PIPELINE + "/webhooks", _list_webhooks),
    ("POST", _PIPELINE + "/webhooks", _create_webhook),
    ("PUT", _WEBHOOK + "/secret", _replace_webhook_secret),
    ("DELETE", _WEBHOOK, _delete_webhook),
    ("GET", _PIPELINE + "/builds/{number:whole}/notifications", _list_notifications),
    ("GET", "/notification-secret", _show_notification_secret),
)

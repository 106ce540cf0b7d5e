"""The Agent API: one handler for each row of `agentapi.routes.ROUTES`, mounted below `/v3`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeseal.agentapi.messages import (
    FinishRequest,
    Heartbeat,
    MetaDataExists,
    MetaDataItem,
    RegisterRequest,
    StartRequest,
)
from pipeseal.agentapi.routes import ROUTES, Token
from pipeseal.controlplane.http import job_side
from pipeseal.controlplane.http.bodies import bearer, hang_up, inflate, read_body, read_json, read_number
from pipeseal.controlplane.http.respond import render
from pipeseal.controlplane.services import meta_data
from pipeseal.controlplane.services.accept_job import accept_job
from pipeseal.controlplane.services.acquire_job import acquire_job
from pipeseal.controlplane.services.append_log import append_log, is_known_writer
from pipeseal.controlplane.services.authenticate import (
    verify_job_token,
    verify_registration_token,
    verify_session_token,
)
from pipeseal.controlplane.services.describe_token import describe_token
from pipeseal.controlplane.services.finish_job import finish_job
from pipeseal.controlplane.services.job_access import verify_held_token
from pipeseal.controlplane.services.ping import ASKED_AT, ping
from pipeseal.controlplane.services.plane import ControlPlane
from pipeseal.controlplane.services.register_agent import disconnect_agent, heartbeat, register_agent
from pipeseal.controlplane.services.start_job import job_state, start_job
from pipeseal.controlplane.services.upload_pipeline import UploadRequest, upload_pipeline, upload_state
from pipeseal.errors import MalformedInput

PREFIX = "/v3"
TOKEN_PATH = "/token"  # not in the contract: agents do not ask it, only people who wonder about a token  # noqa: S105
_SCHEME = "Token"
_GZIP_OVERHEAD = 64 * 1024
_INFLATE_INLINE = 16 * 1024
_SMALL_BODY = 64 * 1024

Handler: TypeAlias = Callable[[ControlPlane, Request], Awaitable[Response]]


async def _register(plane: ControlPlane, request: Request) -> Response:
    token = bearer(request, _SCHEME)
    verify_registration_token(plane, token)  # before the body is read
    body = await read_json(request, RegisterRequest, plane.settings.limits.max_body_bytes)
    return render(await register_agent(plane, token, body))


async def _describe_token(plane: ControlPlane, request: Request) -> Response:
    return render(await describe_token(plane, bearer(request, _SCHEME)))


async def _connect(plane: ControlPlane, request: Request) -> Response:
    await verify_session_token(plane, bearer(request, _SCHEME))
    return render({})


async def _disconnect(plane: ControlPlane, request: Request) -> Response:
    session = await verify_session_token(plane, bearer(request, _SCHEME))
    await disconnect_agent(plane, session)
    return render({})


async def _ping(plane: ControlPlane, request: Request) -> Response:
    session = await verify_session_token(plane, bearer(request, _SCHEME))
    gone = asyncio.ensure_future(hang_up(request))
    try:
        return render(await ping(plane, session, gone, asked_at=request.scope.get("state", {}).get(ASKED_AT)))
    finally:
        gone.cancel()


async def _heartbeat(plane: ControlPlane, request: Request) -> Response:
    await verify_session_token(plane, bearer(request, _SCHEME))
    body = await read_json(request, Heartbeat, plane.settings.limits.max_body_bytes, empty=Heartbeat())
    return render(heartbeat(plane, body))


async def _accept_job(plane: ControlPlane, request: Request) -> Response:
    session = await verify_session_token(plane, bearer(request, _SCHEME))
    return render(await accept_job(plane, session, request.path_params["job_id"]))


async def _acquire_job(plane: ControlPlane, request: Request) -> Response:
    session = await verify_session_token(plane, bearer(request, _SCHEME))
    return render(await acquire_job(plane, session, request.path_params["job_id"]))


async def _start_job(plane: ControlPlane, request: Request) -> Response:
    token = bearer(request, _SCHEME)
    await read_json(request, StartRequest, plane.settings.limits.max_body_bytes, empty=StartRequest())
    await start_job(plane, request.path_params["job_id"], token)
    return render({})


async def _job_state(plane: ControlPlane, request: Request) -> Response:
    return render(await job_state(plane, request.path_params["job_id"], bearer(request, _SCHEME)))


async def _finish_job(plane: ControlPlane, request: Request) -> Response:
    token = bearer(request, _SCHEME)
    body = await read_json(request, FinishRequest, plane.settings.limits.max_body_bytes)
    await finish_job(plane, request.path_params["job_id"], token, body)
    return render({})


async def _append_log(plane: ControlPlane, request: Request) -> Response:
    token = bearer(request, _SCHEME)
    limit = plane.settings.limits.max_chunk_bytes
    sequence, offset = read_number(request, "sequence"), read_number(request, "offset")
    size = read_number(request, "size")
    body = await read_body(request, limit + _GZIP_OVERHEAD)
    encoding = request.headers.get("content-encoding", "")
    if len(body) > _INFLATE_INLINE:
        data = await asyncio.to_thread(inflate, body, encoding, limit)
    else:
        data = inflate(body, encoding, limit)
    if len(data) != size:
        raise MalformedInput("request.malformed", f"the log chunk has {len(data)} bytes, and its query says {size}")
    await append_log(plane, request.path_params["job_id"], token, sequence=sequence, start=offset, data=data)
    return render({})


class HeaderTimes(msgspec.Struct):
    """Number of a log group to the time when it began, RFC 3339."""

    header_times: dict[str, str] = {}


async def _header_times(plane: ControlPlane, request: Request) -> Response:
    token = bearer(request, _SCHEME)
    body = await read_json(request, HeaderTimes, plane.settings.limits.max_body_bytes)
    await meta_data.set_header_times(plane, request.path_params["job_id"], token, body.header_times)
    return render({})


class UploadResult(msgspec.Struct):
    """Ours: what the server understood only in part. The stock agent reads no body here."""

    warnings: list[str]


async def _upload_pipeline(plane: ControlPlane, request: Request) -> Response:
    token = bearer(request, _SCHEME)
    body = await read_json(request, UploadRequest, plane.settings.limits.max_upload_bytes)
    return render(UploadResult(await upload_pipeline(plane, request.path_params["job_id"], token, body)))


async def _upload_state(plane: ControlPlane, request: Request) -> Response:
    job_id, upload_id = request.path_params["job_id"], request.path_params["upload_id"]
    return render(await upload_state(plane, job_id, bearer(request, _SCHEME), upload_id))


async def _set_meta_data(plane: ControlPlane, request: Request) -> Response:
    token = bearer(request, _SCHEME)
    item = await read_json(request, MetaDataItem, plane.settings.limits.max_body_bytes)
    await meta_data.set_meta_data(plane, request.path_params["job_id"], token, [item])
    return render({})


class MetaDataBatch(msgspec.Struct):
    """Keys that are set together."""

    items: list[MetaDataItem]


async def _set_meta_data_batch(plane: ControlPlane, request: Request) -> Response:
    token = bearer(request, _SCHEME)
    batch = await read_json(request, MetaDataBatch, plane.settings.limits.max_upload_bytes)
    await meta_data.set_meta_data(plane, request.path_params["job_id"], token, batch.items)
    return render({})


def _meta_data_of(request: Request, token: str) -> meta_data.Find:
    """Of which build: that of the job in the path, or the build in the path."""
    if "build_id" in request.path_params:
        return meta_data.build_by_id(request.path_params["build_id"], token)
    return meta_data.build_of_job(request.path_params["job_id"], token)


async def _get_meta_data(plane: ControlPlane, request: Request) -> Response:
    token = bearer(request, _SCHEME)
    item = await read_json(request, MetaDataItem, plane.settings.limits.max_body_bytes)
    return render(await meta_data.get_meta_data(plane, _meta_data_of(request, token), item.key))


async def _has_meta_data(plane: ControlPlane, request: Request) -> Response:
    token = bearer(request, _SCHEME)
    item = await read_json(request, MetaDataItem, plane.settings.limits.max_body_bytes)
    keys = await meta_data.list_meta_data(plane, _meta_data_of(request, token))
    return render(MetaDataExists(exists=item.key in keys))


async def _list_meta_data(plane: ControlPlane, request: Request) -> Response:
    return render(await meta_data.list_meta_data(plane, _meta_data_of(request, bearer(request, _SCHEME))))


HANDLERS: dict[str, Handler] = {
    "register": _register,
    "connect": _connect,
    "disconnect": _disconnect,
    "ping": _ping,
    "heartbeat": _heartbeat,
    "accept_job": _accept_job,
    "start_job": _start_job,
    "job_state": _job_state,
    "finish_job": _finish_job,
    "append_log": _append_log,
    "header_times": _header_times,
    "upload_pipeline": _upload_pipeline,
    "upload_state": _upload_state,
    "set_meta_data": _set_meta_data,
    "get_meta_data": _get_meta_data,
    "has_meta_data": _has_meta_data,
    "list_meta_data": _list_meta_data,
    "set_meta_data_batch": _set_meta_data_batch,
    "get_build_meta_data": _get_meta_data,
    "has_build_meta_data": _has_meta_data,
    "list_build_meta_data": _list_meta_data,
    "acquire_job": _acquire_job,
    "stop_agent": job_side.stop_agent,
    "pause_agent": job_side.pause_agent,
    "resume_agent": job_side.resume_agent,
    "update_job": job_side.update_job,
    "promise_failure": job_side.promise_failure,
    "annotate": job_side.annotate,
    "remove_annotation": job_side.remove_annotation,
    "get_secret": job_side.get_job_secret,
    "request_oidc_token": job_side.request_token,
    "export_step": job_side.export_step,
    "update_step": job_side.update_step,
    "cancel_step": job_side.cancel_step,
    "cancel_build": job_side.cancel_build,
    "create_artifacts": job_side.create_artifacts,
    "update_artifacts": job_side.update_artifacts,
    "search_artifacts": job_side.search_artifacts,
}
# Their values may hold slashes, which arrive decoded.
_WITH_SLASHES = ("context", "step")


def agent_routes(plane: ControlPlane) -> list[Route]:
    """The endpoints of the Agent API, all below `/v3`."""
    return [
        Route(PREFIX + _mounted(route.path), _bound(plane, HANDLERS[route.name], route.token), methods=[route.method])
        for route in ROUTES
    ] + [Route(PREFIX + TOKEN_PATH, _bound(plane, _describe_token, Token.REGISTRATION), methods=["GET"])]


def _mounted(path: str) -> str:
    for name in _WITH_SLASHES:
        path = path.replace(f"{{{name}}}", f"{{{name}:path}}")
    return path


def _bound(plane: ControlPlane, handler: Handler, token: Token) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        if token is Token.JOB and not _is_small(request):
            await _check_job_token(plane, request)
        return await handler(plane, request)

    return endpoint


def _is_small(request: Request) -> bool:
    """Whether a body is so small that its token may be checked together with what it asks for."""
    length = request.headers.get("content-length", "0" if "transfer-encoding" not in request.headers else "")
    return length.isdecimal() and int(length) <= _SMALL_BODY


async def _check_job_token(plane: ControlPlane, request: Request) -> None:
    """Check a job's token before its body is read: strangers cannot fill the server's memory."""
    job_id, token = request.path_params.get("job_id"), bearer(request, _SCHEME)
    if job_id is None:
        await plane.database.read(lambda tx: verify_held_token(tx, token))
    elif not is_known_writer(plane, job_id, token):
        await plane.database.read(lambda tx: verify_job_token(tx, job_id, token))

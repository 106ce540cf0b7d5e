"""Answers and errors: JSON always, `{"message", "code"}` for whatever goes wrong."""

from __future__ import annotations

import logging
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeseal.agentapi.messages import ErrorMessage
from pipeseal.errors import PipesealError, Unavailable, VerificationError, escape_control

_log = logging.getLogger("pipeseal.server")
_encoder = msgspec.json.Encoder()
_RETRY_SECONDS = "2"  # agents that ask for a job which is not to be had yet count in seconds, not dates

# Codes whose status is not that of their family (422, 401 or 503). An agent reads statuses, not codes: it repeats a
# request after a 5xx and takes any 4xx as final.
_STATUS = {
    "access.other_job": 403,
    "access.other_build": 403,
    "access.other_agent": 403,
    "access.link": 403,
    "access.sign_in": 403,
    "access.scope": 403,
    "access.other_page": 403,
    "access.link_used": 410,
    "access.slow_down": 429,
    "access.too_often": 429,
    "artifact.limit": 403,
    "annotation.limit": 403,
    "webhook.unsigned": 401,
    "webhook.signature": 401,
    "webhook.stale": 401,
    "request.not_found": 404,
    "stream.unheard": 404,  # what agents take for a server without streams
    "request.method": 405,
    "state.unavailable": 409,
    "state.not_expected": 409,
    "state.unfinished": 409,
    "state.locked": 423,
    "artifact.conflict": 409,
    "promise.conflict": 409,
    "request.too_large": 413,
    "log.limit": 413,
}


def render(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """`value` as a JSON answer."""
    return Response(_encoder.encode(value), status, headers=headers, media_type="application/json")


def status_of(error: PipesealError) -> int:
    """The HTTP status for an error."""
    match error:
        case VerificationError():
            return _STATUS.get(error.code, 401 if error.code.startswith("access.") else 422)
        case Unavailable():
            return 503
        case _:
            return _STATUS.get(error.code, 422)


async def render_known(request: Request, error: Exception) -> Response:
    """The answer for an error of ours."""
    assert isinstance(error, PipesealError)
    status = status_of(error)
    if status >= 500:
        _log.error("%s %s: %s", request.method, escape_control(request.url.path), escape_control(error.message))
    message = f"{error.message} ({error.help})" if error.help else error.message
    wait = error.evidence.get("retry-after") or (_RETRY_SECONDS if status == 423 else "")
    headers = {"Retry-After": wait} if wait else None
    return render(ErrorMessage(message=message, code=error.code), status, headers)


async def render_http(request: Request, error: Exception) -> Response:
    """The answer for a path or method that is not there."""
    assert isinstance(error, HTTPException)
    code = "request.method" if error.status_code == 405 else "request.not_found"
    what = "has no such method" if error.status_code == 405 else "is not served here"
    path = escape_control(request.url.path[:200])
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = ", ".join(_methods(request))
    return render(ErrorMessage(message=f"{path} {what}", code=code), error.status_code, headers)


def _methods(request: Request) -> list[str]:
    """The methods of a path, of all its routes: the first one alone would not do. # RFC 9110 15.5.6"""
    found: set[str] = set()
    for route in request.app.routes:
        if isinstance(route, Route) and route.path_regex.match(request.scope["path"]):
            found |= route.methods or set()
    return sorted(found)


async def render_unexpected(_request: Request, _error: Exception) -> Response:
    """The answer for a fault of this program, told in general; the web server logs it in full."""
    return render(ErrorMessage(message="the server met an error of its own; its log has the details"), 500)

"""Signing in at a provider, for browsers: to it, and back from it."""

from __future__ import annotations

import logging
from typing import Final
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from pipeseal.controlplane.http.readers import caller_of, is_secure, set_cookie
from pipeseal.controlplane.services import sign_in_oidc
from pipeseal.controlplane.services.accounts import verify_browser
from pipeseal.controlplane.services.authenticate import not_found
from pipeseal.controlplane.services.changes import note_change
from pipeseal.controlplane.services.plane import ControlPlane
from pipeseal.errors import PipesealError, escape_control

BEGIN_PATH: Final = "/session/oidc"
_log = logging.getLogger("pipeseal.server")
_MAX_TEXT: Final = 4_096


def sign_in_routes(plane: ControlPlane) -> list[Route]:
    """The two addresses; 404 where no provider is set."""
    provider = plane.settings.sign_in_provider

    async def begin(request: Request) -> Response:
        if provider is None:
            raise not_found("sign-in provider")
        plane.anonymous_rate.take(caller_of(request), plane.steady())
        try:
            attempt, address = await sign_in_oidc.begin(plane, provider)
        except PipesealError as error:
            return _back(error)
        answer = RedirectResponse(address, 303)
        answer.set_cookie(
            _cookie(plane),
            attempt.render(),
            max_age=sign_in_oidc.ATTEMPT_SECONDS,
            path="/",
            secure=is_secure(plane),
            httponly=True,
            samesite="lax",  # it has to come along when the provider sends the browser back
        )
        return answer

    async def callback(request: Request) -> Response:
        if provider is None:
            raise not_found("sign-in provider")
        plane.anonymous_rate.take(caller_of(request), plane.steady())
        query = request.query_params
        try:
            token = await sign_in_oidc.finish(
                plane,
                provider,
                cookie=request.cookies.get(_cookie(plane), "")[:_MAX_TEXT],
                state=query.get("state", "")[:_MAX_TEXT],
                code=query.get("code", "")[:_MAX_TEXT],
                browser=request.headers.get("user-agent", ""),
            )
            reader, _row = await verify_browser(plane, token)
            await note_change(plane, reader, request.method, request.url.path)
        except PipesealError as error:
            answer = _back(error)
        else:
            answer = RedirectResponse("/", 303)
            set_cookie(plane, answer, token)
        answer.delete_cookie(_cookie(plane), path="/", secure=is_secure(plane), httponly=True, samesite="lax")
        return answer

    return [
        Route(BEGIN_PATH, begin, methods=["GET"]),
        Route(sign_in_oidc.CALLBACK_PATH, callback, methods=["GET"]),
    ]


def _back(error: PipesealError) -> Response:
    """Back to the page to sign in at, which says what went wrong; the log has it too."""
    _log.warning("signing in at the provider failed: %s (%s)", escape_control(error.message), error.code)
    return RedirectResponse("/sign-in?" + urlencode({"problem": error.code}), 303)


def _cookie(plane: ControlPlane) -> str:
    return "__Host-pipeseal-sign-in" if is_secure(plane) else "pipeseal-sign-in"

"""Pings in front of the router: an idle agent asks for nothing else, and a thousand of them ask all the time.

The same service gives the same answer as behind the router. What is not an ordinary ping of a connected agent
goes there, where whatever is wrong with it is said.
"""

from __future__ import annotations

import asyncio
from typing import Final

from starlette.requests import Request

from pipeseal.agentapi.routes import route_path
from pipeseal.controlplane.http.door import Application, Receive, Scope, Send
from pipeseal.controlplane.http.respond import render, render_known, render_unexpected
from pipeseal.controlplane.services.authenticate import verify_session_token
from pipeseal.controlplane.services.dispatch import Session
from pipeseal.controlplane.services.ping import ping
from pipeseal.controlplane.services.plane import ControlPlane
from pipeseal.errors import PipesealError

_SCHEME: Final = b"token "
_MAX_TOKEN_BYTES: Final = 512


class QuickPing:
    """ASGI application in front of another.

    Parameters:
        plane: the control plane.
        application: what answers all other requests.
        prefix: of the Agent API.
    """

    def __init__(self, plane: ControlPlane, application: Application, prefix: str) -> None:
        self._plane = plane
        self._application = application
        self._path = prefix + route_path("ping")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a ping, or hand the request on."""
        if scope["type"] == "http" and scope["path"] == self._path and scope["method"] == "GET":
            session = await self._find_session(scope)
            if session is not None:
                await self._answer(session, scope, receive, send)
                return
        await self._application(scope, receive, send)

    async def _find_session(self, scope: Scope) -> Session | None:
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        if len(given) != 1 or given[0][: len(_SCHEME)].lower() != _SCHEME:
            return None
        token = given[0][len(_SCHEME) :].strip()
        if not 0 < len(token) <= _MAX_TOKEN_BYTES:
            return None
        try:
            return await verify_session_token(self._plane, token.decode("latin-1"))
        except PipesealError:
            return None  # the route says why

    async def _answer(self, session: Session, scope: Scope, receive: Receive, send: Send) -> None:
        gone = asyncio.ensure_future(_hang_up(receive))
        fault = None
        try:
            response = render(await ping(self._plane, session, gone))
        except PipesealError as error:
            response = await render_known(Request(scope), error)
        except Exception as error:  # answered like every fault, and then told to the web server, which logs it
            response, fault = await render_unexpected(Request(scope), error), error
        finally:
            gone.cancel()
        await response(scope, receive, send)
        if fault is not None:
            raise fault


async def _hang_up(receive: Receive) -> None:
    """Returns when the client has closed its connection."""
    while (await receive())["type"] != "http.disconnect":
        pass

"""The stream of pings: an answer whose head is sent at once, and whose body for as long as the agent listens.

HTTP/1.1 carries it in chunks. gRPC ends a stream with a status in trailers, which this server cannot send, and need
not: the agent ends a stream itself, after its own timeout, and one that ends otherwise ended as something is wrong.
The agent then polls, and tries a stream again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import aclosing

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from pipeseal.agentapi.ping_stream import CONTENT_TYPES, STREAM_PATH, parse_stream_request, render_stream_action
from pipeseal.controlplane.http.bodies import bearer, hang_up, read_body
from pipeseal.controlplane.services.authenticate import verify_session_token
from pipeseal.controlplane.services.dispatch import Session
from pipeseal.controlplane.services.ping_stream import stream_pings, verify_stream
from pipeseal.controlplane.services.plane import ControlPlane
from pipeseal.errors import MalformedInput, PipesealError

_log = logging.getLogger("pipeseal.server")
_SCHEME = "Token"
_MAX_REQUEST_BYTES = 4096


def ping_stream_routes(plane: ControlPlane) -> list[Route]:
    """The endpoint, at the root of the host; none when the server is told not to stream, so that it answers 404."""
    if not plane.settings.streaming_pings:
        return []
    return [Route(STREAM_PATH, _bound(plane), methods=["POST"])]


def _bound(plane: ControlPlane) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        session = await verify_session_token(plane, bearer(request, _SCHEME))
        media_type = request.headers.get("content-type", "")
        if media_type not in CONTENT_TYPES:
            raise MalformedInput("request.malformed", f"a stream of pings is asked for as {CONTENT_TYPES[0]}")
        agent_id = parse_stream_request(await read_body(request, _MAX_REQUEST_BYTES))
        verify_stream(plane, session, agent_id)
        return _PingStream(plane, session, request, media_type)

    return endpoint


class _PingStream(Response):
    def __init__(self, plane: ControlPlane, session: Session, request: Request, media_type: str) -> None:
        super().__init__(
            headers={
                "content-type": media_type,
                "grpc-accept-encoding": "identity",
                "cache-control": "no-store",
                "x-accel-buffering": "no",  # nginx hands on what it gets
            }
        )
        del self.headers["content-length"]
        self._plane = plane
        self._session = session
        self._request = request

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        gone = asyncio.ensure_future(hang_up(self._request))
        try:
            async with aclosing(stream_pings(self._plane, self._session, gone)) as actions:
                async for action in actions:
                    await send(_body(render_stream_action(action), more=True))
        except PipesealError as error:  # the head is sent, so no status can tell; the agent polls, and tries again
            _log.error("the stream of agent %s ended: %s", self._session.id, error.message)
        finally:
            gone.cancel()
        await send(_body(b"", more=False))


def _body(content: bytes, *, more: bool) -> dict[str, object]:
    return {"type": "http.response.body", "body": content, "more_body": more}

"""What every request passes first: addresses that mean nothing are sent away, two spellings of one become one."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from starlette.convertors import Convertor, register_url_convertor

from pipeseal.agentapi.messages import ErrorMessage
from pipeseal.controlplane.http.headers import with_headers
from pipeseal.controlplane.http.respond import render

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

_REST = "/v2/"


class WholeNumber(Convertor[int]):
    """A path segment that is a number which databases can hold; anything longer is no number of ours."""

    regex = "[0-9]{1,15}"

    def convert(self, value: str) -> int:
        """The number."""
        return int(value)

    def to_string(self, value: int) -> str:
        """The segment."""
        return str(value)


register_url_convertor("whole", WholeNumber())


class Door:
    """ASGI application in front of another.

    An address with a NUL character is refused: neither a process environment nor every database could hold what it
    names. A slash at the end of a path of the REST API is taken off, since the ecosystem's clients write some so;
    redirecting them would lose the scheme behind a proxy.

    Every answer leaves with the headers of `with_headers`.

    Parameters:
        application: what answers all other requests.
        secure: people reach the server with TLS.
        count: is told of each answer when it begins: method, status, and seconds since the request came.
    """

    def __init__(
        self,
        application: Application,
        *,
        secure: bool = False,
        count: Callable[[str, int, float], None] | None = None,
    ) -> None:
        self._application = application
        self._secure = secure
        self._count = count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or hand it on."""
        if scope["type"] == "http":
            send = with_headers(self._counting(scope["method"], send), secure=self._secure)
            if "\0" in scope["path"] or b"%00" in scope["query_string"] or b"\0" in scope["query_string"]:
                problem = ErrorMessage(message="the address holds a NUL character", code="request.malformed")
                await render(problem, 422)(scope, receive, send)
                return
            if scope["path"].startswith(_REST) and scope["path"].endswith("/"):
                scope["path"] = scope["path"].removesuffix("/")
        await self._application(scope, receive, send)

    def _counting(self, method: str, send: Send) -> Send:
        count, began = self._count, time.monotonic()
        if count is None:
            return send

        async def sending(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                count(method, message["status"], time.monotonic() - began)
            await send(message)

        return sending

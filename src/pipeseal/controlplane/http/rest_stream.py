"""Builds and logs as streams of events, for pages that are looked at while they change.

The format is that of server-sent events. # https://html.spec.whatwg.org/multipage/server-sent-events.html 9.2.5
A stream goes on for `?wait=SECONDS`; without, it holds what is there and ends. Whoever wants more asks again, and is
then looked at anew: a session that ended shows nothing for longer than that.
"""

from __future__ import annotations

import asyncio
import hashlib
from base64 import b64encode
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Final, TypeAlias

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from pipeseal.controlplane.http.bodies import hang_up, read_number
from pipeseal.controlplane.http.public import shown
from pipeseal.controlplane.http.rest_builds import find_build, read_build, read_job
from pipeseal.controlplane.services.append_log import read_log
from pipeseal.controlplane.services.authenticate import not_found
from pipeseal.controlplane.services.events import build_topic, log_topic
from pipeseal.controlplane.services.plane import ControlPlane
from pipeseal.errors import MalformedInput

MAX_STREAM_SECONDS: Final = 600
CONTENT_TYPE: Final = "text/event-stream"
_GATHER_SECONDS: Final = 0.1  # changes that come close together are told together
# A stream of a build looks at it for a fifth of the time at most.
_PAUSE_SHARE: Final = 4
_LONGEST_PAUSE_SECONDS: Final = 3.0
_QUIET_SECONDS: Final = 15.0  # something is said that often, so that what stands between keeps the connection
_STILL_HERE: Final = b": still here\n\n"
# In these states nothing happens to a build by itself.
_ENDED: Final = frozenset({"passed", "failed", "canceled", "skipped", "not_run"})
Handler: TypeAlias = Callable[[ControlPlane, Request], Awaitable[Response]]


def render_event(name: str, data: Any, event_id: str = "") -> bytes:
    """One event; its data is JSON on one line.

    Parameters:
        event_id: what a client sends as `Last-Event-ID` to go on behind it; empty for none.
    """
    number = f"id: {event_id}\n".encode() if event_id else b""
    return number + b"event: " + name.encode() + b"\ndata: " + msgspec.json.encode(data) + b"\n\n"


async def _stream_build(plane: ControlPlane, request: Request) -> Response:
    """`build` events: `build` without its jobs, `jobs` that are new or changed, and `job_ids`, the order of all of
    them, whenever it changed; the first has everything. `end`: nothing changes by itself any more."""
    slug, number = request.path_params["slug"], request.path_params["number"]
    seconds = read_number(request, "wait", 0, most=MAX_STREAM_SECONDS)
    build, _ = await plane.database.read(lambda tx: find_build(tx, slug, number))

    async def look() -> dict[str, Any]:
        found: dict[str, Any] = shown(request, await read_build(plane, slug, number, retried=True))
        return found

    return _EventStream(plane, request, build_topic(build["id"]), seconds, _tell_build(look))


async def _tell_build(look: Callable[[], Awaitable[dict[str, Any]]]) -> AsyncGenerator[bytes]:
    told: dict[str, bytes] = {}
    order: list[str] = []
    rest_told = b""
    clock = asyncio.get_running_loop().time
    while True:
        begun = clock()
        shape = await look()
        jobs = shape.pop("jobs")
        digests = {job["id"]: hashlib.sha256(msgspec.json.encode(job)).digest() for job in jobs}
        rest = msgspec.json.encode(shape)
        changed = [job for job in jobs if told.get(job["id"]) != digests[job["id"]]]
        event: dict[str, Any] = {"build": shape, "jobs": changed}
        if list(digests) != order:
            order = event["job_ids"] = list(digests)
        if changed or "job_ids" in event or rest != rest_told:
            yield render_event("build", event)
        told, rest_told = digests, rest
        if shape["state"] in _ENDED:
            yield render_event("end", {"state": shape["state"]})
            return
        # Looking at thousands of jobs takes its time, which others need too.
        pause = min(_LONGEST_PAUSE_SECONDS, (clock() - begun) * _PAUSE_SHARE)
        yield b""
        await asyncio.sleep(pause)


async def _stream_log(plane: ControlPlane, request: Request) -> Response:
    """`log` events: `data`, the bytes in base64; each event's id is how many bytes of the log came up to its end.
    `end`: the log is closed, and `bytes` long."""
    job = await read_job(plane, request, request.path_params["job_id"])
    if job["type"] != "script":
        raise not_found("log of this kind of job")
    seconds = read_number(request, "wait", 0, most=MAX_STREAM_SECONDS)
    start = _last_event_id(request)
    if start is None:
        start = read_number(request, "offset", 0)
    return _EventStream(plane, request, log_topic(job["id"]), seconds, _tell_log(plane, job["id"], start))


async def _tell_log(plane: ControlPlane, job_id: str, start: int) -> AsyncGenerator[bytes]:
    while True:
        part = await read_log(plane, job_id, start)
        if part.data:
            start += len(part.data)
            yield render_event("log", {"data": b64encode(part.data).decode()}, str(start))
        elif part.ended:
            yield render_event("end", {"bytes": part.available})
            return
        else:
            yield b""


def _last_event_id(request: Request) -> int | None:
    text = request.headers.get("last-event-id", "")
    if not text:
        return None
    if not text.isascii() or not text.isdecimal() or len(text) > 15:
        raise MalformedInput("request.malformed", "`Last-Event-ID` is the id of an event of this stream")
    return int(text)


class _EventStream(Response):
    """Sends what `pieces` yields. After an empty piece it waits until `topic` is published, for `seconds` in all."""

    def __init__(
        self, plane: ControlPlane, request: Request, topic: str, seconds: int, pieces: AsyncGenerator[bytes]
    ) -> None:
        # "no-transform" and the last one keep proxies from holding back what is not whole yet.
        headers = {"Cache-Control": "no-store, no-transform", "X-Accel-Buffering": "no"}
        super().__init__(headers=headers, media_type=CONTENT_TYPE)
        del self.headers["content-length"]
        self._plane, self._request, self._topic = plane, request, topic
        self._seconds, self._pieces = seconds, pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream until it ends, its time is up, the client leaves, or the server stops."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._seconds
        gone = asyncio.ensure_future(hang_up(self._request))
        try:
            # Listened first, looked then: nothing that happens between is missed.
            with self._plane.events.listen(self._topic) as event:
                async with aclosing(self._pieces) as pieces:
                    async for piece in pieces:
                        if piece:
                            await send(_body(piece, more=True))
                        elif not await self._wait(event, gone, deadline, send):
                            break
                        if gone.done() or self._plane.dispatcher.closed:
                            break
        finally:
            gone.cancel()
        await send(_body(b"", more=False))

    async def _wait(self, event: asyncio.Event, gone: asyncio.Future[None], deadline: float, send: Send) -> bool:
        """Wait for a change; whether the stream goes on."""
        clock = asyncio.get_running_loop().time
        changed = asyncio.ensure_future(event.wait())
        either: set[asyncio.Future[Any]] = {changed, gone}
        try:
            while not changed.done():
                left = deadline - clock()
                if left <= 0 or gone.done() or self._plane.dispatcher.closed:
                    return False
                timeout = min(left, _QUIET_SECONDS)
                await asyncio.wait(either, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
                if not changed.done() and not gone.done() and timeout == _QUIET_SECONDS:
                    await send(_body(_STILL_HERE, more=True))
        finally:
            changed.cancel()
        await asyncio.wait({gone}, timeout=_GATHER_SECONDS)
        event.clear()
        return not gone.done()


def _body(content: bytes, *, more: bool) -> dict[str, object]:
    return {"type": "http.response.body", "body": content, "more_body": more}


_BUILD = "/pipelines/{slug}/builds/{number:whole}"

# Method, path below `/v2/organizations/{organization}`, handler.
STREAM_ENDPOINTS: tuple[tuple[str, str, Handler], ...] = (
    ("GET", _BUILD + "/events", _stream_build),
    ("GET", _BUILD + "/jobs/{job_id}/log/stream", _stream_log),
)

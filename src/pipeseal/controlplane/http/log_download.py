"""Sending logs: streamed, with `Range` and `ETag`, followed with `?offset=&wait=`; never whole in memory."""

from __future__ import annotations

import codecs
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from pipeseal.controlplane.http.bodies import read_number
from pipeseal.controlplane.http.ranges import choose_range, matches
from pipeseal.controlplane.services.append_log import read_log
from pipeseal.controlplane.services.plane import ControlPlane

_MAX_WAIT = 50
_TEXT = "text/plain; charset=utf-8"


async def send_log(plane: ControlPlane, request: Request, job: dict[str, Any], *, as_text: bool) -> Response:
    """The log of a job, as JSON, as text, or as text that a browser shows.

    Parameters:
        job: the job's shape.
        as_text: plain text: all of it, a `Range` of it, or what is there from `offset` on.
    """
    if as_text:
        if "offset" in request.query_params:
            return await _send_from(plane, request, job["id"])
        return await _send_text(plane, request, job["id"])
    if _wants_page(request):
        return await _send_page(plane, job["id"])
    return await _send_json(plane, job)


async def _send_text(plane: ControlPlane, request: Request, job_id: str) -> Response:
    size = (await read_log(plane, job_id, 0)).available
    # What is there of a log never changes, so its length says which bytes it is. # RFC 9110 8.8.3
    tag = f'"{job_id}-{size}"'
    headers = {"Accept-Ranges": "bytes", "ETag": tag, "Cache-Control": "private, no-cache"}
    if matches(request.headers.get("if-none-match", ""), tag):
        return Response(status_code=304, headers=headers)
    found = choose_range(request.headers, size, tag)
    if found is None:
        return Response(status_code=416, headers={**headers, "Content-Range": f"bytes */{size}"})
    headers["Content-Length"] = str(found.end - found.start)
    if found.partial:
        headers["Content-Range"] = f"bytes {found.start}-{found.end - 1}/{size}"
    status = 206 if found.partial else 200
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=_TEXT)
    return StreamingResponse(_bytes(plane, job_id, found.start, found.end), status, headers, _TEXT)


def _wants_page(request: Request) -> bool:
    """Whether `Accept` asks for HTML and not for JSON. # RFC 9110 12.5.1"""
    accepted = request.headers.get("accept", "")
    return "text/html" in accepted and "application/json" not in accepted


async def _send_page(plane: ControlPlane, job_id: str) -> Response:
    """The log as the text of an HTML document: all of it is escaped, and nothing of it could run."""
    part = await read_log(plane, job_id, 0)

    async def pieces() -> AsyncIterator[bytes]:
        yield b"<!doctype html><meta charset=utf-8><title>Log</title><pre>"
        async for data in _bytes(plane, job_id, 0, part.available):
            # Byte by byte: none of these is ever a part of another character in UTF-8.
            yield data.replace(b"&", b"&amp;").replace(b"<", b"&lt;").replace(b">", b"&gt;")
        yield b"</pre>"

    headers = {"Content-Security-Policy": "default-src 'none'; sandbox", "Cache-Control": "private, no-cache"}
    return StreamingResponse(pieces(), headers=headers, media_type="text/html; charset=utf-8")


async def _send_from(plane: ControlPlane, request: Request, job_id: str) -> Response:
    """What there is from `offset` on, waiting for it up to `wait` seconds. `X-Log-Ended`: nothing follows."""
    start = read_number(request, "offset")
    part = await read_log(plane, job_id, start, read_number(request, "wait", 0, most=_MAX_WAIT))
    ended = part.ended and start + len(part.data) >= part.available
    headers = {"X-Log-Ended": "true" if ended else "false", "X-Log-Bytes": str(part.available)}
    return Response(part.data, headers=headers, media_type=_TEXT)


async def _bytes(plane: ControlPlane, job_id: str, start: int, end: int) -> AsyncIterator[bytes]:
    while start < end:
        part = await read_log(plane, job_id, start)
        data = part.data[: end - start]
        if not data:
            # The length was promised; a log never shrinks, so it was deleted meanwhile. The answer breaks off.
            raise RuntimeError(f"the log of job {job_id} ends at byte {start}, before {end}")
        start += len(data)
        yield data


async def _send_json(plane: ControlPlane, job: dict[str, Any]) -> Response:
    part = await read_log(plane, job["id"], 0)
    members = {"url": job["log_url"], "size": part.available, "header_times": []}

    async def pieces() -> AsyncIterator[bytes]:
        yield msgspec.json.encode(members)[:-1] + b',"content":"'
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        async for data in _bytes(plane, job["id"], 0, part.available):
            yield msgspec.json.encode(decoder.decode(data))[1:-1]
        yield msgspec.json.encode(decoder.decode(b"", final=True))[1:] + b"}"

    return StreamingResponse(pieces(), media_type="application/json")

"""Sending logs: streamed, with `Range`, followed with `?offset=&wait=`; never whole in memory."""

from __future__ import annotations

import codecs
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from pipeseal.controlplane.http.bodies import read_number
from pipeseal.controlplane.http.ranges import parse_range
from pipeseal.controlplane.services.append_log import read_log
from pipeseal.controlplane.services.plane import ControlPlane

_MAX_WAIT = 50


async def send_log(plane: ControlPlane, request: Request, job: dict[str, Any], *, as_text: bool) -> Response:
    """The log of a job, as JSON or as plain text.

    Parameters:
        job: the job's shape.
        as_text: plain text: all of it, a `Range` of it, or what is there from `offset` on.
    """
    if not as_text:
        return await _send_json(plane, job)
    if "offset" in request.query_params:
        return await _send_from(plane, request, job["id"])
    part = await read_log(plane, job["id"], 0)
    start, end = 0, part.available
    status = 200
    headers = {"Accept-Ranges": "bytes"}
    wanted = request.headers.get("range")
    if wanted is not None:
        found = parse_range(wanted, part.available)
        if found is None:
            return Response(status_code=416, headers={"Content-Range": f"bytes */{part.available}"})
        start, end = found
        status = 206
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{part.available}"
    headers["Content-Length"] = str(end - start)
    return StreamingResponse(_bytes(plane, job["id"], start, end), status, headers, "text/plain; charset=utf-8")


async def _send_from(plane: ControlPlane, request: Request, job_id: str) -> Response:
    """What there is from `offset` on, waiting for it up to `wait` seconds. `X-Log-Ended`: nothing follows."""
    start = read_number(request, "offset")
    part = await read_log(plane, job_id, start, read_number(request, "wait", 0, most=_MAX_WAIT))
    ended = part.ended and start + len(part.data) >= part.available
    headers = {"X-Log-Ended": "true" if ended else "false", "X-Log-Bytes": str(part.available)}
    return Response(part.data, headers=headers, media_type="text/plain; charset=utf-8")


async def _bytes(plane: ControlPlane, job_id: str, start: int, end: int) -> AsyncIterator[bytes]:
    while start < end:
        part = await read_log(plane, job_id, start)
        data = part.data[: end - start]
        if not data:
            # The length was promised; a log never shrinks, so its file was removed under the server.
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

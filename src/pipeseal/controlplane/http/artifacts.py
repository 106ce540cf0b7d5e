"""The bytes of artifacts over HTTP: sent as a form or in parts, fetched with `Range`; the address is the permission.

What jobs made is never shown as a page of this server: it is always a download, under a policy that lets nothing run.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from urllib.parse import quote

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from pipeseal.controlplane.http.forms import parse_boundary, read_file_field
from pipeseal.controlplane.http.ranges import choose_range
from pipeseal.controlplane.services import artifacts
from pipeseal.controlplane.services.artifact_bytes import put_part, read_bytes
from pipeseal.controlplane.services.artifact_links import DOWNLOAD, UPLOAD, WHOLE, verify_link
from pipeseal.controlplane.services.plane import ControlPlane
from pipeseal.errors import MalformedInput

_FORM_OVERHEAD = 256 * 1024
_MEDIA_TYPE = re.compile(r"[a-zA-Z0-9!#$&^_.+-]{1,127}/[a-zA-Z0-9!#$&^_.+-]{1,127}(; ?charset=[a-zA-Z0-9_-]{1,40})?")


def artifact_routes(plane: ControlPlane) -> list[Route]:
    """The endpoints that hold artifacts' bytes."""

    async def upload_form(request: Request) -> Response:
        artifact_id = _checked(plane, UPLOAD, request, WHOLE)
        row = await artifacts.find_expected(plane, artifact_id, WHOLE)
        _check_length(request, row["file_size"] + _FORM_OVERHEAD)
        boundary = parse_boundary(request.headers.get("content-type", ""))
        blocks = read_file_field(_body(request), boundary, artifacts.FILE_FIELD)
        await artifacts.receive_whole(plane, row, blocks)
        return Response(status_code=204)

    async def upload_part(request: Request) -> Response:
        part = request.path_params["part"]
        artifact_id = _checked(plane, UPLOAD, request, part)
        row = await artifacts.find_expected(plane, artifact_id, part)
        _check_length(request, row["file_size"])
        tag = await put_part(plane, row, part, _body(request))
        return Response(status_code=200, headers={"ETag": tag})

    async def download(request: Request) -> Response:
        return await _download(plane, request, _checked(plane, DOWNLOAD, request, WHOLE))

    def route(purpose: str, part: str, method: str, endpoint: Callable[[Request], Awaitable[Response]]) -> Route:
        path = f"/artifacts/{purpose}/{{artifact_id}}/{part}/{{expires:whole}}/{{mac}}"
        return Route(path, endpoint, methods=[method])

    return [
        route(UPLOAD, str(WHOLE), "POST", upload_form),
        route(UPLOAD, "{part:whole}", "PUT", upload_part),
        route(DOWNLOAD, str(WHOLE), "GET", download),
    ]


def _checked(plane: ControlPlane, purpose: str, request: Request, part: int) -> str:
    found = request.path_params
    return verify_link(plane, purpose, found["artifact_id"], part, found["expires"], found["mac"])


def _check_length(request: Request, most: int) -> None:
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > most:
        raise MalformedInput("request.too_large", f"the body is larger than the {most} bytes that were announced")


async def _body(request: Request) -> AsyncIterator[bytes]:
    try:
        async for block in request.stream():
            yield block
    except ClientDisconnect as error:
        raise MalformedInput("request.malformed", "the request broke off") from error


async def _download(plane: ControlPlane, request: Request, artifact_id: str) -> Response:
    row = await artifacts.find_stored(plane, artifact_id)
    size = row["file_size"]
    tag = '"' + row["sha256sum"] + '"'
    given = row["content_type"]
    headers = {
        "Accept-Ranges": "bytes",
        "ETag": tag,
        "Cache-Control": "private, max-age=300",
        "Content-Disposition": _disposition(row["path"]),
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "Content-Type": given if _MEDIA_TYPE.fullmatch(given) else "application/octet-stream",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
    found = choose_range(request.headers, size, tag)
    if found is None:
        return Response(status_code=416, headers={**headers, "Content-Range": f"bytes */{size}"})
    start, end, partial = found
    status = 206 if partial else 200
    if partial:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    headers["Content-Length"] = str(end - start)
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers)
    return StreamingResponse(read_bytes(plane, row, start, end), status, headers)


def _disposition(path: str) -> str:
    """`Content-Disposition` with the file's name. # RFC 6266"""
    name = path.rstrip("/").rpartition("/")[2]
    plain = re.sub(r"[^A-Za-z0-9._ -]", "_", name) or "artifact"
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"

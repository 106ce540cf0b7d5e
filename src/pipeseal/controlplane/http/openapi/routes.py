"""Where the description is served: `GET /openapi.json`, for everybody."""

from __future__ import annotations

from functools import cache

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeseal.controlplane.http.openapi.others import OPENAPI_PATH


@cache
def _text() -> bytes:
    from pipeseal.controlplane.http.openapi.document import make_document

    return msgspec.json.encode(make_document())


async def _show(_request: Request) -> Response:
    # What a server offers is no secret, and tools on other origins may read it.
    headers = {"Access-Control-Allow-Origin": "*", "Cache-Control": "public, max-age=300"}
    return Response(_text(), headers=headers, media_type="application/json")


def openapi_routes() -> list[Route]:
    """The endpoint."""
    return [Route(OPENAPI_PATH, _show)]

"""The list of what people and tokens changed, for owners."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from starlette.requests import Request
from starlette.responses import Response

from pipeseal.controlplane.http.paging import read_page, render_page
from pipeseal.controlplane.services.changes import list_changes
from pipeseal.controlplane.services.plane import ControlPlane

Handler: TypeAlias = Callable[[ControlPlane, Request], Awaitable[Response]]


async def _list_changes(plane: ControlPlane, request: Request) -> Response:
    page = read_page(request)
    found, total = await list_changes(plane, limit=page.limit, offset=page.offset)
    return render_page(plane, request, page, found, total=total)


CHANGE_ENDPOINTS: tuple[tuple[str, str, Handler], ...] = (("GET", "/changes", _list_changes),)

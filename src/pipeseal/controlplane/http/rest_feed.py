"""The feed for build monitors: the last build of each pipeline's default branch, in the format of CCTray.

https://cctray.org/v1/
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias
from xml.sax.saxutils import quoteattr

from starlette.requests import Request
from starlette.responses import Response

from pipeseal.controlplane.http.public import is_stranger
from pipeseal.controlplane.services.pipeline_health import Health, list_health
from pipeseal.controlplane.services.plane import ControlPlane

Handler: TypeAlias = Callable[[ControlPlane, Request], Awaitable[Response]]

_LAST = {"passing": "Success", "failing": "Failure"}


async def _show_feed(plane: ControlPlane, request: Request) -> Response:
    found = await list_health(plane, public_only=is_stranger(request))
    projects = "".join(_project(health) for health in found)
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<Projects>\n{projects}</Projects>\n'
    return Response(text, media_type="application/xml", headers={"Cache-Control": "no-cache"})


def _project(health: Health) -> str:
    attributes = {
        "name": _without_controls(health.name),
        "activity": "Building" if health.running else "Sleeping",
        "lastBuildStatus": _LAST.get(health.word, "Unknown"),
        "lastBuildLabel": str(health.number),
        "lastBuildTime": health.finished_at,
        "webUrl": health.web_url,
    }
    written = " ".join(f"{name}={quoteattr(value)}" for name, value in attributes.items() if value)
    return f"  <Project {written}/>\n"


def _without_controls(text: str) -> str:
    """XML cannot hold them, not even escaped. # XML 1.0 section 2.2"""
    return "".join(one for one in text if one in "\t\n\r" or (one >= " " and one not in "\ufffe\uffff"))


FEED_ENDPOINTS: tuple[tuple[str, str, Handler], ...] = (("GET", "/cc.xml", _show_feed),)

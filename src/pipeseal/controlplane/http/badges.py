"""Badges: a small picture, or the same as JSON, that says how a public pipeline stands.

Whoever asks is a stranger here, signed in or not: a badge shows in a README what everybody sees. A pipeline that is
not public and one that does not exist get the same answer, byte for byte. No badge says *verified*: a picture that a
server sends proves nothing.
"""

from __future__ import annotations

import hashlib
from typing import Final
from xml.sax.saxutils import escape, quoteattr

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeseal.controlplane.http.readers import count_request
from pipeseal.controlplane.services.pipeline_health import read_health, read_signed
from pipeseal.controlplane.services.plane import ControlPlane

PATH: Final = "/badge/{pipeline_id}"
_MAX_TEXT: Final = 60
# Grounds against which the words keep 4.5:1 (WCAG 2.2, 1.4.3).
_LIGHT: Final = {
    "passing": "#1a7f37", "failing": "#b3261e", "running": "#8a5a00", "unknown": "#5f6368",
    "all steps": "#1a7f37", "some steps": "#8a5a00", "no steps": "#5f6368",
}  # fmt: skip
_LABELS: Final = {"light": "#3c4043", "dark": "#202124"}
_STYLES: Final = {"flat": 3, "square": 3, "flat-square": 0}
_HEADERS: Final = {
    # A README's picture is fetched by whoever shows it; it is asked for again each time, and mostly unchanged.
    "Cache-Control": "no-cache",
    "Access-Control-Allow-Origin": "*",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "Content-Security-Policy": "default-src 'none'; sandbox",
}


class Badge(msgspec.Struct):
    """A badge: what it is about, and the word. `running`: a build is under way."""

    label: str
    message: str
    running: bool


def badge_routes(plane: ControlPlane) -> list[Route]:
    """The picture and the JSON, for everybody."""

    async def picture(request: Request) -> Response:
        badge = await _read(plane, request)
        query = request.query_params
        text = _draw(badge, theme=query.get("theme", ""), style=query.get("style", ""))
        return _send(request, text.encode(), "image/svg+xml")

    async def facts(request: Request) -> Response:
        return _send(request, msgspec.json.encode(await _read(plane, request)), "application/json")

    return [Route(PATH + ".svg", picture, methods=["GET"]), Route(PATH + ".json", facts, methods=["GET"])]


async def _read(plane: ControlPlane, request: Request) -> Badge:
    count_request(plane, request)
    pipeline_id, query = request.path_params["pipeline_id"], request.query_params
    branch, step = query.get("branch", ""), query.get("step", "")
    if query.get("show") == "signing":
        return Badge("signatures", await read_signed(plane, pipeline_id, branch=branch), False)
    health = await read_health(plane, pipeline_id, branch=branch, step=step)
    return Badge(_shown(step) or "build", health.word, health.running)


def _shown(text: str) -> str:
    """What was asked for, as far as XML and a small picture can hold it."""
    return "".join(one for one in text[:_MAX_TEXT] if one.isprintable()).strip()


def _draw(badge: Badge, *, theme: str, style: str) -> str:
    left, right = _width(badge.label), _width(badge.message)
    width, radius = left + right, _STYLES.get(style, 3)
    label, ground = _LABELS.get(theme, _LABELS["light"]), _LIGHT[badge.message]
    title = f"{badge.label}: {badge.message}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="20" role="img" '
        f"aria-label={quoteattr(title)}><title>{escape(title)}</title>"
        f'<clipPath id="r"><rect width="{width}" height="20" rx="{radius}"/></clipPath>'
        f'<g clip-path="url(#r)"><rect width="{left}" height="20" fill="{label}"/>'
        f'<rect x="{left}" width="{right}" height="20" fill="{ground}"/></g>'
        '<g fill="#fff" text-anchor="middle" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">'
        f"{_text(badge.label, left / 2, left)}{_text(badge.message, left + right / 2, right)}</g></svg>\n"
    )


def _text(text: str, middle: float, width: int) -> str:
    # The length is said, so that another font than ours fits too.
    return f'<text x="{middle:g}" y="14" textLength="{width - 12}">{escape(text)}</text>'


def _width(text: str) -> int:
    """So many pixels: those of a usual letter of Verdana at 11 pixels, and room at both ends."""
    narrow = sum(one in "fijlrt.,:;!|' " for one in text)
    wide = sum(one in "mwMW" or ord(one) > 0x2E7F for one in text)
    return round(12 + 6.8 * (len(text) - narrow - wide) + 4.3 * narrow + 10.5 * wide)


def _send(request: Request, content: bytes, media_type: str) -> Response:
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {**_HEADERS, "ETag": tag}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type=media_type)

"""Annotations as people see them: in the REST API, and as documents for a frame in which nothing runs.

A document has an address of its own, which is the permission, as with artifacts: it is asked for without session and
cookies. It is opaque to the page around it and the page to it, has a policy of its own, and loads nothing but
pictures: those of its build, and those from elsewhere once the reader has asked for them.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from base64 import b64encode
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from html import escape
from sqlite3 import Row
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeseal.controlplane.domain.annotation_html import (
    WIDTHS,
    AnnotationHtml,
    Place,
    place_artifacts,
    render_annotation,
)
from pipeseal.controlplane.http.pages import load_assets
from pipeseal.controlplane.http.shapes import time_text
from pipeseal.controlplane.services.artifact_bytes import read_bytes
from pipeseal.controlplane.services.artifact_links import (
    ANNOTATION,
    DOWNLOAD,
    DOWNLOAD_SECONDS,
    PICTURE,
    WHOLE,
    make_url,
    verify_link,
)
from pipeseal.controlplane.services.artifacts import find_stored
from pipeseal.controlplane.services.authenticate import not_found
from pipeseal.controlplane.services.plane import ControlPlane
from pipeseal.controlplane.store import annotations as annotation_store
from pipeseal.controlplane.store import artifacts as artifact_store

_STYLE: Final = "builds/annotation.css"
_MOST_PICTURE_BYTES: Final = 8 << 20
_MOST_KEPT_BYTES: Final = 16 << 20
# What begins like this is a picture of that kind, whatever the job said of it. SVG is none: it is a document.
_KINDS: Final = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"RIFF", "image/webp"),
)
# https://html.spec.whatwg.org/multipage/browsers.html#sandboxing: no scripts, forms, plug-ins or moving of the page
# around it, and an origin like no other. A link that the reader clicks opens in a tab, as if it were typed there.
SANDBOX: Final = "allow-popups allow-popups-to-escape-sandbox allow-downloads"


class _Kept:
    """Texts that were drawn not long ago; one is drawn at a time, so that this leaves time for the rest."""

    def __init__(self) -> None:
        self._found: OrderedDict[tuple[bytes, bool], AnnotationHtml] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def render(self, text: str, *, pictures: bool) -> AnnotationHtml:
        key = (hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest(), pictures)
        with self._lock:
            found = self._found.get(key)
            if found is None:
                found = self._found[key] = render_annotation(text, pictures=pictures)
                self._bytes += len(found.html)
            self._found.move_to_end(key)
            while self._bytes > _MOST_KEPT_BYTES and len(self._found) > 1:
                _, oldest = self._found.popitem(last=False)
                self._bytes -= len(oldest.html)
        return found


_KEPT: Final = _Kept()


async def _draw(texts: Iterable[str], *, pictures: bool = False) -> list[AnnotationHtml]:
    return await asyncio.to_thread(lambda: [_KEPT.render(text, pictures=pictures) for text in texts])


async def _named(plane: ControlPlane, build_id: str, drawn: Iterable[AnnotationHtml]) -> Mapping[str, Row]:
    """The artifacts of a build that texts name, by path."""
    paths = dict.fromkeys(path for one in drawn for path in one.artifacts)
    if not paths:
        return {}
    rows = await plane.database.read(
        lambda tx: [(path, artifact_store.find_named(tx, build_id, path)) for path in paths]
    )
    return {path: row for path, row in rows if row is not None}


async def annotation_shapes(
    plane: ControlPlane, build_id: str, build_url: str, rows: Iterable[Row]
) -> list[dict[str, Any]]:
    """Annotations of one build.

    Parameters:
        build_url: of the build in the REST API.
    """
    rows = list(rows)
    drawn = await _draw(row["body"] for row in rows)
    named = await _named(plane, build_id, drawn)

    def place(path: str) -> Place | None:
        row = named.get(path)
        if row is None:
            return None
        url = f"{build_url}/jobs/{row['job_id']}/artifacts/{row['id']}/download"
        return Place(url, url)

    return [_shape(plane, row, one, place_artifacts(one.html, place)) for row, one in zip(rows, drawn, strict=True)]


def _shape(plane: ControlPlane, row: Row, drawn: AnnotationHtml, html: str) -> dict[str, Any]:
    return {
        "id": row["id"],
        "context": row["context"],
        "style": row["style"] or None,
        "scope": "job" if row["owner"] else "build",
        "job_id": row["owner"] or None,
        "writer_job_id": row["writer"] or None,
        "priority": row["priority"],
        "body": row["body"],
        "body_html": html,
        "frame": {
            "url": make_url(plane, ANNOTATION, row["id"], seconds=DOWNLOAD_SECONDS),
            "rows": dict(zip(map(str, WIDTHS), drawn.rows, strict=True)),
        },
        "created_at": time_text(row["created_at"]),
        "updated_at": time_text(row["updated_at"]),
    }


def annotation_routes(plane: ControlPlane) -> list[Route]:
    """The documents of annotations, and the pictures of a build that stand in them."""

    async def document(request: Request) -> Response:
        annotation_id = _checked(plane, ANNOTATION, request)
        row = await plane.database.read(lambda tx: annotation_store.find_annotation_by_id(tx, annotation_id))
        if row is None:
            raise not_found("such annotation")
        pictures = request.query_params.get("pictures") == "1"
        theme = request.query_params.get("theme")
        return await _document(plane, row, pictures=pictures, theme=theme if theme in ("light", "dark") else None)

    async def picture(request: Request) -> Response:
        return await _picture(plane, _checked(plane, PICTURE, request))

    below = f"/{{artifact_id}}/{WHOLE}/{{expires:whole}}/{{mac}}"
    return [
        Route(f"/artifacts/{ANNOTATION}{below}", document, methods=["GET"]),
        Route(f"/artifacts/{PICTURE}{below}", picture, methods=["GET"]),
    ]


def _checked(plane: ControlPlane, purpose: str, request: Request) -> str:
    found = request.path_params
    return verify_link(plane, purpose, found["artifact_id"], WHOLE, found["expires"], found["mac"])


async def _document(plane: ControlPlane, row: Row, *, pictures: bool, theme: str | None) -> Response:
    (drawn,) = await _draw([row["body"]], pictures=pictures)
    named = await _named(plane, row["build_id"], [drawn])

    def place(path: str) -> Place | None:
        found = named.get(path)
        if found is None:
            return None
        link, picture = (
            make_url(plane, purpose, found["id"], seconds=DOWNLOAD_SECONDS) for purpose in (DOWNLOAD, PICTURE)
        )
        return Place(link, picture)

    style = load_assets()[_STYLE].content
    sources = " ".join([*(["'self'"] if named else []), *(drawn.origins if pictures else [])]) or "'none'"
    policy = "; ".join(
        (
            "default-src 'none'",
            f"style-src 'sha256-{b64encode(hashlib.sha256(style).digest()).decode()}'",
            f"img-src {sources}",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'self'",
            f"sandbox {SANDBOX}",
        )
    )
    chosen = f' data-theme="{theme}"' if theme else ""
    asked = "" if pictures or not drawn.origins else _asked(drawn.origins, theme)
    content = (
        f'<!doctype html>\n<html lang="en"{chosen}><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><meta name="robots" content="noindex, nofollow">'
        f"<title>Annotation {escape(row['context'])}</title><style>{style.decode()}</style></head>\n"
        f"<body>{asked}<main>\n{place_artifacts(drawn.html, place)}</main></body></html>\n"
    )
    headers = {
        "Content-Security-Policy": policy,
        "Cross-Origin-Opener-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-Robots-Tag": "noindex, nofollow",
    }
    return Response(content, headers=headers, media_type="text/html; charset=utf-8")


def _asked(origins: tuple[str, ...], theme: str | None) -> str:
    hosts = [origin.partition("://")[2] for origin in origins]
    more = f" and {len(hosts) - 3} more" if len(hosts) > 3 else ""
    query = "?pictures=1" + (f"&amp;theme={theme}" if theme else "")
    return (
        f'<p class="asked">Pictures from {escape(", ".join(hosts[:3]))}{more} are not loaded: who loads them is seen '
        f'there. <a href="{query}">Load them</a></p>'
    )


async def _picture(plane: ControlPlane, artifact_id: str) -> Response:
    row = await find_stored(plane, artifact_id)
    size = row["file_size"]
    content = (
        b"" if size > _MOST_PICTURE_BYTES else b"".join([block async for block in read_bytes(plane, row, 0, size)])
    )
    kind = next((kind for magic, kind in _KINDS if content.startswith(magic)), None)
    if kind is None or (kind == "image/webp" and content[8:12] != b"WEBP"):
        raise not_found("such picture: it is no PNG, JPEG, GIF or WebP of 8 MiB at most")
    headers = {
        "Cache-Control": "private, max-age=300",
        "Content-Security-Policy": "default-src 'none'; sandbox",
        # Its document has an origin like no other; whoever has the address may have the picture.
        "Cross-Origin-Resource-Policy": "cross-origin",
        "Referrer-Policy": "no-referrer",
    }
    return Response(content, headers=headers, media_type=kind)

"""The web pages: one shell for every address that people visit, and the files it loads.

The server writes no page. The shell is the same for everybody and for every address; what stands on it comes from the
REST API, so a page shows exactly what its reader may read there.
"""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Awaitable, Callable, Iterable
from functools import cache
from importlib import resources
from typing import Final, NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Scope

from pipeseal.agentapi.ping_stream import STREAM_PATH
from pipeseal.controlplane.http.trust_texts import render_texts
from pipeseal.controlplane.http.verifier_file import render_verifier
from pipeseal.controlplane.services.authenticate import not_found

# Addresses that people visit. What they name need not exist: the page says so.
PAGES: Final = (
    "/",
    "/account",
    "/welcome",
    "/sign-in",
    "/{organization}",
    "/{organization}/agents",
    "/{organization}/keys",
    "/{organization}/settings",
    "/{organization}/settings/{section}",
    "/{organization}/{slug}",
    "/{organization}/{slug}/settings",
    "/{organization}/{slug}/settings/{section}",
    "/{organization}/{slug}/builds/{number:whole}",
    "/{organization}/{slug}/builds/{number:whole}/{tab}",
    "/{organization}/{slug}/builds/{number:whole}/jobs/{job_id}",
    "/{organization}/{slug}/builds/{number:whole}/jobs/{job_id}/{tab}",
)
# Where programs look for what another server has, or this one may be told not to serve.
_PROBED: Final = ("v1", STREAM_PATH.split("/")[1])
ASSETS: Final = "/web/{name:path}"
ROBOTS: Final = "/robots.txt"
# RFC 9309. Search engines may look at pages, which say that they are not to be found; data is not for them.
_ROBOTS_TEXT: Final = b"User-agent: *\nDisallow: /v2/\nDisallow: /artifacts/\n"
_REFUSED: Final = re.compile(r"q\s*=\s*0(\.0*)?")
_SHELL: Final = "shell.html"
VERIFIER: Final = "verify.html"
_TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "json": "application/json",
    "sha256": "text/plain; charset=utf-8",
}
# Scripts and styles come from files of this server alone, and no text becomes markup or script anywhere.
# The one policy that may be made starts workers, from addresses that are written in `workers.js`.
# https://www.w3.org/TR/CSP3/ and https://www.w3.org/TR/trusted-types/
CONTENT_SECURITY_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "connect-src 'self'",
        "worker-src 'self'",
        "frame-src 'self'",
        "manifest-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types pipeseal-workers",
    )
)
_HEADERS: Final = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cache-Control": "no-cache",
}


class Asset(NamedTuple):
    """One file, as it is sent."""

    content: bytes
    media_type: str
    etag: str


@cache
def load_assets() -> dict[str, Asset]:
    """Every file of the web page by its name below `/web/`."""
    found: dict[str, Asset] = {}
    folders = [(resources.files("pipeseal.controlplane") / "web", "")]
    while folders:
        folder, prefix = folders.pop()
        for entry in folder.iterdir():
            media_type = _TYPES.get(entry.name.rpartition(".")[2])
            if entry.is_dir():
                folders.append((entry, f"{prefix}{entry.name}/"))
            elif media_type is not None:
                found[prefix + entry.name] = _asset(entry.read_bytes(), media_type)
    texts = {name: asset.content.decode() for name, asset in found.items()}
    found[VERIFIER] = _asset(render_verifier(texts[VERIFIER], texts).encode(), _TYPES["html"])
    digest = hashlib.sha256(found[VERIFIER].content).hexdigest()
    found[f"{VERIFIER}.sha256"] = _asset(f"{digest}  {VERIFIER}\n".encode(), _TYPES["sha256"])
    for name, text in render_texts().items():
        found[name] = _asset(text, _TYPES["json"])
    return found


def _asset(content: bytes, media_type: str) -> Asset:
    return Asset(content, media_type, f'"{hashlib.sha256(content).hexdigest()[:32]}"')


def page_routes(programs: Iterable[Route]) -> list[Route]:
    """The pages, and what they load. To be the last routes: their addresses take whatever nobody else takes.

    Parameters:
        programs: the routes for programs. No page is below where one of them begins: what is not there is answered
            with 404 and JSON, as programs expect it.
    """
    taken = frozenset((*_PROBED, *(route.path.split("/")[1] for route in programs)))

    async def page(request: Request) -> Response:
        return _send(request, load_assets()[_SHELL])

    async def asset(request: Request) -> Response:
        found = load_assets().get(request.path_params["name"])
        if found is None or request.path_params["name"] == _SHELL:
            raise not_found("such file")
        return _send(request, found)

    async def robots(request: Request) -> Response:
        return _send(request, _asset(_ROBOTS_TEXT, "text/plain; charset=utf-8"))

    return [
        _Visited(ASSETS, asset, taken),
        _Visited(ROBOTS, robots, taken),
        *(_Visited(path, page, taken) for path in PAGES),
    ]


class _Visited(Route):
    """A route for browsers alone: to any other method its address is one that nobody serves, not one with other ones.

    Agents probe for protocols with POST, and take 404 alone for an answer.

    Parameters:
        taken: first segments of paths that are not for people.
    """

    def __init__(self, path: str, endpoint: Callable[[Request], Awaitable[Response]], taken: frozenset[str]) -> None:
        super().__init__(path, endpoint, methods=["GET"])
        self._taken = taken

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["path"].removeprefix("/").partition("/")[0] in self._taken:
            return Match.NONE, {}
        match, found = super().matches(scope)
        return (Match.NONE, {}) if match is Match.PARTIAL else (match, found)


def _send(request: Request, asset: Asset) -> Response:
    headers = {**_HEADERS, "ETag": asset.etag, "Vary": "Accept-Encoding"}
    content = asset.content
    if _takes_gzip(request.headers.get("accept-encoding", "")):
        content = _packed(asset.content)
        # Another representation, so another tag. # RFC 9110 8.8.3.3
        headers |= {"Content-Encoding": "gzip", "ETag": f'{asset.etag[:-1]}-gzip"'}
    if request.headers.get("if-none-match") == headers["ETag"]:
        headers.pop("Content-Encoding", None)
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type=asset.media_type)


def _takes_gzip(accepted: str) -> bool:
    """Whether a client said that it can unpack gzip; what it prefers more is not asked. # RFC 9110 12.5.3"""
    parts = (part.partition(";") for part in accepted.lower().split(","))
    return any(name.strip() == "gzip" and not _REFUSED.fullmatch(weight.strip()) for name, _, weight in parts)


@cache
def _packed(content: bytes) -> bytes:
    # Files of the pages hold nothing that is secret, so their length may say what is in them.
    return gzip.compress(content, 9, mtime=0)

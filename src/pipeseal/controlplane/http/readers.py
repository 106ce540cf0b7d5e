"""Who a request is from: a program with an API token, a person's signed-in browser, or anyone.

A browser sends its cookie with whatever any page makes it ask. A request that changes something therefore counts as a
person's only when our own page made it: it carries a header that no other page can send without asking first, and the
browser itself says where it came from.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from pipeseal.controlplane.domain.access import ANONYMOUS, Reader
from pipeseal.controlplane.http.bodies import bearer
from pipeseal.controlplane.services.accounts import IDLE_MICROSECONDS, verify_browser, verify_program
from pipeseal.controlplane.services.plane import ControlPlane
from pipeseal.errors import VerificationError

# RFC 6265bis section 4.1.3.2: with this prefix no other host and no page without TLS can set it.
SECURE_COOKIE: Final = "__Host-pipeseal"
PLAIN_COOKIE: Final = "pipeseal"
PAGE_HEADER: Final = "x-pipeseal-page"
_HARMLESS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


async def read_reader(plane: ControlPlane, request: Request) -> Reader:
    """Who is asking.

    Raises:
        VerificationError: `access.unknown_token`, a token that opens nothing; `access.signed_out`, a session that is
            over; `access.other_page`, a change that our page did not ask for.
    """
    if request.headers.get("authorization"):
        return await verify_program(plane, bearer(request, "Bearer"))
    cookie = browser_token(plane, request)
    if not cookie:
        return ANONYMOUS
    check_own_page(plane, request)
    return (await verify_browser(plane, cookie))[0]


def count_request(plane: ControlPlane, request: Request, reader: Reader = ANONYMOUS) -> None:
    """Nothing, while whoever asks does not ask too often.

    Raises:
        VerificationError: `access.too_often`.
    """
    if reader.kind == "anonymous":
        plane.anonymous_rate.take(caller_of(request), plane.steady())
    else:
        plane.known_rate.take(reader.id, plane.steady())


def reader_of(request: Request) -> Reader:
    """Who is asking, for a handler that needs to know; whoever called it has found out."""
    reader = request.state.reader
    assert isinstance(reader, Reader)
    return reader


def name_of(request: Request) -> str:
    """Who is asking, for people: the name of an account, the description of a token."""
    reader = reader_of(request)
    return reader.name or reader.kind


def browser_token(plane: ControlPlane, request: Request) -> str:
    """What the browser holds; empty when it holds nothing."""
    return request.cookies.get(_cookie_name(plane), "")


def check_own_page(plane: ControlPlane, request: Request) -> None:
    """Nothing, when the request cannot have been made by another site's page.

    Raises:
        VerificationError: `access.other_page`.
    """
    if request.method in _HARMLESS:
        return
    origin = request.headers.get("origin", "")
    site = request.headers.get("sec-fetch-site", "same-origin")
    own = {urlsplit(plane.url).netloc, request.headers.get("host", "")}
    if PAGE_HEADER not in request.headers or site != "same-origin" or urlsplit(origin).netloc not in own:
        raise VerificationError(
            "access.other_page",
            "this change was not asked for by a page of this server",
            help="do it on the server's own page, or use an API token",
        )


def set_cookie(plane: ControlPlane, response: Response, token: str) -> None:
    """Let the browser keep its token: not readable by scripts, and never sent along by other sites."""
    response.set_cookie(
        _cookie_name(plane),
        token,
        max_age=IDLE_MICROSECONDS // 1_000_000,
        path="/",
        secure=is_secure(plane),
        httponly=True,
        samesite="strict",
    )


def clear_cookie(plane: ControlPlane, response: Response) -> None:
    """Take the token from the browser."""
    response.delete_cookie(_cookie_name(plane), path="/", secure=is_secure(plane), httponly=True, samesite="strict")


def caller_of(request: Request) -> str:
    """Where a request came from, for slowing down guesses."""
    return request.client.host if request.client is not None else ""


def is_secure(plane: ControlPlane) -> bool:
    """Whether people reach the server with TLS."""
    return plane.url.startswith("https://")


def _cookie_name(plane: ControlPlane) -> str:
    return SECURE_COOKIE if is_secure(plane) else PLAIN_COOKIE

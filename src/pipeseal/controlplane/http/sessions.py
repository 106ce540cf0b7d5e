"""Signing in and out on the web pages: what the pages ask before anything else, and the links that make accounts."""

from __future__ import annotations

from urllib.parse import urlsplit

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeseal import __version__
from pipeseal.controlplane.http.bodies import read_json
from pipeseal.controlplane.http.readers import (
    browser_token,
    caller_of,
    check_own_page,
    clear_cookie,
    set_cookie,
)
from pipeseal.controlplane.http.respond import render
from pipeseal.controlplane.services.accounts import sign_in, sign_out, use_link, verify_browser
from pipeseal.controlplane.services.changes import note_change
from pipeseal.controlplane.services.plane import ControlPlane
from pipeseal.errors import VerificationError

_MAX_BYTES = 16_384


class SignInBody(msgspec.Struct, forbid_unknown_fields=True):
    """Address and password."""

    email: str
    password: str


class LinkBody(msgspec.Struct, forbid_unknown_fields=True):
    """A link's token, and who uses it."""

    token: str
    name: str
    password: str
    email: str = ""


class Account(msgspec.Struct):
    """Who is signed in."""

    id: str
    name: str
    email: str
    role: str


class SessionFacts(msgspec.Struct):
    """What a page knows before anything else; without an account nobody is signed in.

    `sign_in_at` is the host of the provider that people can sign in at.
    """

    organization: str
    version: str
    account: Account | None
    scopes: list[str]
    sign_in_at: str | None


def session_routes(plane: ControlPlane) -> list[Route]:
    """The routes below `/session`; only our own page can use those that change something."""

    provider = plane.settings.sign_in_provider
    at = None if provider is None else urlsplit(provider.issuer).hostname

    async def show(request: Request) -> Response:
        facts = SessionFacts(plane.settings.organization, __version__, None, [], at)
        answer_headers = {"Cache-Control": "no-store"}
        token = browser_token(plane, request)
        if not token:
            return render(facts, headers=answer_headers)
        try:
            reader, row = await verify_browser(plane, token)
        except VerificationError:
            answer = render(facts, headers=answer_headers)
            clear_cookie(plane, answer)
            return answer
        facts.account = Account(reader.id, row["name"], row["email"], row["role"])
        facts.scopes = sorted(reader.scopes)
        return render(facts, headers=answer_headers)

    async def open_one(request: Request) -> Response:
        check_own_page(plane, request)
        body = await read_json(request, SignInBody, _MAX_BYTES)
        token = await sign_in(plane, body.email, body.password, caller=caller_of(request), browser=_browser(request))
        return await _signed_in(request, token)

    async def use(request: Request) -> Response:
        check_own_page(plane, request)
        body = await read_json(request, LinkBody, _MAX_BYTES)
        token = await use_link(
            plane, body.token, email=body.email, name=body.name, password=body.password, browser=_browser(request)
        )
        return await _signed_in(request, token)

    async def close(request: Request) -> Response:
        check_own_page(plane, request)
        await sign_out(plane, browser_token(plane, request))
        answer = Response(status_code=204)
        clear_cookie(plane, answer)
        return answer

    async def _signed_in(request: Request, token: str) -> Response:
        reader, _row = await verify_browser(plane, token)
        await note_change(plane, reader, request.method, request.url.path)
        answer = Response(status_code=204)
        set_cookie(plane, answer, token)
        return answer

    def _browser(request: Request) -> str:
        return request.headers.get("user-agent", "")

    return [
        Route("/session", show, methods=["GET"]),
        Route("/session", open_one, methods=["POST"]),
        Route("/session", close, methods=["DELETE"]),
        Route("/session/link", use, methods=["POST"]),
    ]

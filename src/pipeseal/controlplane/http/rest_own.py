"""What somebody who asks may know about themselves in the REST API: the token that they show, and whose it is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from sqlite3 import Row
from typing import TypeAlias
from uuid import UUID

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from pipeseal.controlplane.domain.access import Reader
from pipeseal.controlplane.domain.tokens import digest_token
from pipeseal.controlplane.http.bodies import read_json
from pipeseal.controlplane.http.paging import cut_page, read_page, render_page
from pipeseal.controlplane.http.readers import browser_token, reader_of
from pipeseal.controlplane.http.respond import render
from pipeseal.controlplane.services import own_account
from pipeseal.controlplane.services.accounts import TOKEN_ID, delete_api_token, signed_out
from pipeseal.controlplane.services.authenticate import missing_token, not_found
from pipeseal.controlplane.services.build_shape import time_text
from pipeseal.controlplane.services.plane import ControlPlane
from pipeseal.controlplane.store import accounts as account_store
from pipeseal.controlplane.store.database import Transaction

Handler: TypeAlias = Callable[[ControlPlane, Request], Awaitable[Response]]


class User(msgspec.Struct):
    """A person."""

    id: str
    name: str
    email: str
    created_at: str


class PasswordChange(msgspec.Struct, forbid_unknown_fields=True):
    """The password that is, and the one that is to be."""

    current: str
    password: str


class BrowserSession(msgspec.Struct):
    """A browser in which the person is signed in; `here`: the one that asks."""

    id: str
    browser: str
    here: bool
    created_at: str
    seen_at: str


def _token_reader(request: Request) -> Reader:
    reader = reader_of(request)
    if reader.kind != "token":
        raise missing_token("Bearer")
    return reader


async def _show_access_token(_plane: ControlPlane, request: Request) -> Response:
    reader = _token_reader(request)
    return render({"uuid": str(UUID(reader.id[:32])), "scopes": sorted(reader.scopes)})


async def _delete_access_token(plane: ControlPlane, request: Request) -> Response:
    await delete_api_token(plane, _token_reader(request).id[:TOKEN_ID])
    return Response(status_code=204)


async def _show_user(plane: ControlPlane, request: Request) -> Response:
    reader = reader_of(request)

    def look(tx: Transaction) -> Row | None:
        if reader.kind == "account":
            return account_store.find_account(tx, reader.id)
        token = account_store.find_token(tx, reader.id, "api")
        return (
            None if token is None or not token["account_id"] else account_store.find_account(tx, token["account_id"])
        )

    row = await plane.database.read(look)
    if row is None:
        raise not_found("person: the token is the server's own")
    return render(User(row["id"], row["name"], row["email"], time_text(row["created_at"]) or ""))


def _person(request: Request) -> Reader:
    """Who is signed in in the browser that asks; a token's are not its holder's browsers to end."""
    reader = reader_of(request)
    if reader.kind != "account":
        raise signed_out()
    return reader


async def _change_password(plane: ControlPlane, request: Request) -> Response:
    body = await read_json(request, PasswordChange, plane.settings.limits.max_body_bytes)
    reader = _person(request)
    session = digest_token(browser_token(plane, request))
    await own_account.change_password(plane, reader, body.current, body.password, session=session)
    return Response(status_code=204)


async def _list_sessions(plane: ControlPlane, request: Request) -> Response:
    page, here = read_page(request), digest_token(browser_token(plane, request))
    rows = await own_account.list_sessions(plane, _person(request))
    sessions = [
        BrowserSession(
            id=row["digest"][:TOKEN_ID],
            browser=row["browser"],
            here=row["digest"] == here,
            created_at=time_text(row["created_at"]) or "",
            seen_at=time_text(row["seen_at"]) or "",
        )
        for row in rows
    ]
    return render_page(plane, request, page, cut_page(page, sessions), total=len(sessions))


async def _end_session(plane: ControlPlane, request: Request) -> Response:
    await own_account.end_session(plane, _person(request), request.path_params["session_id"])
    return Response(status_code=204)


# Method, path below `/v2`, handler.
OWN_ENDPOINTS: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "/access-token", _show_access_token),
    ("DELETE", "/access-token", _delete_access_token),
    ("GET", "/user", _show_user),
    ("PUT", "/user/password", _change_password),
    ("GET", "/user/sessions", _list_sessions),
    ("DELETE", "/user/sessions/{session_id}", _end_session),
)

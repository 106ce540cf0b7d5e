"""Members and API tokens in the REST API: who may do what, and how that is given and taken."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from sqlite3 import Row
from typing import TypeAlias

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from pipeseal.controlplane.domain.access import SCOPES
from pipeseal.controlplane.http.bodies import read_json
from pipeseal.controlplane.http.paging import cut_page, read_page, render_page
from pipeseal.controlplane.http.readers import reader_of
from pipeseal.controlplane.http.respond import render
from pipeseal.controlplane.services import accounts
from pipeseal.controlplane.services.build_shape import time_text
from pipeseal.controlplane.services.plane import ControlPlane
from pipeseal.controlplane.store import accounts as account_store

Handler: TypeAlias = Callable[[ControlPlane, Request], Awaitable[Response]]


class Member(msgspec.Struct):
    """A person; `disabled` ones cannot sign in."""

    id: str
    name: str
    email: str
    role: str
    disabled: bool
    created_at: str


class NewMember(msgspec.Struct, forbid_unknown_fields=True):
    """Whom to invite; a known address gets a link to choose another password."""

    email: str
    role: str = "member"


class Invitation(msgspec.Struct):
    """An address to hand on: it makes the account, works once, and for two days."""

    email: str
    role: str
    link: str


class MemberChanges(msgspec.Struct, forbid_unknown_fields=True):
    """What to change of a member."""

    role: str | None = None
    disabled: bool | None = None


class ApiToken(msgspec.Struct):
    """An API token, without what opens anything."""

    id: str
    description: str
    scopes: list[str]
    created_by: str | None
    created_at: str


class NewToken(msgspec.Struct, forbid_unknown_fields=True):
    """A token to make; without scopes it may do everything."""

    description: str
    scopes: list[str] = []


class MadeToken(msgspec.Struct):
    """A token that was made; `token` is shown this once."""

    id: str
    token: str


async def _list_members(plane: ControlPlane, request: Request) -> Response:
    page = read_page(request)
    rows = await plane.database.read(account_store.list_accounts)
    return render_page(plane, request, page, [_member(row) for row in cut_page(page, rows)], total=len(rows))


def _member(row: Row) -> Member:
    return Member(
        id=row["id"],
        name=row["name"],
        email=row["email"],
        role=row["role"],
        disabled=row["disabled_at"] is not None,
        created_at=time_text(row["created_at"]) or "",
    )


async def _invite(plane: ControlPlane, request: Request) -> Response:
    body = await read_json(request, NewMember, plane.settings.limits.max_body_bytes)
    token = await accounts.invite(plane, body.email, body.role)
    link = f"{plane.url}/welcome#{token}"
    return render(Invitation(accounts.parse_email(body.email), body.role, link), 201)


async def _change_member(plane: ControlPlane, request: Request) -> Response:
    body = await read_json(request, MemberChanges, plane.settings.limits.max_body_bytes)
    member_id = request.path_params["member_id"]
    row = await accounts.change_member(plane, member_id, role=body.role, disabled=body.disabled)
    return render(_member(row))


async def _list_tokens(plane: ControlPlane, request: Request) -> Response:
    page = read_page(request)
    rows = await plane.database.read(lambda tx: account_store.list_tokens(tx, "api"))
    tokens = [
        ApiToken(
            id=row["digest"][: accounts.TOKEN_ID],
            description=row["description"],
            scopes=row["scopes"].split() or list(SCOPES),
            created_by=row["account_name"],
            created_at=time_text(row["created_at"]) or "",
        )
        for row in rows
    ]
    return render_page(plane, request, page, cut_page(page, tokens), total=len(tokens))


async def _make_token(plane: ControlPlane, request: Request) -> Response:
    body = await read_json(request, NewToken, plane.settings.limits.max_body_bytes)
    token, token_id = await accounts.make_api_token(
        plane, reader_of(request), description=body.description, scopes=body.scopes
    )
    return render(MadeToken(token_id, token), 201)


async def _delete_token(plane: ControlPlane, request: Request) -> Response:
    await accounts.delete_api_token(plane, request.path_params["token_id"])
    return Response(status_code=204)


MEMBER_ENDPOINTS: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "/members", _list_members),
    ("POST", "/members", _invite),
    ("PATCH", "/members/{member_id}", _change_member),
    ("GET", "/tokens", _list_tokens),
    ("POST", "/tokens", _make_token),
    ("DELETE", "/tokens/{token_id}", _delete_token),
)

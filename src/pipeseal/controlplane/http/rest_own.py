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
from pipeseal.controlplane.http.readers import reader_of
from pipeseal.controlplane.http.respond import render
from pipeseal.controlplane.services.accounts import TOKEN_ID, delete_api_token
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


# Method, path below `/v2`, handler.
OWN_ENDPOINTS: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "/access-token", _show_access_token),
    ("DELETE", "/access-token", _delete_access_token),
    ("GET", "/user", _show_user),
)

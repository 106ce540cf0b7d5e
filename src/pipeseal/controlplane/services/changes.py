"""Who changed what: a line for each change that a person, or a program with a token, made over the API."""

from __future__ import annotations

from collections.abc import Mapping
from sqlite3 import Row
from typing import TYPE_CHECKING, Final

import msgspec

from pipeseal.controlplane.domain.access import Reader
from pipeseal.controlplane.services.build_shape import time_text
from pipeseal.controlplane.store.database import Transaction
from pipeseal.controlplane.store.pages import count_rows

if TYPE_CHECKING:
    from pipeseal.controlplane.services.plane import ControlPlane

KEPT_DAYS: Final = 400
_DAY: Final = 86_400_000_000
_MAX_MEMBERS: Final = 50
_MAX_TEXT: Final = 200
# Members whose values are told; of all others only that they were sent: they may be secret, or long.
_TOLD: Final = frozenset(
    (
        "branch", "commit", "default_branch", "description", "disabled", "email", "enabled", "force", "message",
        "name", "note", "paused", "provider", "public_pipelines", "public_since", "revoked", "role", "scopes", "slug",
        "unblocker", "visibility",
    )
)  # fmt: skip


class Change(msgspec.Struct):
    """A change. `members` are those that were sent, with their values where those are not secret."""

    id: str
    at: str
    by: str
    by_kind: str
    method: str
    subject: str
    members: dict[str, str | None]


async def note_change(
    plane: ControlPlane, reader: Reader, method: str, subject: str, sent: Mapping[str, object] | None = None
) -> None:
    """Write down a change, and forget those that are too old.

    Parameters:
        reader: who made it.
        method, subject: of the request; the subject is the path below the organisation.
        sent: the members of its body.
    """
    now, change_id = plane.now(), plane.new_id()
    members = {name[:_MAX_TEXT]: _told(name, value) for name, value in list((sent or {}).items())[:_MAX_MEMBERS]}

    def insert(tx: Transaction) -> None:
        tx.run("DELETE FROM changes WHERE at < :old", old=now - KEPT_DAYS * _DAY)
        tx.run(
            "INSERT INTO changes (id, at, actor_kind, actor_id, actor_name, method, subject, members) "
            "VALUES (:id, :at, :kind, :actor_id, :name, :method, :subject, :members)",
            id=change_id,
            at=now,
            kind=reader.kind,
            # Of a token the beginning of its digest, as everywhere: enough to find it, and of no other use.
            actor_id=reader.id[:16] if reader.kind == "token" else reader.id,
            name=reader.name,
            method=method,
            subject=subject[:1000],
            members=msgspec.json.encode(members).decode(),
        )

    await plane.database.write(insert)


def _told(name: str, value: object) -> str | None:
    if name not in _TOLD or value is None:
        return None
    if isinstance(value, list):
        return ", ".join(str(one) for one in value)[:_MAX_TEXT]
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.partition("\n")[0][:_MAX_TEXT] if isinstance(value, str) else None


async def list_changes(plane: ControlPlane, *, limit: int, offset: int) -> tuple[list[Change], int | None]:
    """Changes, the newest first, and how many there are in all; None when they are too many to be counted."""

    def look(tx: Transaction) -> tuple[list[Row], int | None]:
        rows = tx.all(
            "SELECT * FROM changes ORDER BY at DESC, id DESC LIMIT :limit OFFSET :offset", limit=limit, offset=offset
        )
        return rows, count_rows(tx, "FROM changes")

    rows, total = await plane.database.read(look)
    return [_change(row) for row in rows], total


def _change(row: Row) -> Change:
    return Change(
        id=row["id"],
        at=time_text(row["at"]) or "",
        by=row["actor_name"],
        by_kind=row["actor_kind"],
        method=row["method"],
        subject=row["subject"],
        members=msgspec.json.decode(row["members"], type=dict[str, str | None]),
    )

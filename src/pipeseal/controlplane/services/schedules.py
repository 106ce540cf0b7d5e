"""Schedules start builds: each turn makes one build, whatever server takes it and whenever one dies.

A server that was down does not catch up on what it missed: one build is made when it comes back, and the next at the
next time.
"""

from __future__ import annotations

import asyncio
import logging
import re
from sqlite3 import Row
from typing import Any

import msgspec

from pipeseal.controlplane.domain.schedules import next_run, parse_schedule
from pipeseal.controlplane.services.authenticate import not_found
from pipeseal.controlplane.services.create_build import NewBuild, PreparedBuild, insert_build, prepare_build
from pipeseal.controlplane.services.pipelines import check_texts
from pipeseal.controlplane.services.plane import ControlPlane
from pipeseal.controlplane.store import builds as build_store
from pipeseal.controlplane.store import schedules as schedule_store
from pipeseal.controlplane.store.database import Transaction
from pipeseal.errors import MalformedInput, PipesealError

_log = logging.getLogger("pipeseal.server")
_MAX_SCHEDULES = 100  # of one pipeline


class ScheduleFields(msgspec.Struct):
    """What a schedule says. None leaves a member as it is; of a new schedule, as the row in brackets.

    Parameters:
        cronline: when, see `parse_schedule` (there must be one).
        label: for people (the cron line).
        message: of its builds (the label).
        commit, branch: of its builds (`HEAD` of the default branch).
        env: variables of its builds (none).
        enabled: whether it makes builds (true).
    """

    cronline: str | None = None
    label: str | None = None
    message: str | None = None
    commit: str | None = None
    branch: str | None = None
    env: dict[str, str] | None = None
    enabled: bool | None = None


async def create_schedule(plane: ControlPlane, slug: str, fields: ScheduleFields) -> str:
    """Make a schedule of a pipeline; returns its id.

    Raises:
        MalformedInput: `request.not_found`, `request.malformed`, those of `parse_schedule`.
    """
    if fields.cronline is None:
        raise MalformedInput("request.malformed", "a schedule needs a `cronline`")
    columns = _columns(plane, fields, fields.cronline, fields.enabled is not False)
    label = fields.label or fields.cronline
    defaults = {"label": label, "message": label, "commit_id": "HEAD", "branch": "", "env": "{}", "enabled": 1}
    schedule_id = plane.new_id()
    now = plane.now()

    def change(tx: Transaction) -> None:
        pipeline = build_store.find_pipeline(tx, slug)
        if pipeline is None:
            raise not_found("such pipeline")
        if len(schedule_store.list_schedules(tx, pipeline["id"])) >= _MAX_SCHEDULES:
            raise MalformedInput("request.malformed", f"a pipeline has at most {_MAX_SCHEDULES} schedules")
        schedule_store.insert_schedule(
            tx, id=schedule_id, pipeline_id=pipeline["id"], created_at=now, **{**defaults, **columns}
        )

    await plane.database.write(change)
    return schedule_id


async def update_schedule(plane: ControlPlane, slug: str, schedule_id: str, fields: ScheduleFields) -> None:
    """Change a schedule; its next time is reckoned from now.

    Raises:
        MalformedInput: as `create_schedule`.
    """

    def change(tx: Transaction) -> None:
        row = find_schedule(tx, slug, schedule_id)
        cronline = fields.cronline or row["cronline"]
        enabled = bool(row["enabled"]) if fields.enabled is None else fields.enabled
        schedule_store.update_schedule(tx, schedule_id, _columns(plane, fields, cronline, enabled))

    await plane.database.write(change)


async def delete_schedule(plane: ControlPlane, slug: str, schedule_id: str) -> None:
    """Remove a schedule.

    Raises:
        MalformedInput: `request.not_found`.
    """

    def change(tx: Transaction) -> None:
        schedule_store.delete_schedule(tx, find_schedule(tx, slug, schedule_id)["id"])

    await plane.database.write(change)


def find_schedule(tx: Transaction, slug: str, schedule_id: str) -> Row:
    """A schedule of a pipeline.

    Raises:
        MalformedInput: `request.not_found`.
    """
    row = schedule_store.find_schedule(tx, slug, schedule_id)
    if row is None:
        raise not_found("such schedule")
    return row


async def start_due(plane: ControlPlane) -> None:
    """Make the builds of schedules whose time has come."""
    now = plane.now()
    for row in await plane.database.look(lambda tx: schedule_store.due_schedules(tx, now)):
        try:
            await _start(plane, row)
        except PipesealError as error:
            _log.error("schedule %s: %s", row["id"], error.message)  # it stays due


async def _start(plane: ControlPlane, row: Row) -> None:
    prepared: PreparedBuild | None = None
    next_at: int | None = None
    failure = ""
    try:
        next_at = _next_at(plane, row["cronline"])
        new = NewBuild(
            commit=row["commit_id"],
            branch=row["branch"],
            message=row["message"],
            source="schedule",
            env=msgspec.json.decode(row["env"], type=dict[str, str]),
        )
        prepared = await prepare_build(plane, row["slug"], new)
    except MalformedInput as error:
        failure = error.message
        _log.warning("schedule %s of %s makes no build: %s", row["id"], row["slug"], failure)

    def change(tx: Transaction) -> None:
        taken = schedule_store.take_turn(tx, row, next_at=next_at, failure=failure, now=plane.now())
        if taken and prepared is not None:
            insert_build(tx, plane, prepared)

    await asyncio.shield(plane.database.write(change))


def _columns(plane: ControlPlane, fields: ScheduleFields, cronline: str, enabled: bool) -> dict[str, Any]:
    """The columns that change, checked."""
    check_texts(label=fields.label or "", branch=fields.branch or "", commit=fields.commit or "")
    for name in fields.env or ():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise MalformedInput("request.malformed", f"{name[:80]!r} is no name for an environment variable")
    next_at = _next_at(plane, cronline)
    columns: dict[str, Any] = {
        "cronline": cronline,
        "label": fields.label,
        "message": fields.message,
        "commit_id": fields.commit,
        "branch": fields.branch,
        "env": None if fields.env is None else msgspec.json.encode(fields.env).decode(),
    }
    columns = {name: value for name, value in columns.items() if value is not None}
    return columns | {"enabled": int(enabled), "next_at": next_at if enabled else None}


def _next_at(plane: ControlPlane, cronline: str) -> int:
    schedule = parse_schedule(cronline, source="cronline")
    return int(next_run(schedule, plane.clock.now()) * 1_000_000)

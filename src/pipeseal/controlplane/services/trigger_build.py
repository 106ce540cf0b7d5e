"""Trigger steps make their builds.

The job of the step is the note of what is to be done: it stays `scheduled` until one transaction both makes the build
and moves the job on, so a build is made once, whatever server does it and whenever one dies.
"""

from __future__ import annotations

import asyncio
import logging
from sqlite3 import Row
from typing import Any, NamedTuple

import msgspec

from pipeseal.controlplane.domain.build_origin import BuildOrigin
from pipeseal.controlplane.domain.job import JobState
from pipeseal.controlplane.domain.retry import Ending
from pipeseal.controlplane.domain.triggers import MAX_DEPTH, Trigger, read_trigger
from pipeseal.controlplane.services.advance_build import advance_build, end_job, note_progress
from pipeseal.controlplane.services.create_build import NewBuild, PreparedBuild, insert_build, prepare_build
from pipeseal.controlplane.services.note_event import note_job_end
from pipeseal.controlplane.services.plane import ControlPlane
from pipeseal.controlplane.store import jobs as job_store
from pipeseal.controlplane.store.database import Transaction
from pipeseal.errors import MalformedInput, PipesealError

_log = logging.getLogger("pipeseal.server")


class _Content(msgspec.Struct):
    trigger: Any = None
    build: Any = None
    async_: Any = msgspec.field(name="async", default=None)
    notify: Any = None


class _Rows(NamedTuple):
    job: Row
    content: str
    build: Row
    pipeline: Row


async def trigger_builds(plane: ControlPlane) -> None:
    """Make the builds that trigger steps wait for."""
    for row in await plane.database.read(job_store.jobs_to_trigger):
        try:
            await _trigger(plane, row["id"])
        except PipesealError as error:
            _log.error("trigger step, job %s: %s", row["id"], error.message)  # it stays to be done


async def _trigger(plane: ControlPlane, job_id: str) -> None:
    rows = await plane.database.read(lambda tx: _read(tx, job_id))
    if rows is None:
        return
    members = msgspec.json.decode(rows.content, type=_Content)
    prepared: PreparedBuild | None = None
    detached, reason = False, ""
    try:
        trigger = read_trigger(members.trigger, members.build, members.async_, "the step")
        detached = trigger.detached
        prepared = await prepare_build(plane, trigger.pipeline, _new_build(rows, trigger))
    except MalformedInput as error:
        reason = f"nothing could be triggered: {error.message}"

    def change(tx: Transaction) -> None:
        now = plane.now()
        wanted = JobState.PASSED if detached and prepared is not None else JobState.RUNNING
        build_id = prepared.id if prepared is not None else None
        if not job_store.begin_trigger(tx, job_id, wanted, build_id=build_id, reason="", now=now):
            return  # cancelled, or done by another server
        parent = rows.build["id"]
        note_progress(tx, plane, parent, now=now)
        if prepared is None:
            job = job_store.find_job(tx, job_id)
            assert job is not None
            end_job(tx, plane, job, Ending(1), now=now, by_agent=True, reason=reason)
            return
        insert_build(tx, plane, prepared)
        if detached:
            advance_build(tx, plane, parent, now=now, ended_step=rows.job["step_id"])
            if members.notify:
                note_job_end(tx, plane, parent, job_id, members.notify, now=now)

    await asyncio.shield(plane.database.write(change))


def _read(tx: Transaction, job_id: str) -> _Rows | None:
    job = job_store.find_job(tx, job_id)
    if job is None or job["state"] != JobState.SCHEDULED:
        return None
    step = tx.one("SELECT content FROM steps WHERE id = :id", id=job["step_id"])
    build = tx.one("SELECT * FROM builds WHERE id = :id", id=job["build_id"])
    assert step is not None
    assert build is not None
    pipeline = tx.one("SELECT * FROM pipelines WHERE id = :id", id=build["pipeline_id"])
    assert pipeline is not None
    return _Rows(job, step["content"], build, pipeline)


def _new_build(rows: _Rows, trigger: Trigger) -> NewBuild:
    depth = rows.build["trigger_depth"] + 1
    if depth > MAX_DEPTH:
        raise MalformedInput("upload.limit", f"builds trigger builds at most {MAX_DEPTH} deep")
    return NewBuild(
        commit=trigger.commit,
        branch=trigger.branch,
        message=trigger.message or rows.job["label"],
        author=rows.build["author"],
        source="trigger_job",
        env=trigger.env,
        meta_data=trigger.meta_data,
        origin=BuildOrigin(
            env={
                "BUILDKITE_TRIGGERED_FROM_BUILD_ID": rows.build["id"],
                "BUILDKITE_TRIGGERED_FROM_BUILD_NUMBER": str(rows.build["number"]),
                "BUILDKITE_TRIGGERED_FROM_BUILD_PIPELINE_SLUG": rows.pipeline["slug"],
            }
        ),
        triggered_from_id=rows.job["id"],
        trigger_depth=depth,
    )

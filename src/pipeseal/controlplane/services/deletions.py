"""Logs and artifacts that somebody deletes: gone for everybody with the commit, their bytes removed right behind it.

The commit notes which bytes are to be removed. Any server removes them, again and again until that has succeeded, so
a store that does not work, or a server that is killed, leaves nothing behind for ever.
"""

from __future__ import annotations

import asyncio
from functools import partial

from pipeseal.controlplane.domain.identifiers import UUID
from pipeseal.controlplane.domain.job import RETRYABLE, JobState
from pipeseal.controlplane.services.act_on_job import find_job_in_build
from pipeseal.controlplane.services.artifact_bytes import forget_all
from pipeseal.controlplane.services.authenticate import not_found
from pipeseal.controlplane.services.events import REMOVALS, build_topic, log_topic
from pipeseal.controlplane.services.plane import ControlPlane
from pipeseal.controlplane.store import artifacts as artifact_store
from pipeseal.controlplane.store import removals as removal_store
from pipeseal.controlplane.store.database import Transaction
from pipeseal.errors import MalformedInput, Unavailable

_AT_ONCE = 100


async def delete_log(plane: ControlPlane, slug: str, number: int, job_id: str, *, by: str) -> None:
    """Delete the log of a job that has ended. Asked again, nothing happens.

    Parameters:
        by: who asks, for people.

    Raises:
        MalformedInput: `request.not_found`; `state.unfinished`: the job may still write.
    """
    now = plane.now()

    def change(tx: Transaction) -> None:
        _, job = find_job_in_build(tx, slug, number, job_id)
        if job["kind"] != "script":
            raise not_found("log of this kind of job")
        if JobState(job["state"]) not in RETRYABLE:
            raise MalformedInput("state.unfinished", f"the job is {job['state']}: its log is not closed")
        removal_store.mark_log_deleted(tx, job_id, by=by, now=now)
        build_id = job["build_id"]
        tx.after_commit(lambda: _tell(plane, build_topic(build_id), log_topic(job_id), REMOVALS))

    await plane.database.write(change)
    plane.log_states.drop(job_id)


async def delete_artifact(
    plane: ControlPlane, slug: str, number: int, job_id: str, artifact_id: str, *, by: str
) -> None:
    """Delete an artifact. Asked again, nothing happens. What an agent put into another store stays there.

    Parameters:
        by: who asks, for people.

    Raises:
        MalformedInput: `request.not_found`; `state.unfinished`: it is still being uploaded.
    """
    now = plane.now()

    def change(tx: Transaction) -> None:
        _, job = find_job_in_build(tx, slug, number, job_id)
        row = artifact_store.find_artifact(tx, artifact_id) if UUID.fullmatch(artifact_id) else None
        if row is None or row["job_id"] != job["id"]:
            raise not_found("such artifact")
        if row["state"] == "new":
            raise MalformedInput("state.unfinished", "the upload of this artifact is not over")
        removal_store.mark_artifact_deleted(tx, artifact_id, by=by, now=now)
        build_id = job["build_id"]
        tx.after_commit(lambda: _tell(plane, build_topic(build_id), REMOVALS))

    await plane.database.write(change)


def _tell(plane: ControlPlane, *topics: str) -> None:
    for topic in topics:
        plane.events.publish(topic)


async def remove_due(plane: ControlPlane) -> None:
    """Remove the bytes of what was deleted. What cannot be removed now is taken up the next time.

    Raises:
        Unavailable: `server.store`, of the last that could not be removed.
    """
    now = plane.now()
    while True:
        rows = await plane.database.look(lambda tx: removal_store.due_removals(tx, now, limit=_AT_ONCE))
        trouble: Unavailable | None = None
        for row in rows:
            try:
                await _remove(plane, row["kind"], row["id"])
            except Unavailable as error:
                trouble = error  # the others may still be removed
        if trouble is not None:
            raise trouble
        if len(rows) < _AT_ONCE:
            return


async def _remove(plane: ControlPlane, kind: str, removed_id: str) -> None:
    if kind == removal_store.LOG:
        await asyncio.to_thread(plane.logs.remove, removed_id)
    else:
        row = await plane.database.look(lambda tx: artifact_store.find_artifact(tx, removed_id))
        if row is not None:
            await forget_all(plane, row)
    await plane.database.write(partial(removal_store.end_removal, kind=kind, removed_id=removed_id))

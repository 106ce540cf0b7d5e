"""What people do to single jobs: unblock them, and have them run again."""

from __future__ import annotations

from sqlite3 import Row

import msgspec

from pipeseal.controlplane.domain.fields import FormField, check_answers, read_fields
from pipeseal.controlplane.domain.identifiers import UUID
from pipeseal.controlplane.domain.job import RETRYABLE, JobState
from pipeseal.controlplane.domain.retry import read_manual
from pipeseal.controlplane.domain.unblocker import Unblocker
from pipeseal.controlplane.services.advance_build import advance_build
from pipeseal.controlplane.services.authenticate import not_found
from pipeseal.controlplane.services.create_build import set_meta_data
from pipeseal.controlplane.services.plane import ControlPlane
from pipeseal.controlplane.store import builds as build_store
from pipeseal.controlplane.store import jobs as job_store
from pipeseal.controlplane.store.database import Transaction
from pipeseal.errors import MalformedInput

_MAX_FIELDS = 1_000


async def unblock_job(
    plane: ControlPlane,
    slug: str,
    number: int,
    job_id: str,
    fields: dict[str, str],
    *,
    unblocker: Unblocker | None = None,
) -> None:
    """A person lets a block or input step pass; the answers to its fields become meta-data of the build.

    Parameters:
        fields: answers by the keys of the fields.
        unblocker: that person; None when nobody says who it is.

    Raises:
        MalformedInput: `request.not_found`; `state.not_blocked`; `request.malformed`; `unblock.field`.
    """
    limit = plane.settings.limits.max_meta_data_bytes
    if len(fields) > _MAX_FIELDS or any(len(value) > limit for value in fields.values()):
        raise MalformedInput("request.malformed", f"at most {_MAX_FIELDS} fields of at most {limit} characters")
    now = plane.now()

    def change(tx: Transaction) -> None:
        build, job = _find_job(tx, slug, number, job_id)
        if job["state"] != JobState.BLOCKED:
            raise MalformedInput("state.not_blocked", f"the job is {job['state']}, not blocked")
        step = tx.one("SELECT content FROM steps WHERE id = :id", id=job["step_id"])
        assert step is not None
        for key, value in check_answers(_fields_of(step["content"]), fields).items():
            set_meta_data(tx, build["id"], key, value)
        job_store.move_jobs(tx, JobState.PASSED, "id = :id", now=now, reason="unblocked", id=job_id)
        if unblocker is not None:
            job_store.set_unblocked_by(tx, job_id, msgspec.json.encode(unblocker).decode())
        advance_build(tx, plane, build["id"], now=now)

    await plane.database.write(change)


class _Fields(msgspec.Struct):
    fields: object = None


def _fields_of(content: str) -> tuple[FormField, ...]:
    """The fields of a step; none when it is written as a single word."""
    if not content.startswith("{"):
        return ()
    return read_fields(msgspec.json.decode(content, type=_Fields).fields, "step")


class _Retry(msgspec.Struct):
    retry: object = None


async def retry_job(plane: ControlPlane, slug: str, number: int, job_id: str) -> str:
    """A person has a job run again; returns the id of the new job. What waited in vain for it waits again.

    Raises:
        MalformedInput: `request.not_found`; `state.not_retryable`: it has not ended, was retried, or may not be.
    """
    now = plane.now()
    new_id = plane.new_id()

    def change(tx: Transaction) -> str:
        build, job = _find_job(tx, slug, number, job_id)
        step = tx.one("SELECT content FROM steps WHERE id = :id", id=job["step_id"])
        assert step is not None
        if job["kind"] != "script" or JobState(job["state"]) not in RETRYABLE or job["retried_in"] is not None:
            raise MalformedInput("state.not_retryable", f"the job is {job['state']} and cannot be retried")
        if job["state"] != JobState.CANCELED:
            manual = read_manual(msgspec.json.decode(step["content"], type=_Retry).retry, "step")
            refusal = manual.refusal(passed=job["state"] == JobState.PASSED)
            if refusal:
                raise MalformedInput("state.not_retryable", f"the job cannot be retried: {refusal}")
        limit = plane.settings.limits.max_jobs_per_build
        if job_store.count_jobs(tx, build["id"]) >= limit:
            raise MalformedInput("upload.limit", f"the build has {limit} jobs, its limit (max_jobs_per_build)")
        job_store.insert_retry(tx, job, id=new_id, kind="manual", now=now)
        tx.run(
            "UPDATE builds SET cancel_asked_at = NULL, superseded_by = NULL WHERE id = :id",
            id=build["id"],
        )
        for state in (JobState.WAITING_FAILED, JobState.BLOCKED_FAILED):
            where = "build_id = :build_id AND state = :before"
            job_store.move_jobs(tx, JobState.WAITING, where, now=now, build_id=build["id"], before=state)
        advance_build(tx, plane, build["id"], now=now)
        return new_id

    return await plane.database.write(change)


def _find_job(tx: Transaction, slug: str, number: int, job_id: str) -> tuple[Row, Row]:
    build = build_store.find_build(tx, slug, number)
    job = job_store.find_job(tx, job_id) if UUID.fullmatch(job_id) else None
    if build is None or job is None or job["build_id"] != build["id"]:
        raise not_found("such job")
    return build, job

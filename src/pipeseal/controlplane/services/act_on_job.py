"""What people do to single jobs: unblock them, and have them run again."""

from __future__ import annotations

from collections.abc import Collection
from sqlite3 import Row
from typing import Final

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
# How a job can have gone wrong, in the ecosystem's words. Jobs here wait for an agent as long as it takes: none is
# `expired`.
FAILURES: Final = ("failed", "soft_failed", "timed_out", "canceled", "expired")


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
        build, job = find_job_in_build(tx, slug, number, job_id)
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
        build, job = find_job_in_build(tx, slug, number, job_id)
        refusal = _retry_refusal(tx, job)
        if refusal:
            raise MalformedInput("state.not_retryable", refusal)
        _run_again(tx, plane, build, {new_id: job}, now)
        return new_id

    return await plane.database.write(change)


async def retry_failed_jobs(plane: ControlPlane, slug: str, number: int, outcomes: Collection[str]) -> int:
    """A person has the jobs of a build that went wrong run again, all at once; returns how many.

    Jobs whose steps forbid it are left out.

    Parameters:
        outcomes: of `FAILURES`, which ones.

    Raises:
        MalformedInput: `request.not_found`; `request.malformed`, no such outcome; `upload.limit`, then none runs.
    """
    unknown = sorted(set(outcomes) - set(FAILURES))
    if unknown:
        raise MalformedInput("request.malformed", f"{unknown[0][:80]!r} is none of {', '.join(FAILURES)}")
    now = plane.now()

    def change(tx: Transaction) -> int:
        build = build_store.find_build(tx, slug, number)
        if build is None:
            raise not_found("such build")
        jobs = [job for job in job_store.latest_jobs(tx, build["id"]) if _failure(job) in outcomes]
        again = {plane.new_id(): job for job in jobs if not _retry_refusal(tx, job)}
        if again:
            _run_again(tx, plane, build, again, now)
        return len(again)

    return await plane.database.write(change)


def _failure(job: Row) -> str:
    """Which of `FAILURES` a job is; empty when it is none."""
    state = JobState(job["state"])
    if state is JobState.FAILED:
        return "soft_failed" if job["soft_failed"] else "failed"
    return state.value if state in (JobState.TIMED_OUT, JobState.CANCELED) else ""


def _retry_refusal(tx: Transaction, job: Row) -> str:
    """Why a person cannot have a job run again; empty when they can."""
    if job["kind"] != "script" or JobState(job["state"]) not in RETRYABLE or job["retried_in"] is not None:
        return f"the job is {job['state']} and cannot be retried"
    if job["state"] == JobState.CANCELED:
        return ""
    step = tx.one("SELECT content FROM steps WHERE id = :id", id=job["step_id"])
    assert step is not None
    manual = read_manual(msgspec.json.decode(step["content"], type=_Retry).retry, "step")
    refusal = manual.refusal(passed=job["state"] == JobState.PASSED)
    return f"the job cannot be retried: {refusal}" if refusal else ""


def _run_again(tx: Transaction, plane: ControlPlane, build: Row, again: dict[str, Row], now: int) -> None:
    """Put jobs of a build in the place of others, by their new ids; what waited in vain for them waits again."""
    limit = plane.settings.limits.max_jobs_per_build
    if job_store.count_jobs(tx, build["id"]) + len(again) > limit:
        raise MalformedInput("upload.limit", f"the build would have more than {limit} jobs (max_jobs_per_build)")
    for new_id, job in again.items():
        job_store.insert_retry(tx, job, id=new_id, kind="manual", now=now)
    tx.run("UPDATE builds SET cancel_asked_at = NULL, superseded_by = NULL WHERE id = :id", id=build["id"])
    for state in (JobState.WAITING_FAILED, JobState.BLOCKED_FAILED):
        where = "build_id = :build_id AND state = :before"
        job_store.move_jobs(tx, JobState.WAITING, where, now=now, build_id=build["id"], before=state)
    advance_build(tx, plane, build["id"], now=now)


def find_job_in_build(tx: Transaction, slug: str, number: int, job_id: str) -> tuple[Row, Row]:
    """A build and a job of it.

    Raises:
        MalformedInput: `request.not_found`.
    """
    build = build_store.find_build(tx, slug, number)
    job = job_store.find_job(tx, job_id) if UUID.fullmatch(job_id) else None
    if build is None or job is None or job["build_id"] != build["id"]:
        raise not_found("such job")
    return build, job

"""What the token of a job opens beside the job itself: its build, its agent, and builds it may look into."""

from __future__ import annotations

from sqlite3 import Row

from pipeseal.controlplane.domain.identifiers import UUID
from pipeseal.controlplane.domain.job import HELD, JobState
from pipeseal.controlplane.domain.tokens import digest_token
from pipeseal.controlplane.services.authenticate import (
    job_not_running,
    not_found,
    unknown_token,
    verify_job_token,
)
from pipeseal.controlplane.store import jobs as job_store
from pipeseal.controlplane.store.database import Transaction
from pipeseal.errors import VerificationError


def held_job(tx: Transaction, job_id: str, token: str) -> Row:
    """The job of the path, in the hands of an agent.

    Raises:
        VerificationError: `access.unknown_token`, `access.other_job`.
        MalformedInput: `state.not_running`.
    """
    return _held(verify_job_token(tx, job_id, token))


def verify_held_token(tx: Transaction, token: str) -> Row:
    """The job that a token opens, where the path names none.

    Plan:
        1. The token's digest is that of a job.
        2. An agent holds the job.

    Does not check: what the job may touch; `readable_build` and `own_build` do.

    Raises:
        VerificationError: `access.unknown_token`.
        MalformedInput: `state.not_running`.
    """
    found = job_store.find_job_by_token(tx, digest_token(token))
    job = job_store.find_job(tx, found["id"]) if found is not None else None
    if job is None:  # 1
        raise unknown_token("job")
    return _held(job)  # 2


def _held(job: Row) -> Row:
    if JobState(job["state"]) not in HELD:
        raise job_not_running(job["state"])
    return job


def readable_build(tx: Transaction, job: Row, build_id: str) -> Row:
    """A build that a job may look into: its own, others of its pipeline, the one that triggered its own, and those
    that its own triggered.

    Raises:
        VerificationError: `access.other_build`.
        MalformedInput: `request.not_found`.
    """
    build = _named_build(tx, build_id)
    own = tx.one("SELECT * FROM builds WHERE id = :id", id=job["build_id"])
    assert own is not None
    if build["pipeline_id"] != own["pipeline_id"] and not _is_triggered(tx, own, by=build):
        if _is_triggered(tx, build, by=own):
            return build
        raise VerificationError(
            "access.other_build",
            "this job token opens only builds of the job's own pipeline, and those on either side of a trigger step",
            help="let a trigger step hand over what another pipeline needs",
        )
    return build


def _named_build(tx: Transaction, build_id: str) -> Row:
    build = tx.one("SELECT * FROM builds WHERE id = :id", id=build_id) if UUID.fullmatch(build_id) else None
    if build is None:
        raise not_found("such build")
    return build


def _is_triggered(tx: Transaction, build: Row, *, by: Row) -> bool:
    """Whether a trigger step of one build made another."""
    job = job_store.find_job(tx, build["triggered_from_id"]) if build["triggered_from_id"] is not None else None
    return job is not None and bool(job["build_id"] == by["id"])


def own_build(tx: Transaction, job: Row, build_id: str) -> Row:
    """The build of a job, named by the caller, to be changed.

    Raises:
        VerificationError: `access.other_build`.
        MalformedInput: `request.not_found`.
    """
    build = _named_build(tx, build_id)
    if build["id"] != job["build_id"]:
        raise VerificationError("access.other_build", "this job token changes only the job's own build")
    return build

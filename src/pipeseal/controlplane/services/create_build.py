"""Pipelines are kept, builds are made of them, cancelled, made again; jobs are unblocked and retried by people."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
from dataclasses import dataclass, field
from sqlite3 import Row

import msgspec

from pipeseal.controlplane.domain.environment import NO_PULL_REQUEST
from pipeseal.controlplane.domain.identifiers import SLUG, UUID, make_slug
from pipeseal.controlplane.domain.job import RETRYABLE, JobState
from pipeseal.controlplane.domain.retry import read_manual
from pipeseal.controlplane.services.advance_build import advance_build, leave_group
from pipeseal.controlplane.services.authenticate import not_found
from pipeseal.controlplane.services.job_access import own_build, verify_held_token
from pipeseal.controlplane.services.plan_pipeline import plan_pipeline, read_steps, run_sized
from pipeseal.controlplane.services.plane import ControlPlane
from pipeseal.controlplane.services.upload_pipeline import add_plan, facts_of
from pipeseal.controlplane.store import builds as build_store
from pipeseal.controlplane.store import jobs as job_store
from pipeseal.controlplane.store.database import Transaction
from pipeseal.errors import MalformedInput

# What existing users have in their settings: their own pipeline file, uploaded by the first job.
DEFAULT_STEPS = 'steps:\n  - label: ":pipeline: Upload"\n    command: buildkite-agent pipeline upload\n'

_log = logging.getLogger("pipeseal.server")
_MAX_TEXT = 4_096
_MAX_MESSAGE = 64 * 1024
_MAX_VARIABLES = 1_000


@dataclass(frozen=True, slots=True)
class NewBuild:
    """What a build is to be of. Empty `commit` means `HEAD`, empty `branch` the pipeline's default branch."""

    commit: str = ""
    branch: str = ""
    message: str = ""
    tag: str = ""
    pull_request: str = NO_PULL_REQUEST
    author: str = ""
    source: str = "api"
    env: dict[str, str] = field(default_factory=dict)
    meta_data: dict[str, str] = field(default_factory=dict)
    rebuilt_from_id: str | None = None


async def create_pipeline(
    plane: ControlPlane,
    *,
    name: str,
    repository: str,
    slug: str = "",
    default_branch: str = "main",
    description: str = "",
    configuration: str = "",
) -> str:
    """Make a pipeline; returns its slug.

    Parameters:
        name: for people; `slug` is made from it when empty.
        repository: what agents check out, and what signatures are bound to.
        configuration: steps as YAML; empty: one step that uploads the repository's own pipeline file.

    Raises:
        MalformedInput: `request.slug`, `request.exists`, `request.malformed`, or the steps cannot be used.
    """
    slug = slug or make_slug(name)
    if not SLUG.fullmatch(slug) or len(slug) > 100:
        raise MalformedInput("request.slug", f"{slug!r} is no slug: lower-case letters, digits and single dashes")
    _check_texts(repository=repository, name=name, default_branch=default_branch, description=description)
    if not repository:
        raise MalformedInput("request.malformed", "a pipeline needs a `repository`")
    configuration = configuration or DEFAULT_STEPS
    await run_sized(len(configuration), lambda: read_steps(plane, configuration))
    now = plane.now()

    def change(tx: Transaction) -> None:
        if build_store.find_pipeline(tx, slug) is not None:
            raise MalformedInput("request.exists", f"there is a pipeline {slug!r} already")
        build_store.insert_pipeline(
            tx,
            id=plane.new_id(),
            slug=slug,
            name=name or slug,
            description=description,
            repository=repository,
            default_branch=default_branch or "main",
            configuration=configuration,
            created_at=now,
        )

    await plane.database.write(change)
    return slug


async def update_pipeline(plane: ControlPlane, slug: str, changes: dict[str, str]) -> None:
    """Change a pipeline's name, description, repository, default branch or steps (`configuration`).

    Raises:
        MalformedInput: `request.not_found`, `request.malformed`, or the steps cannot be used.
    """
    configuration = changes.get("configuration")
    _check_texts(**{name: value for name, value in changes.items() if name != "configuration"})
    if changes.get("repository") == "":
        raise MalformedInput("request.malformed", "a pipeline needs a `repository`")
    if configuration is not None:
        await run_sized(len(configuration), lambda: read_steps(plane, configuration))

    def change(tx: Transaction) -> None:
        if build_store.find_pipeline(tx, slug) is None:
            raise not_found("such pipeline")
        build_store.update_pipeline(tx, slug, **changes)

    await plane.database.write(change)


async def create_build(plane: ControlPlane, slug: str, new: NewBuild) -> int:
    """Make a build of a pipeline's steps and let it begin; returns its number.

    Parameters:
        slug: the pipeline.
        new: what it is of.

    Raises:
        MalformedInput: `request.not_found`, `request.malformed`, or the steps cannot be used.
    """
    _check_new_build(new)
    pipeline = await plane.database.read(lambda tx: build_store.find_pipeline(tx, slug))
    if pipeline is None:
        raise not_found("such pipeline")
    build_id = plane.new_id()
    columns: dict[str, object] = {
        "id": build_id,
        "pipeline_id": pipeline["id"],
        "number": pipeline["last_build_number"] + 1,
        "source": new.source,
        "message": new.message,
        "commit_id": new.commit or "HEAD",
        "branch": new.branch or pipeline["default_branch"],
        "tag": new.tag,
        "pull_request": new.pull_request or NO_PULL_REQUEST,
        "author": new.author,
        "env": msgspec.json.encode(new.env).decode(),
        "rebuilt_from_id": new.rebuilt_from_id,
        "created_at": plane.now(),
    }

    configuration = pipeline["configuration"]
    steps = await run_sized(len(configuration), lambda: read_steps(plane, configuration))
    plan = await run_sized(len(steps), lambda: plan_pipeline(plane, steps, facts_of(plane, columns, pipeline)))
    digest = hashlib.sha256(steps).hexdigest()

    def change(tx: Transaction) -> int:
        now = plane.now()
        number = build_store.next_build_number(tx, pipeline["id"])
        build_store.insert_build(tx, **{**columns, "number": number, "created_at": now})
        for key, value in new.meta_data.items():
            _set_meta_data(tx, build_id, key, value)
        add_plan(
            tx,
            plane,
            plan,
            build_id=build_id,
            upload_id=plane.new_id(),
            job_id=None,
            digest=digest,
            after=-1,
            parent_id=None,
            uploaded_by=None,
            now=now,
        )
        advance_build(tx, plane, build_id, now=now)
        return number

    number = await asyncio.shield(plane.database.write(change))
    _log.info("build %s (#%d) of %s: %d jobs", build_id, number, slug, plan.job_count)
    return number


async def rebuild(plane: ControlPlane, slug: str, number: int) -> int:
    """Make a new build of the same commit, branch and variables; returns its number.

    Raises:
        MalformedInput: `request.not_found`, or the steps cannot be used.
    """
    build = await plane.database.read(lambda tx: build_store.find_build(tx, slug, number))
    if build is None:
        raise not_found("such build")
    new = NewBuild(
        commit=build["commit_id"],
        branch=build["branch"],
        message=build["message"],
        tag=build["tag"],
        pull_request=build["pull_request"],
        author=build["author"],
        source=build["source"],
        env=msgspec.json.decode(build["env"], type=dict[str, str]),
        rebuilt_from_id=build["id"],
    )
    return await create_build(plane, slug, new)


async def cancel_build(plane: ControlPlane, slug: str, number: int) -> None:
    """Cancel a build: what has not begun never will, what runs is asked to stop. A build that is over stays as it is.

    Raises:
        MalformedInput: `request.not_found`.
    """

    def change(tx: Transaction) -> None:
        build = build_store.find_build(tx, slug, number)
        if build is None:
            raise not_found("such build")
        _cancel(tx, plane, build)

    await plane.database.write(change)


async def cancel_build_by_job(plane: ControlPlane, build_id: str, token: str) -> None:
    """One of a build's own jobs cancels it.

    Raises:
        VerificationError: `access.unknown_token`, `access.other_build`.
        MalformedInput: `state.not_running`, `request.not_found`.
    """
    await plane.database.write(lambda tx: _cancel(tx, plane, own_build(tx, verify_held_token(tx, token), build_id)))


def _cancel(tx: Transaction, plane: ControlPlane, build: Row) -> None:
    if build["finished_at"] is not None:
        return
    now = plane.now()
    deadline = now + int(plane.settings.cancel_timeout * 1_000_000)
    build_id = build["id"]
    rows = tx.all(
        "SELECT id, concurrency_group FROM jobs WHERE build_id = :build_id AND finished_at IS NULL",
        build_id=build_id,
    )
    where = "build_id = :build_id AND state IN ('waiting', 'blocked', 'limited', 'scheduled')"
    reason = "the build was cancelled"
    job_store.move_jobs(tx, JobState.CANCELED, where, now=now, reason=reason, build_id=build_id)
    job_store.ask_to_stop(tx, JobState.CANCELING, "build_id = :build_id", deadline=deadline, build_id=build_id)
    tx.run("UPDATE builds SET cancel_asked_at = :now WHERE id = :id", now=now, id=build_id)
    for row in rows:
        leave_group(tx, plane, row, now=now)
    advance_build(tx, plane, build_id, now=now)
    job_ids = [row["id"] for row in rows]
    tx.after_commit(lambda: plane.events.call(lambda: plane.dispatcher.discard_all(job_ids)))


async def unblock_job(plane: ControlPlane, slug: str, number: int, job_id: str, fields: dict[str, str]) -> None:
    """A person lets a block step pass; its fields become meta-data of the build.

    Raises:
        MalformedInput: `request.not_found`; `state.not_blocked`; `request.malformed`.
    """
    limit = plane.settings.limits.max_meta_data_bytes
    if len(fields) > _MAX_VARIABLES or any(len(value) > limit for value in fields.values()):
        raise MalformedInput("request.malformed", f"at most {_MAX_VARIABLES} fields of at most {limit} characters")
    now = plane.now()

    def change(tx: Transaction) -> None:
        build, job = _find_job(tx, slug, number, job_id)
        if job["state"] != JobState.BLOCKED:
            raise MalformedInput("state.not_blocked", f"the job is {job['state']}, not blocked")
        for key, value in fields.items():
            _set_meta_data(tx, build["id"], key, value)
        job_store.move_jobs(tx, JobState.PASSED, "id = :id", now=now, reason="unblocked", id=job_id)
        advance_build(tx, plane, build["id"], now=now)

    await plane.database.write(change)


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
        allowed, reason = True, ""
        if job["state"] != JobState.CANCELED:
            allowed, reason = read_manual(msgspec.json.decode(step["content"], type=_Retry).retry, "step")
        if not allowed:
            raise MalformedInput("state.not_retryable", f"the job cannot be retried: {reason}")
        limit = plane.settings.limits.max_jobs_per_build
        if job_store.count_jobs(tx, build["id"]) >= limit:
            raise MalformedInput("upload.limit", f"the build has {limit} jobs, its limit (max_jobs_per_build)")
        job_store.insert_retry(tx, job, id=new_id, kind="manual", now=now)
        tx.run(
            "UPDATE builds SET cancel_asked_at = NULL WHERE id = :id",
            id=build["id"],
        )
        for state in (JobState.WAITING_FAILED, JobState.BLOCKED_FAILED):
            where = "build_id = :build_id AND state = :before"
            job_store.move_jobs(tx, JobState.WAITING, where, now=now, build_id=build["id"], before=state)
        advance_build(tx, plane, build["id"], now=now)
        return new_id

    return await plane.database.write(change)


def _set_meta_data(tx: Transaction, build_id: str, key: str, value: str) -> None:
    tx.run(
        "INSERT INTO meta_data (build_id, key, value) VALUES (:build_id, :key, :value) "
        "ON CONFLICT (build_id, key) DO UPDATE SET value = :value",
        build_id=build_id,
        key=key,
        value=value,
    )


def _find_job(tx: Transaction, slug: str, number: int, job_id: str) -> tuple[Row, Row]:
    build = build_store.find_build(tx, slug, number)
    job = job_store.find_job(tx, job_id) if UUID.fullmatch(job_id) else None
    if build is None or job is None or job["build_id"] != build["id"]:
        raise not_found("such job")
    return build, job


def _check_new_build(new: NewBuild) -> None:
    _check_texts(branch=new.branch, tag=new.tag, author=new.author, source=new.source)
    if new.commit and not re.fullmatch(r"[0-9A-Za-z][0-9A-Za-z._/~^@{}-]{0,254}", new.commit):
        raise MalformedInput("request.malformed", f"{new.commit!r} is not a commit")
    if not re.fullmatch(r"false|[0-9]{1,18}", new.pull_request or NO_PULL_REQUEST):
        raise MalformedInput("request.malformed", f"{new.pull_request!r} is not the number of a pull request")
    if len(new.message) > _MAX_MESSAGE:
        raise MalformedInput("request.malformed", f"a build's message has at most {_MAX_MESSAGE} characters")
    if len(new.env) > _MAX_VARIABLES:
        raise MalformedInput("request.malformed", f"a build has at most {_MAX_VARIABLES} variables")
    for name in new.env:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise MalformedInput("request.malformed", f"{name!r} is no name for an environment variable")


def _check_texts(**texts: str) -> None:
    for name, text in texts.items():
        if len(text) > _MAX_TEXT or any(ord(character) < 0x20 for character in text):
            raise MalformedInput(
                "request.malformed", f"`{name}` has control characters, or more than {_MAX_TEXT} characters"
            )

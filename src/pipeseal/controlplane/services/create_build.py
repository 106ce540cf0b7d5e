"""Builds are made of pipelines, made again, and cancelled."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
from dataclasses import dataclass, field
from sqlite3 import Row

import msgspec

from pipeseal.controlplane.domain.build import BuildState
from pipeseal.controlplane.domain.build_origin import BuildOrigin, decode_origin, encode_origin
from pipeseal.controlplane.domain.environment import NO_PULL_REQUEST
from pipeseal.controlplane.domain.expand import Plan
from pipeseal.controlplane.domain.pipeline_settings import decode_settings
from pipeseal.controlplane.services.advance_build import advance_build, stop_jobs
from pipeseal.controlplane.services.advance_build import cancel_build as stop_build
from pipeseal.controlplane.services.authenticate import not_found
from pipeseal.controlplane.services.build_facts import facts_of
from pipeseal.controlplane.services.job_access import own_build, verify_held_token
from pipeseal.controlplane.services.note_event import note_state
from pipeseal.controlplane.services.pipelines import check_texts
from pipeseal.controlplane.services.plan_pipeline import plan_pipeline, read_steps, run_sized
from pipeseal.controlplane.services.plane import ControlPlane
from pipeseal.controlplane.services.upload_pipeline import add_plan
from pipeseal.controlplane.store import builds as build_store
from pipeseal.controlplane.store.database import Transaction
from pipeseal.errors import MalformedInput

_log = logging.getLogger("pipeseal.server")
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
    origin: BuildOrigin = field(default_factory=BuildOrigin)
    triggered_from_id: str | None = None
    trigger_depth: int = 0


@dataclass(frozen=True, slots=True)
class PreparedBuild:
    """A build that was read and planned, and has only to be written. Made by `prepare_build`.

    Parameters:
        pipeline: the pipeline's row.
        columns: of the build, without its number and time.
    """

    pipeline: Row
    new: NewBuild
    columns: dict[str, object]
    plan: Plan
    digest: str

    @property
    def id(self) -> str:
        """The build's id."""
        return str(self.columns["id"])


async def prepare_build(plane: ControlPlane, slug: str, new: NewBuild) -> PreparedBuild:
    """Read a pipeline's steps for a build; nothing is written yet.

    Parameters:
        slug: the pipeline.
        new: what the build is of.

    Raises:
        MalformedInput: `request.not_found`, `request.malformed`, or the steps cannot be used.
    """
    _check_new_build(new)
    pipeline = await plane.database.read(lambda tx: build_store.find_pipeline(tx, slug))
    if pipeline is None:
        raise not_found("such pipeline")
    columns: dict[str, object] = {
        "id": plane.new_id(),
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
        "origin": encode_origin(new.origin),
        "triggered_from_id": new.triggered_from_id,
        "trigger_depth": new.trigger_depth,
    }
    configuration = pipeline["configuration"]
    steps = await run_sized(len(configuration), lambda: read_steps(plane, configuration))
    plan = await run_sized(len(steps), lambda: plan_pipeline(plane, steps, facts_of(plane, columns, pipeline)))
    return PreparedBuild(pipeline, new, columns, plan, hashlib.sha256(steps).hexdigest())


def insert_build(tx: Transaction, plane: ControlPlane, prepared: PreparedBuild) -> int:
    """Write a prepared build and let it begin; returns its number. Older builds of its branch may be needless now."""
    now = plane.now()
    number = build_store.next_build_number(tx, prepared.pipeline["id"])
    build_store.insert_build(tx, **{**prepared.columns, "number": number, "created_at": now})
    for key, value in prepared.new.meta_data.items():
        set_meta_data(tx, prepared.id, key, value)
    add_plan(
        tx,
        plane,
        prepared.plan,
        build_id=prepared.id,
        upload_id=plane.new_id(),
        job_id=None,
        digest=prepared.digest,
        after=-1,
        parent_id=None,
        uploaded_by=None,
        now=now,
    )
    _supersede(tx, plane, prepared, number, now)
    note_state(tx, plane, build_store.get_build(tx, prepared.id), BuildState.SCHEDULED, now=now)
    advance_build(tx, plane, prepared.id, now=now)
    slug, build_id, count = prepared.pipeline["slug"], prepared.id, prepared.plan.job_count
    tx.after_commit(lambda: _log.info("build %s (#%d) of %s: %d jobs", build_id, number, slug, count))
    return number


def _supersede(tx: Transaction, plane: ControlPlane, prepared: PreparedBuild, number: int, now: int) -> None:
    """Skip or cancel older builds of the branch, as the pipeline's settings say; never those that wait for it."""
    settings = decode_settings(prepared.pipeline["settings"])
    branch = str(prepared.columns["branch"])
    skips, cancels = settings.skips(branch), settings.cancels(branch)
    if not (skips or cancels):
        return
    waiting_for_it = build_store.ancestors(tx, prepared.id)
    for older in build_store.unfinished_builds(tx, prepared.pipeline["id"], branch, before=number):
        if older["id"] in waiting_for_it:
            continue
        reason = f"a newer build of the branch, #{number}"
        if older["state"] == BuildState.SCHEDULED and skips:
            tx.run("UPDATE builds SET superseded_by = :new WHERE id = :id", new=prepared.id, id=older["id"])
            stop_jobs(tx, plane, "build_id = :build_id", reason=reason, now=now, build_id=older["id"])
            advance_build(tx, plane, older["id"], now=now)
        elif older["state"] in (BuildState.RUNNING, BuildState.FAILING) and cancels:
            tx.run("UPDATE builds SET superseded_by = :new WHERE id = :id", new=prepared.id, id=older["id"])
            stop_build(tx, plane, older, now=now, reason=reason)


async def create_build(plane: ControlPlane, slug: str, new: NewBuild) -> int:
    """Make a build of a pipeline's steps and let it begin; returns its number.

    Parameters:
        slug: the pipeline.
        new: what it is of.

    Raises:
        MalformedInput: `request.not_found`, `request.malformed`, or the steps cannot be used.
    """
    prepared = await prepare_build(plane, slug, new)
    return await asyncio.shield(plane.database.write(lambda tx: insert_build(tx, plane, prepared)))


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
        origin=decode_origin(build["origin"]).again(),
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
        stop_build(tx, plane, build, now=plane.now())

    await plane.database.write(change)


async def cancel_build_by_job(plane: ControlPlane, build_id: str, token: str) -> None:
    """One of a build's own jobs cancels it.

    Raises:
        VerificationError: `access.unknown_token`, `access.other_build`.
        MalformedInput: `state.not_running`, `request.not_found`.
    """

    def change(tx: Transaction) -> None:
        build = own_build(tx, verify_held_token(tx, token), build_id)
        stop_build(tx, plane, build, now=plane.now())

    await plane.database.write(change)


def set_meta_data(tx: Transaction, build_id: str, key: str, value: str) -> None:
    """Set a build's meta-data."""
    tx.run(
        "INSERT INTO meta_data (build_id, key, value) VALUES (:build_id, :key, :value) "
        "ON CONFLICT (build_id, key) DO UPDATE SET value = :value",
        build_id=build_id,
        key=key,
        value=value,
    )


def _check_new_build(new: NewBuild) -> None:
    check_texts(branch=new.branch, tag=new.tag, author=new.author, source=new.source)
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

"""A job uploads a pipeline: its steps go into the build behind the step that uploaded them, once."""

from __future__ import annotations

import asyncio
import hashlib
from sqlite3 import Row

import msgspec

from pipeseal.agentapi.messages import UploadState
from pipeseal.controlplane.domain.combinations import over_build_limit
from pipeseal.controlplane.domain.dependencies import find_cycle
from pipeseal.controlplane.domain.expand import BuildFacts, Plan
from pipeseal.controlplane.domain.identifiers import UUID
from pipeseal.controlplane.domain.job import JobState
from pipeseal.controlplane.services.advance_build import advance_build, leave_group
from pipeseal.controlplane.services.authenticate import job_not_running, not_found, verify_job_token
from pipeseal.controlplane.services.build_facts import read_facts
from pipeseal.controlplane.services.plan_pipeline import plan_pipeline, run_sized
from pipeseal.controlplane.services.plane import ControlPlane
from pipeseal.controlplane.store import jobs as job_store
from pipeseal.controlplane.store import steps as step_store
from pipeseal.controlplane.store.database import Transaction
from pipeseal.errors import MalformedInput


class UploadRequest(msgspec.Struct):
    """The body of an upload. `pipeline` stays raw, so that each step's text is kept byte for byte."""

    uuid: str
    pipeline: msgspec.Raw
    replace: bool = False


async def upload_pipeline(plane: ControlPlane, job_id: str, token: str, request: UploadRequest) -> list[str]:
    """Put a pipeline into the build of a running job. The same upload sent again changes nothing.

    Parameters:
        job_id, token: the job.
        request: the upload; its `uuid` makes it happen once.

    Returns:
        Warnings about what this server does not honour.

    Raises:
        VerificationError: `access.unknown_token`, `access.other_job`.
        MalformedInput: `state.not_running`, `upload.conflict`, `upload.key`, `upload.cycle`, and what `plan_pipeline`
            says.
    """
    pipeline = bytes(request.pipeline)
    digest = hashlib.sha256(pipeline + (b"\x01" if request.replace else b"\x00")).hexdigest()
    if not UUID.fullmatch(request.uuid.lower()):
        raise MalformedInput("request.malformed", "the upload's `uuid` is not a UUID")
    upload_id = request.uuid.lower()

    def look(tx: Transaction) -> tuple[list[str] | None, BuildFacts | None]:
        job = verify_job_token(tx, job_id, token)
        done = _find_same(tx, upload_id, job_id, digest)
        if done is not None:
            return done, None
        _check_running(job)
        return None, read_facts(tx, plane, job["build_id"])

    done, facts = await plane.database.read(look)
    if done is not None or facts is None:
        return done or []
    plan = await run_sized(len(pipeline), lambda: plan_pipeline(plane, pipeline, facts))
    now = plane.now()

    def change(tx: Transaction) -> list[str]:
        job = verify_job_token(tx, job_id, token)
        done = _find_same(tx, upload_id, job_id, digest)
        if done is not None:
            return done
        _check_running(job)
        step = tx.one("SELECT id, position, parent_id FROM steps WHERE id = :id", id=job["step_id"])
        assert step is not None
        build_id = job["build_id"]
        if request.replace:
            _replace_rest(tx, plane, build_id, now)
        add_plan(
            tx,
            plane,
            plan,
            build_id=build_id,
            upload_id=upload_id,
            job_id=job_id,
            digest=digest,
            after=step["position"],
            parent_id=step["parent_id"],
            uploaded_by=step["id"],
            now=now,
        )
        advance_build(tx, plane, build_id, now=now)
        return plan.warnings

    return await asyncio.shield(plane.database.write(change))


async def upload_state(plane: ControlPlane, job_id: str, token: str, upload_id: str) -> UploadState:
    """The state of an upload: uploads happen at once, so one that is there is `applied`.

    Raises:
        VerificationError: `access.unknown_token`, `access.other_job`.
        MalformedInput: `request.not_found`.
    """

    def look(tx: Transaction) -> UploadState:
        verify_job_token(tx, job_id, token)
        row = tx.one("SELECT job_id FROM uploads WHERE id = :id", id=upload_id.lower())
        if row is None or row["job_id"] != job_id:
            raise not_found("such upload")
        return UploadState(state="applied", message="")

    return await plane.database.read(look)


def add_plan(
    tx: Transaction,
    plane: ControlPlane,
    plan: Plan,
    *,
    build_id: str,
    upload_id: str,
    job_id: str | None,
    digest: str,
    after: int,
    parent_id: str | None,
    uploaded_by: str | None,
    now: int,
) -> None:
    """Insert a plan into a build, once its keys, dependencies and size are found to go with what is there.

    Raises:
        MalformedInput: `upload.key`, `upload.cycle`, `upload.limit`.
    """
    edges, keys = step_store.dependency_edges(tx, build_id)
    children: dict[int, list[str]] = {}
    for step in plan.steps:
        if not step.key:
            continue
        if step.key in keys:
            raise MalformedInput(
                "upload.key",
                f"the key {step.key!r} is used by another step of this build",
                help="give each step its own",
            )
        keys.add(step.key)
        edges[step.key] = [dependency.step for dependency in step.depends_on or ()]
    for step in plan.steps:
        # A group has ended when its steps have: it needs them as if it depended on them; they need what it needs.
        parent = step.parent
        while parent is not None:
            group = plan.steps[parent]
            if group.key and step.key:
                edges[group.key].append(step.key)
            if group.key and step.depends_on:
                edges[group.key] += [dependency.step for dependency in step.depends_on]
            if step.key and group.depends_on:
                edges[step.key] += [dependency.step for dependency in group.depends_on]
            children.setdefault(parent, []).append(step.key)
            parent = group.parent
    cycle = find_cycle(edges)
    if cycle is not None:
        raise MalformedInput("upload.cycle", f"steps depend on each other in a circle: {' -> '.join(cycle)}")
    limit = plane.settings.limits.max_jobs_per_build
    count = job_store.count_jobs(tx, build_id) + plan.job_count
    if count > limit:
        raise over_build_limit(count, limit)
    step_store.insert_upload(tx, id=upload_id, build_id=build_id, job_id=job_id, digest=digest, plan=plan, now=now)
    step_store.insert_plan(
        tx,
        plan,
        build_id=build_id,
        upload_id=upload_id,
        after=after,
        parent_id=parent_id,
        uploaded_by=uploaded_by,
        make_id=plane.new_id,
        now=now,
    )


def _find_same(tx: Transaction, upload_id: str, job_id: str, digest: str) -> list[str] | None:
    """The warnings of this very upload, when it happened before; None when it did not.

    Raises:
        MalformedInput: `upload.conflict`, its id was used for something else.
    """
    row = tx.one("SELECT job_id, digest, warnings FROM uploads WHERE id = :id", id=upload_id)
    if row is None:
        return None
    if row["job_id"] != job_id or row["digest"] != digest:
        raise MalformedInput("upload.conflict", "another pipeline was uploaded under this `uuid`")
    return msgspec.json.decode(row["warnings"], type=list[str])


def _check_running(job: Row) -> None:
    if job["state"] not in (JobState.RUNNING, JobState.ACCEPTED):
        raise job_not_running(job["state"])


def _replace_rest(tx: Transaction, plane: ControlPlane, build_id: str, now: int) -> None:
    """Take everything that has not begun out of a build; the keys of those steps are free again."""
    not_begun = "build_id = :build_id AND state IN ('waiting', 'blocked', 'limited', 'scheduled')"
    rows = tx.all(f"SELECT id, step_id, concurrency_group FROM jobs WHERE {not_begun}", build_id=build_id)  # noqa: S608  (a constant)
    reason = "replaced by a later upload"
    job_store.move_jobs(tx, JobState.SKIPPED, not_begun, now=now, reason=reason, build_id=build_id)
    for row in rows:
        tx.run(
            "UPDATE steps SET key = '' WHERE id = :id AND NOT EXISTS "
            "(SELECT 1 FROM jobs WHERE step_id = :id AND (state <> 'skipped' OR reason <> :reason))",
            id=row["step_id"],
            reason=reason,
        )
        leave_group(tx, plane, row, now=now)
    job_ids = [row["id"] for row in rows]
    tx.after_commit(lambda: plane.events.call(lambda: plane.dispatcher.discard_all(job_ids)))

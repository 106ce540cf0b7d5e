"""An agent takes a job: the claim, and the job as the agent receives it."""

from __future__ import annotations

from dataclasses import dataclass
from sqlite3 import Row
from typing import TYPE_CHECKING

import msgspec

from pipeseal.agentapi.messages import JobAssignment
from pipeseal.clock import render_timestamp
from pipeseal.controlplane.domain.agents import Rules, matches, meta_data_variables
from pipeseal.controlplane.domain.build_origin import decode_origin
from pipeseal.controlplane.domain.environment import (
    JobFacts,
    artifact_paths,
    checkout_variables,
    job_environment,
    variable_origins,
)
from pipeseal.controlplane.domain.job import JobState
from pipeseal.controlplane.domain.tokens import derive_job_token, digest_token
from pipeseal.controlplane.domain.unblocker import decode_unblocker
from pipeseal.controlplane.services.advance_build import note_progress
from pipeseal.controlplane.services.authenticate import not_found
from pipeseal.controlplane.services.dispatch import Session
from pipeseal.controlplane.services.plan_pipeline import run_sized
from pipeseal.controlplane.services.plane import ControlPlane
from pipeseal.controlplane.store import agents as agent_store
from pipeseal.controlplane.store import jobs as job_store
from pipeseal.controlplane.store.database import Transaction
from pipeseal.controlplane.store.servers import clear_offer
from pipeseal.errors import MalformedInput

if TYPE_CHECKING:
    from pipeseal.pipeline.steps import CommandStep

CHUNK_BYTES = 102_400


@dataclass(frozen=True, slots=True)
class _Rows:
    """Everything that an assignment is made of, from one snapshot."""

    job: Row
    step: Row
    upload: Row
    build: Row
    pipeline: Row
    group: Row | None
    rebuilt_from: Row | None
    unblocked_by: str | None


async def accept_job(plane: ControlPlane, session: Session, job_id: str) -> JobAssignment:
    """Give a job to an agent. The same agent may ask again until it starts the job, and gets the same answer.

    Parameters:
        session: the agent.
        job_id: the job it was told of.

    Raises:
        MalformedInput: `request.not_found`; `state.unavailable`: another agent has it, it is offered to another, it
            needs other tags, or this agent still has another job.
    """
    token = derive_job_token(plane.job_secret, job_id, session.id)
    holder = plane.dispatcher.holder(job_id)
    if holder is not None and holder != session.id and not plane.peers.is_shared:
        raise _unavailable("is offered to another agent")
    now = plane.now()

    def claim(tx: Transaction) -> _Rows:
        job = job_store.find_job(tx, job_id)
        if job is None:
            raise not_found("such job")
        again = job["agent_id"] == session.id and job["state"] == JobState.ACCEPTED
        if not again:
            if plane.peers.is_shared:
                # What this server has on offer is a guess here; the database knows.
                if job["offered_to"] not in (None, session.id) and job["offered_until"] > now:
                    raise _unavailable("is offered to another agent")
                clear_offer(tx, job_id)
            if not matches(msgspec.json.decode(job["agent_rules"], type=Rules), session.tags):
                raise _unavailable("needs an agent with other tags")
            if job_store.held_jobs(tx, session.id):
                raise _unavailable("cannot be had while another job is in the hands of this agent")
            digest = digest_token(token)
            claimed = job_store.claim_job(tx, job_id, agent_id=session.id, token_digest=digest, now=now)
            if claimed is None:
                # Whatever made the queue keep it, it is not there to be had: offer it to nobody else.
                plane.events.call(lambda: plane.dispatcher.discard(job_id))
                raise _unavailable(f"is {job['state']}")
            job = claimed
            note_progress(tx, plane, job["build_id"], now=now)
        return _read_rows(tx, job)

    rows = await plane.database.write(claim)
    plane.dispatcher.discard(job_id)
    session.job_id = job_id
    session.job_accepted_at = plane.steady()
    plane.peers.holder(session.id)
    plane.dispatcher.wake(session)  # its stream was heard
    return await run_sized(len(rows.step["content"]), lambda: _assignment(plane, rows, session, token))


def _unavailable(why: str) -> MalformedInput:
    return MalformedInput("state.unavailable", f"the job {why}")


def _read_rows(tx: Transaction, job: Row) -> _Rows:
    step = tx.one("SELECT * FROM steps WHERE id = :id", id=job["step_id"])
    assert step is not None
    upload = tx.one("SELECT env, checkout FROM uploads WHERE id = :id", id=step["upload_id"])
    build = tx.one("SELECT * FROM builds WHERE id = :id", id=job["build_id"])
    assert upload is not None
    assert build is not None
    pipeline = tx.one("SELECT * FROM pipelines WHERE id = :id", id=build["pipeline_id"])
    assert pipeline is not None
    group = tx.one("SELECT id, key, label FROM steps WHERE id = :id", id=step["parent_id"])
    rebuilt_from = tx.one("SELECT id, number FROM builds WHERE id = :id", id=build["rebuilt_from_id"])
    unblocked_by = job_store.find_unblocked_by(tx, build["id"])
    return _Rows(job, step, upload, build, pipeline, group, rebuilt_from, unblocked_by)


class SentJob:
    """What the agent of a script job is sent, or would be; nothing of its agent is in it before it has one.

    Parameters:
        content: the step's JSON as it was uploaded.
        pipeline_env: variables of the upload that the step came with.
    """

    __slots__ = ("_holder", "_plane", "_rows", "content", "pipeline_env")

    def __init__(self, plane: ControlPlane, rows: _Rows, holder: _Holder) -> None:
        self._plane = plane
        self._rows = rows
        self._holder = holder
        self.content: str = rows.step["content"]
        self.pipeline_env = msgspec.json.decode(rows.upload["env"], type=dict[str, str])

    @property
    def repository(self) -> str:
        """The repository's URL."""
        return str(self._rows.pipeline["repository"])

    def environment(self) -> dict[str, str]:
        """The job's variables.

        Raises:
            MalformedInput, VerificationError: the step is not what it was when it was uploaded.
        """
        return job_environment(self._facts())

    def origins(self) -> dict[str, tuple[str, str]]:
        """The job's variables with who set each, see `variable_origins`."""
        return variable_origins(self._facts())

    def _facts(self) -> JobFacts:
        return _facts(self._plane, self._rows, _step(self._rows), self._holder)


def find_sent(tx: Transaction, plane: ControlPlane, job_id: str) -> SentJob | None:
    """What a script job is sent with; None when there is no such job."""
    job = job_store.find_job(tx, job_id)
    if job is None or job["kind"] != "script":
        return None
    agent = None if job["agent_id"] is None else agent_store.find_agent(tx, job["agent_id"])
    holder = _Holder("", "", frozenset())
    if agent is not None:
        tags = msgspec.json.decode(agent["tags"], type=frozenset[tuple[str, str]])
        holder = _Holder(agent["id"], agent["name"], tags)
    return SentJob(plane, _read_rows(tx, job), holder)


async def read_environment(plane: ControlPlane, job_id: str) -> dict[str, tuple[str, str]]:
    """The variables that a script job is sent with, or would be, with who set each.

    Nothing of its agent is in them before it has one.

    Raises:
        MalformedInput: `request.not_found`.
    """
    sent = await plane.database.read(lambda tx: find_sent(tx, plane, job_id))
    if sent is None:
        raise not_found("environment of such a job")
    return await run_sized(len(sent.content), sent.origins)


@dataclass(frozen=True, slots=True)
class _Holder:
    """What a job's environment says of its agent."""

    id: str
    name: str
    tags: frozenset[tuple[str, str]]


class _StepMembers(msgspec.Struct):
    artifact_paths: object = None


def _permutation(job: Row) -> dict[str, str] | None:
    return None if job["matrix"] is None else msgspec.json.decode(job["matrix"], type=dict[str, str])


def _step(rows: _Rows) -> CommandStep:
    """The step of a job, with the values of its matrix put in."""
    from pipeseal.pipeline.commandstep import parse_command_step
    from pipeseal.pipeline.matrix import interpolate_matrix

    step, permutation = parse_command_step(rows.step["content"].encode()), _permutation(rows.job)
    return step if permutation is None else interpolate_matrix(step, permutation)


def _facts(plane: ControlPlane, rows: _Rows, step: CommandStep, holder: _Holder) -> JobFacts:
    from pipeseal.pipeline.commandstep import parse_command_step
    from pipeseal.pipeline.render import plugins_value, render_json

    job, build, pipeline = rows.job, rows.build, rows.pipeline
    pipeline_env = msgspec.json.decode(rows.upload["env"], type=dict[str, str])
    build_env = msgspec.json.decode(build["env"], type=dict[str, str])
    # The pipeline's own checkout settings are read as those of a step that has nothing else.
    defaults = parse_command_step(b'{"command":"","checkout":%s}' % (rows.upload["checkout"] or "null").encode())
    layers = (defaults.checkout, step.checkout)
    members = msgspec.json.decode(rows.step["content"], type=_StepMembers)
    return JobFacts(
        job_id=job["id"],
        build_id=build["id"],
        build_number=build["number"],
        build_url=f"{plane.url}/{plane.settings.organization}/{pipeline['slug']}/builds/{build['number']}",
        organization_slug=plane.settings.organization,
        organization_id=plane.organization_id,
        pipeline_slug=pipeline["slug"],
        pipeline_id=pipeline["id"],
        pipeline_name=pipeline["name"],
        default_branch=pipeline["default_branch"],
        repository=pipeline["repository"],
        commit=build["commit_id"],
        branch=build["branch"],
        tag=build["tag"],
        pull_request=build["pull_request"],
        message=build["message"],
        author=build["author"],
        source=build["source"],
        rebuilt_from_id=rows.rebuilt_from["id"] if rows.rebuilt_from is not None else "",
        rebuilt_from_number=str(rows.rebuilt_from["number"]) if rows.rebuilt_from is not None else "",
        step_id=rows.step["id"],
        step_key=rows.step["key"],
        label=job["label"],
        command=step.command,
        plugins=render_json(plugins_value(step.plugins)) if step.plugins else "",
        artifact_paths=artifact_paths(members.artifact_paths),
        timeout_minutes=job["timeout_minutes"],
        retry_count=job["retry_count"],
        retry_kind=job["retry_kind"] or "",
        parallel_index=job["parallel_index"],
        parallel_count=job["parallel_count"],
        agent_id=holder.id,
        agent_name=holder.name,
        agent_variables=meta_data_variables(holder.tags),
        origin_env=decode_origin(build["origin"]).env,
        unblocker=decode_unblocker(rows.unblocked_by),
        group=None if rows.group is None else (rows.group["id"], rows.group["key"], rows.group["label"]),
        pipeline_env=pipeline_env,
        build_env=build_env,
        step_env=step.env,
        checkout_env=checkout_variables(layers, {**pipeline_env, **build_env, **step.env}),
    )


def _assignment(plane: ControlPlane, rows: _Rows, session: Session, token: str) -> JobAssignment:
    job, holder, traces = rows.job, _Holder(session.id, session.name, session.tags), plane.build_traces
    return JobAssignment(
        id=job["id"],
        state=JobState.ACCEPTED.value,
        token=token,
        env=job_environment(_facts(plane, rows, _step(rows), holder)),
        step=msgspec.Raw(rows.step["content"].encode()),  # byte for byte what was uploaded
        chunks_max_size_bytes=CHUNK_BYTES,
        log_max_size_bytes=plane.settings.limits.max_log_bytes,
        matrix_permutation=_permutation(job),
        runnable_at=render_timestamp((job["runnable_at"] or job["created_at"]) / 1_000_000),
        priority=job["priority"],
        traceparent=msgspec.UNSET if traces is None else traces.traceparent(job["build_id"], job["id"]),
    )

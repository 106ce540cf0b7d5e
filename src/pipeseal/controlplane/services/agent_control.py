"""From inside a job: what its agent does next, how long the job may take, and that it will fail."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from pipeseal.agentapi.job_messages import AgentPause, AgentStop, PromisedFailure
from pipeseal.controlplane.domain.job import JobState
from pipeseal.controlplane.domain.retry import Ending, adjusted_soft_fail, is_soft
from pipeseal.controlplane.services.advance_build import advance_build
from pipeseal.controlplane.services.job_access import held_job, verify_held_token
from pipeseal.controlplane.services.plane import ControlPlane
from pipeseal.controlplane.services.register_agent import pause_agent, stop_agent
from pipeseal.controlplane.store import jobs as job_store
from pipeseal.controlplane.store.database import Transaction
from pipeseal.errors import MalformedInput

MAX_PAUSE_MINUTES = 24 * 60
MAX_TIMEOUT_MINUTES = 30 * 24 * 60
_MAX_NOTE = 500
_MAX_REASON = 2_000
_TIMEOUTS = ("timeout", "timeout_in_minutes")


async def stop_own_agent(plane: ControlPlane, token: str, message: AgentStop) -> None:
    """End the agent that runs the job: after the job, or with `force` by asking it to stop the job now.

    Raises:
        VerificationError: `access.unknown_token`.
        MalformedInput: `state.not_running`; `request.not_found`: the agent has gone.
    """
    now = plane.now()
    deadline = now + int(plane.settings.cancel_timeout * 1_000_000)
    force = message.get("force", False)

    def change(tx: Transaction) -> str:
        job = verify_held_token(tx, token)
        if force and job_store.ask_to_stop(tx, JobState.CANCELING, "id = :id", deadline=deadline, id=job["id"]):
            advance_build(tx, plane, job["build_id"], now=now)
        return str(job["agent_id"])

    await stop_agent(plane, await plane.database.write(change))


async def stop_any_agent(plane: ControlPlane, agent_id: str, *, force: bool) -> None:
    """End an agent: after its job, or with `force` by asking it to stop the job now.

    Raises:
        MalformedInput: `request.not_found`, no such agent is connected.
    """
    await stop_agent(plane, agent_id)
    if not force:
        return
    now = plane.now()
    deadline = now + int(plane.settings.cancel_timeout * 1_000_000)

    def change(tx: Transaction) -> None:
        where = "agent_id = :agent_id AND finished_at IS NULL"
        jobs = tx.all(f"SELECT DISTINCT build_id FROM jobs WHERE {where}", agent_id=agent_id)  # noqa: S608  (a constant)
        if jobs and job_store.ask_to_stop(tx, JobState.CANCELING, where, deadline=deadline, agent_id=agent_id):
            for job in jobs:
                advance_build(tx, plane, job["build_id"], now=now)

    await plane.database.write(change)


async def pause_own_agent(plane: ControlPlane, token: str, message: AgentPause) -> None:
    """Let the agent that runs the job take no others, for a while or until somebody resumes it.

    Raises:
        VerificationError: `access.unknown_token`.
        MalformedInput: `state.not_running`, `request.malformed`, `request.not_found`.
    """
    minutes = message.get("timeout_in_minutes", 0)
    note = message.get("note", "")
    if not 0 <= minutes <= MAX_PAUSE_MINUTES or len(note) > _MAX_NOTE:
        raise MalformedInput(
            "request.malformed",
            f"a pause lasts at most {MAX_PAUSE_MINUTES} minutes, and its note has at most {_MAX_NOTE} characters",
        )
    job = await plane.database.read(lambda tx: verify_held_token(tx, token))
    until = plane.now() + minutes * 60_000_000 if minutes else None
    await pause_agent(plane, job["agent_id"], True, note, until=until)


async def resume_own_agent(plane: ControlPlane, token: str) -> None:
    """Let the agent that runs the job take others again.

    Raises:
        VerificationError: `access.unknown_token`.
        MalformedInput: `state.not_running`, `request.not_found`.
    """
    job = await plane.database.read(lambda tx: verify_held_token(tx, token))
    await pause_agent(plane, job["agent_id"], False)


async def update_job(plane: ControlPlane, job_id: str, token: str, changes: Mapping[str, str | int]) -> None:
    """Change the job's timeout, counted from its start.

    Parameters:
        job_id, token: the job.
        changes: `timeout` or `timeout_in_minutes` to whole minutes above zero.

    Raises:
        VerificationError: `access.unknown_token`, `access.other_job`.
        MalformedInput: `state.not_running`, `request.malformed`.
    """
    unknown = [name for name in changes if name not in _TIMEOUTS]
    if unknown or len(changes) != 1:
        raise MalformedInput(
            "request.malformed",
            f"a running job has no attribute {unknown[0][:80]!r} to change" if unknown else "name one attribute",
            help="what can be changed: timeout_in_minutes",
        )
    text = str(next(iter(changes.values()))).strip()
    if not re.fullmatch(r"[0-9]{1,6}", text) or not 1 <= int(text) <= MAX_TIMEOUT_MINUTES:
        raise MalformedInput(
            "request.malformed", f"a job's timeout is 1 to {MAX_TIMEOUT_MINUTES} whole minutes, not {text[:80]!r}"
        )

    def change(tx: Transaction) -> None:
        held_job(tx, job_id, token)
        job_store.set_timeout(tx, job_id, minutes=int(text))

    await plane.database.write(change)


class _SoftFail(msgspec.Struct):
    soft_fail: object = None
    matrix: object = None


async def promise_failure(plane: ControlPlane, job_id: str, token: str, promise: PromisedFailure) -> None:
    """The job will fail, says the job: its build begins to fail now. The same promise again changes nothing.

    Raises:
        VerificationError: `access.unknown_token`, `access.other_job`.
        MalformedInput: `request.malformed`; `state.not_running`; `promise.conflict`: another status was promised.
    """
    status, reason = promise["exit_status"], promise.get("reason", "")
    if not 1 <= status < 2**31 or len(reason) > _MAX_REASON:
        raise MalformedInput(
            "request.malformed",
            f"a promised exit status is above zero, and its reason has at most {_MAX_REASON} characters",
        )
    now = plane.now()

    def change(tx: Transaction) -> None:
        job = held_job(tx, job_id, token)
        if job["promised_exit_status"] == status:
            return
        if job["promised_exit_status"] is not None:
            raise MalformedInput(
                "promise.conflict", f"the job has promised to fail with {job['promised_exit_status']} before"
            )
        step = tx.one("SELECT content FROM steps WHERE id = :id", id=job["step_id"])
        assert step is not None
        rules = msgspec.json.decode(step["content"], type=_SoftFail)
        soft_fail = adjusted_soft_fail(rules.soft_fail, rules.matrix, job["matrix"])
        soft = is_soft(soft_fail, Ending(status, "", ""))
        job_store.set_promise(tx, job_id, exit_status=status, reason=reason, soft=soft)
        advance_build(tx, plane, job["build_id"], now=now)

    await plane.database.write(change)

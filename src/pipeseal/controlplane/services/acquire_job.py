"""An agent that was started for one job asks for that job by name, without waiting for it to be offered."""

from __future__ import annotations

from pipeseal.agentapi.messages import JobAssignment
from pipeseal.controlplane.domain.identifiers import UUID
from pipeseal.controlplane.domain.job import JobState
from pipeseal.controlplane.services.accept_job import accept_job
from pipeseal.controlplane.services.authenticate import not_found
from pipeseal.controlplane.services.dispatch import Session
from pipeseal.controlplane.services.plane import ControlPlane
from pipeseal.controlplane.store import jobs as job_store
from pipeseal.controlplane.store.database import Transaction
from pipeseal.errors import MalformedInput

# States that a job leaves by itself, or by somebody's click, for one in which it can be had.
_NOT_YET = frozenset({JobState.WAITING, JobState.LIMITED, JobState.BLOCKED})


async def acquire_job(plane: ControlPlane, session: Session, job_id: str) -> JobAssignment:
    """Give the named job to an agent.

    Raises:
        MalformedInput: `state.locked`: not yet to be had, ask again; `state.not_acquirable`: never for this agent;
            `request.not_found`.
    """

    def look(tx: Transaction) -> tuple[JobState, str | None]:
        job = job_store.find_job(tx, job_id) if UUID.fullmatch(job_id) else None
        if job is None or job["kind"] != "script":
            raise not_found("such job")
        return JobState(job["state"]), job["agent_id"]

    state, agent_id = await plane.database.read(look)
    if state in _NOT_YET:
        raise MalformedInput("state.locked", f"the job is {state}: it waits for something else")
    holder = plane.dispatcher.holder(job_id)
    if holder is not None and holder != session.id:
        raise MalformedInput("state.locked", "the job is being offered to another agent")
    again = state is JobState.ACCEPTED and agent_id == session.id
    if state is not JobState.SCHEDULED and not again:
        raise MalformedInput("state.not_acquirable", f"the job is {state} and cannot be acquired")
    try:
        return await accept_job(plane, session, job_id)
    except MalformedInput as error:
        if error.code != "state.unavailable":
            raise
        raise MalformedInput("state.not_acquirable", error.message) from error

"""A job begins, and its agent asks how it stands."""

from __future__ import annotations

from pipeseal.agentapi.messages import JobState as JobStateMessage
from pipeseal.controlplane.domain.job import JobState
from pipeseal.controlplane.domain.retry import NO_STATUS, Ending
from pipeseal.controlplane.services.advance_build import end_job, note_progress
from pipeseal.controlplane.services.authenticate import job_not_running, verify_job_token
from pipeseal.controlplane.services.plane import ControlPlane
from pipeseal.controlplane.store import jobs as job_store
from pipeseal.controlplane.store.database import Transaction


async def start_job(plane: ControlPlane, job_id: str, token: str) -> None:
    """The job is about to run. Said again, it changes nothing.

    Raises:
        VerificationError: `access.unknown_token`, `access.other_job`.
        MalformedInput: `state.not_running`: it was cancelled before it began (it ends here, for its agent now drops
            it), or it has ended.
    """
    now = plane.now()

    def change(tx: Transaction) -> str | None:
        """The state that stands in the way, if one does; what was changed is kept either way."""
        job = verify_job_token(tx, job_id, token)
        match JobState(job["state"]):
            case JobState.ACCEPTED:
                job_store.start_job(tx, job_id, now=now)
                note_progress(tx, plane, job["build_id"], now=now)
                digest = job["token_digest"]
                # Before whatever a later transaction has to say of this job.
                tx.after_commit(lambda: plane.events.call(lambda: plane.log_states.begin(job_id, digest)))
            case JobState.RUNNING:
                pass
            case JobState.CANCELING | JobState.TIMING_OUT if job["started_at"] is None:
                reason = "cancelled before it began"
                end_job(tx, plane, job, Ending(NO_STATUS, "", "cancel"), now=now, by_agent=True, reason=reason)
                return "canceled"
            case JobState.CANCELING | JobState.TIMING_OUT:
                pass
            case ended:
                return ended.value
        return None

    refused = await plane.database.write(change)
    if refused is not None:
        raise job_not_running(refused)


async def job_state(plane: ControlPlane, job_id: str, token: str) -> JobStateMessage:
    """The state of a job as its agent polls it.

    Raises:
        VerificationError: `access.other_job`; `access.unknown_token`: the job was taken from this agent, which must
            stop it.
    """
    job = await plane.database.look(lambda tx: verify_job_token(tx, job_id, token))
    session = plane.sessions.get(job["agent_id"] or "")
    if session is not None and session.job_id == job_id:
        session.job_seen_at = plane.steady()
    return JobStateMessage(state=job["state"], id=job["id"])

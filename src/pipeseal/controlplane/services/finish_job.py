"""A job ends: its log is closed, its result kept, its build goes on."""

from __future__ import annotations

import asyncio
import logging
import re

import msgspec

from pipeseal.agentapi.messages import Decision, FinishRequest, Refusal
from pipeseal.controlplane.domain.job import HELD, JobState
from pipeseal.controlplane.domain.retry import NO_STATUS, Ending
from pipeseal.controlplane.services.advance_build import end_job
from pipeseal.controlplane.services.append_log import close_log, log_state
from pipeseal.controlplane.services.authenticate import verify_job_token
from pipeseal.controlplane.services.decisions import keep_decision
from pipeseal.controlplane.services.plane import ControlPlane
from pipeseal.controlplane.store import agents as agent_store
from pipeseal.controlplane.store.database import Transaction
from pipeseal.controlplane.store.logs import seal_log
from pipeseal.errors import escape_control

_MAX_TEXT = 200
_MAX_LINE = 2_000
_log = logging.getLogger("pipeseal.server")


async def finish_job(plane: ControlPlane, job_id: str, token: str, request: FinishRequest) -> None:
    """The agent reports how a job ended. Said again, it changes nothing.

    Parameters:
        job_id, token: the job.
        request: exit status (`-1` or unreadable: none), signal, reason, refusal, what the agent's policy made of it.

    Raises:
        VerificationError: `access.unknown_token`, `access.other_job`.
        Unavailable: `server.store`.
    """
    state = plane.log_states.find(job_id)
    missing = 0
    if state is None or state.in_flight or state.arrived.holes():
        # The log is closed only for somebody who may close it, so the token is checked here and once more below.
        job = await plane.database.read(lambda tx: verify_job_token(tx, job_id, token))
        if JobState(job["state"]) not in HELD:
            plane.log_states.drop(job_id)
            return
        missing = await close_log(plane, job_id, await log_state(plane, job_id))
    ending = read_ending(request)
    refusal = None if request.refusal is None else msgspec.json.encode(request.refusal).decode()
    reason = "" if request.refusal is None else request.refusal.message
    now = plane.now()

    def change(tx: Transaction) -> str | None:
        job = verify_job_token(tx, job_id, token)
        if JobState(job["state"]) not in HELD:
            return None
        kept = ending
        if job["promised_exit_status"] is not None and ending.exit_status == 0:
            kept = ending._replace(exit_status=job["promised_exit_status"])  # a promise is kept
        if missing:
            seal_log(tx, job_id, missing)
        if request.ignore_agent_in_dispatches and job["agent_id"] is not None:
            agent_store.set_ignored(tx, job["agent_id"])
            session = plane.sessions.get(job["agent_id"])
            if session is not None:
                # Before its stream hears that it has no job any more, and would be told of the next.
                tx.after_commit(lambda: plane.events.call(lambda: setattr(session, "ignored", True)))
        end_job(
            tx,
            plane,
            job,
            kept,
            now=now,
            by_agent=True,
            reason=reason,
            refusal=refusal,
            chunks_failed=max(0, min(request.chunks_failed_count, 2**31)),
        )
        if isinstance(request.decision, Decision):
            keep_decision(tx, job, request.decision)
        agent_id: str | None = job["agent_id"]
        return agent_id

    agent_id = await asyncio.shield(plane.database.write(change))
    plane.log_states.drop(job_id)  # also when it had ended before, and nobody was told
    session = plane.sessions.get(agent_id or "")
    if agent_id is not None and request.refusal is not None:
        _log_refusal(job_id, session.name if session is not None else agent_id, request.refusal)
    if session is not None and session.job_id == job_id:
        session.job_id = None


def _log_refusal(job_id: str, agent: str, refusal: Refusal) -> None:
    """Say in the server's own log what an agent refused: code, sentence, fields and compared values."""
    facts = [f"{name}: {value}" for name, value in refusal.evidence.items()]
    if refusal.fields:
        facts.insert(0, f"differs: {', '.join(refusal.fields)}")
    text = f"[{refusal.code}] {refusal.message}" + "".join(f"; {fact}" for fact in facts)
    _log.warning("job %s refused by agent %s: %s", job_id, escape_control(agent), escape_control(text[:_MAX_LINE]))


def read_ending(request: FinishRequest) -> Ending:
    """How a job ended, with anything that is no exit status as none."""
    text = request.exit_status.strip()
    status = int(text) if re.fullmatch(r"-?[0-9]{1,9}", text) else NO_STATUS
    return Ending(status, request.signal[:_MAX_TEXT], request.signal_reason[:_MAX_TEXT])

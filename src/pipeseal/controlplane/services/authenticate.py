"""Who is asking: tokens against the digests that are stored."""

from __future__ import annotations

from hmac import compare_digest
from sqlite3 import Row

from pipeseal.controlplane.domain.tokens import digest_token
from pipeseal.controlplane.services.dispatch import Session
from pipeseal.controlplane.services.plane import ControlPlane
from pipeseal.controlplane.store import agents as agent_store
from pipeseal.controlplane.store import jobs as job_store
from pipeseal.controlplane.store.database import Transaction
from pipeseal.controlplane.store.servers import note_seen
from pipeseal.errors import MalformedInput, VerificationError


def missing_token(scheme: str) -> VerificationError:
    """The error for a request without a token."""
    return VerificationError(
        "access.no_token", f"this request needs a token in `Authorization: {scheme} ...`", help="send the token"
    )


def unknown_token(kind: str) -> VerificationError:
    """The error for a token that opens nothing (any more)."""
    return VerificationError("access.unknown_token", f"this {kind} token is unknown, or no longer works")


def verify_registration_token(plane: ControlPlane, token: str) -> str:
    """The digest of a registration token.

    Plan:
        1. Its digest is among the stored ones.

    Does not check: which agents may use it.

    Raises:
        VerificationError: `access.unknown_token`.
    """
    digest = digest_token(token)
    if digest not in plane.registration_digests:  # 1
        raise unknown_token("registration")
    return digest


def find_connected(plane: ControlPlane, token: str) -> Session | None:
    """The session of an agent that is connected, as `verify_session_token` finds it, where memory alone can tell."""
    session = plane.sessions.find(digest_token(token))
    if session is None or session.state != "connected":
        return None
    session.last_seen = plane.steady()
    return session


async def verify_session_token(plane: ControlPlane, token: str) -> Session:
    """The session of an agent; an agent that was lost and comes back is connected again.

    Plan:
        1. The token's digest belongs to a session.

    Does not check: which job the agent may touch; each service asks that of the database.

    Raises:
        VerificationError: `access.unknown_token`.
    """
    session = await plane.peers.find_session(digest_token(token))
    if session is None:  # 1
        raise unknown_token("session")
    session.last_seen = plane.steady()
    if session.state == "lost":
        session.state = "connected"
        now = plane.now()

        def come_back(tx: Transaction) -> None:
            agent_store.set_agent_state(tx, session.id, "connected", now=now, keep_token=True)
            note_seen(tx, [session.id], now=now)

        await plane.database.write(come_back)
        plane.peers.agent(session.id)
    return session


def verify_job_token(tx: Transaction, job_id: str, token: str) -> Row:
    """The job that a token opens, whatever its state.

    Plan:
        1. The job of the path exists and the token's digest is that job's.
        2. Otherwise say whether the token opens another job or none.

    Does not check: whether the job's state allows what is asked.

    Raises:
        VerificationError: `access.unknown_token`, or `access.other_job`.
    """
    digest = digest_token(token)
    job = job_store.find_job(tx, job_id)
    stored = job["token_digest"] if job is not None else None
    if job is not None and stored is not None and compare_digest(stored, digest):  # 1
        return job
    if job_store.find_job_by_token(tx, digest) is not None:  # 2
        raise VerificationError("access.other_job", "this job token belongs to another job")
    raise unknown_token("job")


def not_found(what: str) -> MalformedInput:
    """The error for something that is not there."""
    return MalformedInput("request.not_found", f"there is no {what} here")


def job_not_running(state: str) -> MalformedInput:
    """The error for a call that only a running job may make."""
    return MalformedInput("state.not_running", f"the job is {state}, and only a running job may do this")

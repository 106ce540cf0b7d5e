"""An agent comes, rests and goes: register, connect, heartbeat, pause, disconnect."""

from __future__ import annotations

import logging
import re

import msgspec

from pipeseal.agentapi.messages import DECISIONS, Heartbeat, RegisterRequest, RegisterResponse
from pipeseal.agentapi.routes import Token
from pipeseal.clock import render_timestamp
from pipeseal.controlplane.domain.agents import read_tags, render_tags
from pipeseal.controlplane.domain.tokens import PREFIXES, digest_token, make_token
from pipeseal.controlplane.services.authenticate import not_found, verify_registration_token
from pipeseal.controlplane.services.dispatch import Session
from pipeseal.controlplane.services.plane import ControlPlane
from pipeseal.controlplane.services.sweep import end_jobs_of_agent
from pipeseal.controlplane.store import agents as agent_store
from pipeseal.controlplane.store.database import Transaction
from pipeseal.controlplane.store.servers import set_stopping
from pipeseal.errors import MalformedInput, escape_control

_log = logging.getLogger("pipeseal.server")
_MAX_NAME = 255
_MAX_TAGS = 200
_MAX_TAG = 1_000


async def register_agent(plane: ControlPlane, token: str, request: RegisterRequest) -> RegisterResponse:
    """Make a session for an agent.

    Parameters:
        token: the registration token it came with.
        request: how it introduces itself.

    Raises:
        VerificationError: `access.unknown_token`.
        MalformedInput: `request.malformed`, its name or tags are out of bounds.
    """
    verify_registration_token(plane, token)
    tags_given = request.meta_data or []
    if len(tags_given) > _MAX_TAGS or any(len(tag) > _MAX_TAG for tag in tags_given):
        raise MalformedInput(
            "request.malformed", f"an agent has at most {_MAX_TAGS} tags of at most {_MAX_TAG} characters each"
        )
    tags = read_tags(tags_given)
    agent_id = plane.new_id()
    name = _expand_name(plane, request, agent_id)
    session_token = make_token(PREFIXES[Token.SESSION], plane.randomness)
    digest = digest_token(session_token)
    session = Session(
        id=agent_id,
        name=name,
        tags=tags,
        priority=_read_priority(request.priority),
        digest=digest,
        last_seen=plane.steady(),
        ignored=request.ignore_in_dispatches,
    )
    now = plane.now()
    await plane.database.write(
        lambda tx: agent_store.insert_agent(
            tx,
            id=agent_id,
            name=name,
            token_digest=digest,
            hostname=request.hostname[:_MAX_NAME],
            version=request.version[:_MAX_NAME],
            build=request.build[:_MAX_NAME],
            os=request.os[:_MAX_NAME],
            arch=request.arch[:_MAX_NAME],
            pid=min(max(request.pid, 0), 2**53),
            priority=session.priority,
            tags=msgspec.json.encode(sorted(tags)).decode(),
            ignore_in_dispatches=int(session.ignored),
            registered_at=now,
        )
    )
    plane.sessions.add(session)
    _log.info(
        "agent %s (%s) registered: %s", escape_control(name), agent_id, escape_control(" ".join(render_tags(tags)))
    )
    return RegisterResponse(
        id=agent_id,
        name=name,
        access_token=session_token,
        ping_interval=plane.settings.ping_interval,
        job_status_interval=plane.settings.job_status_interval,
        heartbeat_interval=plane.settings.heartbeat_interval,
        meta_data=render_tags(tags),
        pipeseal_extensions=[DECISIONS],
    )


def _expand_name(plane: ControlPlane, request: RegisterRequest, agent_id: str) -> str:
    """The agent's name: templates filled in, or made from its host name."""
    template = request.name or "%hostname-%random"
    name = re.sub(
        r"%(hostname|random|n)\b",
        lambda match: request.hostname if match[1] == "hostname" else agent_id[-6:],
        template,
    )
    if len(name) > _MAX_NAME or not name.strip():
        raise MalformedInput("request.malformed", f"an agent's name has 1 to {_MAX_NAME} characters")
    return name


def _read_priority(text: str | None) -> int:
    if not text:
        return 0
    if not re.fullmatch(r"-?[0-9]{1,9}", text):
        raise MalformedInput("request.malformed", f"an agent's priority is a whole number, not {text!r}")
    return int(text)


def heartbeat(plane: ControlPlane, request: Heartbeat) -> Heartbeat:
    """Echo a heartbeat; that it came was noted when its token was checked. Nothing is written."""
    return Heartbeat(sent_at=request.sent_at, received_at=render_timestamp(plane.clock.now()))


async def disconnect_agent(plane: ControlPlane, session: Session) -> None:
    """The agent goes: its token stops working, and a job still in its hands ends as lost."""
    now = plane.now()

    def change(tx: Transaction) -> None:
        end_jobs_of_agent(tx, plane, session.id, now=now)
        agent_store.set_agent_state(tx, session.id, "disconnected", now=now, keep_token=False)

    await plane.database.write(change)
    plane.dispatcher.wake(session)
    plane.sessions.remove(session.id)
    plane.peers.agent(session.id)
    _log.info("agent %s (%s) disconnected", escape_control(session.name), session.id)


async def pause_agent(
    plane: ControlPlane, agent_id: str, paused: bool, note: str = "", *, until: int | None = None
) -> None:
    """Pause an agent, so that it takes no further job, or let it go on.

    Parameters:
        until: when it goes on by itself, microseconds since the epoch; None for never.

    Raises:
        MalformedInput: `request.not_found`, no such agent is connected.
    """
    session = await _connected(plane, agent_id)
    await plane.database.write(lambda tx: agent_store.set_paused(tx, agent_id, paused, note, until))
    session.paused, session.pause_note = paused, note
    session.told_paused = session.told_paused and not paused
    plane.dispatcher.wake(session)
    plane.peers.agent(agent_id)


async def stop_agent(plane: ControlPlane, agent_id: str) -> None:
    """Tell an agent to disconnect once its job is done.

    Raises:
        MalformedInput: `request.not_found`, no such agent is connected.
    """
    session = await _connected(plane, agent_id)
    await plane.database.write(lambda tx: set_stopping(tx, agent_id))
    session.stopping = True
    plane.dispatcher.wake(session)
    plane.peers.agent(agent_id)


async def _connected(plane: ControlPlane, agent_id: str) -> Session:
    session = await plane.peers.get_session(agent_id)
    if session is None:
        raise not_found("such agent")
    return session

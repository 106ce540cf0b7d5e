"""Logs grow, are followed, and are closed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from hmac import compare_digest
from sqlite3 import Row

from pipeseal.controlplane.domain.job import HELD, JobState
from pipeseal.controlplane.domain.tokens import digest_token
from pipeseal.controlplane.services.authenticate import job_not_running, verify_job_token
from pipeseal.controlplane.services.events import log_topic, wait_for
from pipeseal.controlplane.services.plane import ControlPlane
from pipeseal.controlplane.store.database import store_error
from pipeseal.controlplane.store.jobs import find_job
from pipeseal.controlplane.store.logs import LogState, insert_chunk, insert_shared_chunk, load_log_state
from pipeseal.errors import MalformedInput

_FLIGHT_POLL_SECONDS = 1.0


async def log_state(plane: ControlPlane, job_id: str) -> LogState:
    """The state of a running job's log, read from the database when memory does not have it."""
    state = plane.log_states.find(job_id)
    if state is None:
        known = plane.log_states.recall(job_id)
        # What is known without a hole need not be read again.
        start = 0 if known is None else known.arrived.contiguous
        loaded = await plane.database.read(lambda tx: load_log_state(tx, job_id, start))
        if known is not None:
            known.merge(loaded)
            loaded = known
        state = plane.log_states.keep(job_id, loaded)
    return state


def is_known_writer(plane: ControlPlane, job_id: str, token: str) -> bool:
    """Whether memory already knows this token as that of the agent which writes this log.

    Memory keeps the state of a log, and whose it is, until the job ends or is taken from its agent.
    """
    state = plane.log_states.find(job_id)
    known = state.token_digest if state is not None else None
    return known is not None and compare_digest(known, digest_token(token))


async def append_log(plane: ControlPlane, job_id: str, token: str, *, sequence: int, start: int, data: bytes) -> None:
    """Store a chunk of a log at its place. The same chunk sent again changes nothing.

    Parameters:
        job_id, token: the job.
        sequence: the chunk's number.
        start: where in the log it belongs, in bytes.
        data: its bytes, decompressed.

    Raises:
        VerificationError: `access.unknown_token`, `access.other_job`.
        MalformedInput: `log.conflict`, `log.limit`, `state.not_running`.
        Unavailable: `server.store`; the chunk may be sent again.
    """
    end = start + len(data)
    limit = plane.settings.limits.max_log_bytes
    if end > limit:
        raise MalformedInput("log.limit", f"the log would reach {end} bytes; the limit is {limit} (max_log_bytes)")
    held = is_known_writer(plane, job_id, token)
    if not held:
        job = await plane.database.look(lambda tx: verify_job_token(tx, job_id, token))
        if job["state"] == JobState.ACCEPTED:
            raise job_not_running(job["state"])
        held = JobState(job["state"]) in HELD
    state = await log_state(plane, job_id)
    state.sealed = state.sealed or not held
    state.token_digest = digest_token(token) if held else None
    try:
        if not state.claim(sequence, start, end):
            await _landed(plane, job_id, state, sequence)
            return
    finally:
        if not held:
            plane.log_states.drop(job_id)
    try:
        size, packing = len(data), plane.logs.packing
        if plane.database.is_shared:
            await asyncio.to_thread(plane.logs.write, job_id, start, data)
            await plane.database.write_apart(
                lambda tx: insert_shared_chunk(tx, job_id, sequence, start, size, packing=packing)
            )
        else:
            await plane.database.write_after(
                lambda: plane.logs.write(job_id, start, data),
                lambda tx: insert_chunk(tx, job_id, sequence, start, size, packing=packing),
            )
    except BaseException:  # (whatever it was: a claim that stays would keep the log from ever being closed)
        state.give_up(sequence)
        plane.events.publish(log_topic(job_id))
        raise
    state.settle(sequence)
    plane.events.publish(log_topic(job_id))


async def _landed(plane: ControlPlane, job_id: str, state: LogState, sequence: int) -> None:
    """Wait until the same chunk, which another request is writing, is durable.

    Raises:
        Unavailable: `server.store`, that request failed; the agent sends the chunk again, as it does after no 4xx.
    """
    with plane.events.listen(log_topic(job_id)) as event:
        while sequence in state.in_flight:
            await wait_for(event, _FLIGHT_POLL_SECONDS)
    if sequence not in state.chunks:
        raise store_error(f"another request with log chunk {sequence} failed")


async def close_log(plane: ControlPlane, job_id: str, state: LogState) -> int:
    """Close a log: nothing can be added, and what never came is marked. Returns how many bytes are missing."""
    state.sealed = True
    with plane.events.listen(log_topic(job_id)) as event:
        while state.in_flight:
            await wait_for(event, _FLIGHT_POLL_SECONDS)
    holes = state.arrived.holes()
    if holes:
        await asyncio.to_thread(plane.logs.fill_holes, job_id, holes)
    return sum(hole.end - hole.start for hole in holes)


@dataclass(frozen=True, slots=True)
class LogPart:
    """A part of a log.

    Parameters:
        available: how far the log can be read without a hole, in bytes.
        ended: nothing will be added any more.
        data: bytes from the place asked for, at most some hundred kilobytes.
    """

    available: int
    ended: bool
    data: bytes


async def read_log(plane: ControlPlane, job_id: str, start: int, wait_seconds: float = 0) -> LogPart:
    """Read a log from a place on; wait for more when there is none yet.

    Parameters:
        start: in bytes.
        wait_seconds: how long to wait for bytes behind `start` while the job runs.
    """
    deadline = asyncio.get_running_loop().time() + wait_seconds
    with plane.events.listen(log_topic(job_id)) as event:
        while True:
            job = await plane.database.look(lambda tx: find_job(tx, job_id))
            ended = job is None or job["finished_at"] is not None
            available = await _available(plane, job, job_id)
            if available > start:
                data = await asyncio.to_thread(plane.logs.read, job_id, start, available)
                return LogPart(available, ended, data)
            seconds = deadline - asyncio.get_running_loop().time()
            if ended or seconds <= 0 or plane.dispatcher.closed:
                return LogPart(available, ended, b"")
            await wait_for(event, seconds)


async def _available(plane: ControlPlane, job: Row | None, job_id: str) -> int:
    if job is None:
        return 0
    if job["finished_at"] is not None:
        return int(job["log_bytes"])
    state = plane.log_states.find(job_id)
    if state is None and job["accepted_at"] is None:
        return 0
    return (state or await log_state(plane, job_id)).arrived.contiguous

"""Steps as jobs look at them, change them and cancel them. What was signed of a step is never changed."""

from __future__ import annotations

import re
from collections.abc import Callable
from sqlite3 import Row
from typing import Any

import msgspec

from pipeseal.agentapi.job_messages import StepCancel, StepExport, StepUpdate
from pipeseal.controlplane.domain.identifiers import UUID
from pipeseal.controlplane.domain.job import JobState
from pipeseal.controlplane.domain.step_state import step_outcome, step_state
from pipeseal.controlplane.services.advance_build import advance_build, stop_jobs
from pipeseal.controlplane.services.authenticate import not_found
from pipeseal.controlplane.services.events import build_topic
from pipeseal.controlplane.services.job_access import own_build, readable_build, verify_held_token
from pipeseal.controlplane.services.plane import ControlPlane
from pipeseal.controlplane.store import jobs as job_store
from pipeseal.controlplane.store.database import Transaction
from pipeseal.controlplane.store.jobs import ReadyJob
from pipeseal.controlplane.store.servers import offered_jobs
from pipeseal.errors import MalformedInput

MAX_GRACE_SECONDS = 24 * 3600
_MAX_LABEL = 2_000
_MAX_PRIORITY = 2**31 - 1
CHANGEABLE = ("label", "priority")


def find_step(tx: Transaction, build_id: str, step: str) -> Row:
    """A step of a build by its id or key.

    Raises:
        MalformedInput: `request.not_found`.
    """
    column = "id" if UUID.fullmatch(step) else "key"
    row = tx.one(f"SELECT * FROM steps WHERE build_id = :build_id AND {column} = :step", build_id=build_id, step=step)  # noqa: S608  (one of two words)
    if row is None or not step:
        raise not_found("such step in this build")
    return row


async def export_step(plane: ControlPlane, token: str, step: str, asked: StepExport) -> str:
    """A step of the job's build, or of another build of its pipeline, as text.

    Parameters:
        token: of a job.
        step: id or key.
        asked: one attribute (its bare text; JSON when it is no text, or with `format` json), or all as JSON.

    Raises:
        VerificationError: `access.unknown_token`, `access.other_build`.
        MalformedInput: `state.not_running`, `request.not_found`, `request.malformed`.
    """
    attribute, kind = asked.get("attribute", ""), asked.get("format", "")
    if kind not in ("", "json"):
        raise MalformedInput("request.malformed", f"{kind[:80]!r} is no format; there is json")

    def look(tx: Transaction) -> dict[str, Any]:
        job = verify_held_token(tx, token)
        build = readable_build(tx, job, asked.get("build_id") or job["build_id"])
        found = find_step(tx, build["id"], step)
        jobs = tx.all(
            "SELECT state, soft_failed, priority, refusal FROM jobs WHERE step_id = :id AND retried_in IS NULL",
            id=found["id"],
        )
        return _describe(found, jobs)

    described = await plane.database.read(look)
    if not attribute:
        return msgspec.json.encode(described).decode()
    if attribute not in described:
        raise MalformedInput(
            "request.malformed",
            f"the step has no attribute {attribute[:80]!r}",
            help=f"it has: {', '.join(described)}",
        )
    value = described[attribute]
    if kind == "json" or not isinstance(value, str):
        return "" if value is None and kind != "json" else msgspec.json.encode(value).decode()
    return value


def _describe(step: Row, jobs: list[Row]) -> dict[str, Any]:
    """What there is to know of a step: as it was uploaded, under what the server knows better."""
    content = msgspec.json.decode(step["content"])
    members = content if isinstance(content, dict) else {}
    states = [JobState(job["state"]) for job in jobs]
    priorities = [job["priority"] for job in jobs]
    return {
        **{name: value for name, value in members.items() if name not in ("signature", "steps")},
        "id": step["id"],
        "key": step["key"] or None,
        "type": step["kind"],
        "label": step["label"] or None,
        "state": step_state(states),
        "outcome": step_outcome(states, soft=[bool(job["soft_failed"]) for job in jobs]),
        "priority": priorities[0] if priorities else 0,
    }


async def update_step(plane: ControlPlane, token: str, step: str, update: StepUpdate) -> None:
    """Change the label of a step, or the priority of its jobs that no agent has yet. The same update again changes
    nothing.

    Parameters:
        token: of a job of the same build.
        step: id or key.
        update: what to change.

    Raises:
        VerificationError: `access.unknown_token`, `access.other_build`.
        MalformedInput: `state.not_running`, `request.not_found`, `request.malformed`.
    """
    attribute, value, append = update["attribute"], update.get("value", ""), update.get("append", False)
    if not UUID.fullmatch(update["idempotency_uuid"].lower()):
        raise MalformedInput("request.malformed", "the update needs an idempotency_uuid")
    if attribute not in CHANGEABLE:
        raise MalformedInput(
            "request.malformed",
            f"a step's {attribute[:80]!r} cannot be changed",
            help=f"what can be changed: {', '.join(CHANGEABLE)}; what is signed never can",
        )
    if attribute == "priority" and (append or not re.fullmatch(r"-?[0-9]{1,10}", value.strip())):
        raise MalformedInput("request.malformed", f"a priority is a whole number, not {value[:80]!r}")
    if attribute == "priority" and abs(int(value)) > _MAX_PRIORITY:
        raise MalformedInput("request.malformed", f"a priority is at most {_MAX_PRIORITY}")
    now = plane.now()

    def change(tx: Transaction) -> None:
        job = verify_held_token(tx, token)
        build = own_build(tx, job, update.get("build_id") or job["build_id"])
        found = find_step(tx, build["id"], step)
        if not _note_update(tx, update["idempotency_uuid"].lower(), found["id"], now):
            return
        if attribute == "label":
            _set_label(tx, found, value, append)
        else:
            _set_priority(tx, plane, build["id"], found["id"], int(value))
        build_id = build["id"]
        tx.after_commit(lambda: plane.events.publish(build_topic(build_id)))

    await plane.database.write(change)


def _note_update(tx: Transaction, update_id: str, step_id: str, now: int) -> bool:
    """Whether an update is new."""
    added = tx.run(
        "INSERT INTO step_updates (id, step_id, created_at) VALUES (:id, :step_id, :now) ON CONFLICT (id) DO NOTHING",
        id=update_id,
        step_id=step_id,
        now=now,
    )
    return added > 0


def _set_label(tx: Transaction, step: Row, value: str, append: bool) -> None:
    label = step["label"] + value if append else value
    if len(label) > _MAX_LABEL:
        raise MalformedInput("request.malformed", f"a label has at most {_MAX_LABEL} characters")
    tx.run("UPDATE steps SET label = :label WHERE id = :id", label=label, id=step["id"])
    # Jobs of a matrix have labels of their own, in which its values stand.
    tx.run(
        "UPDATE jobs SET label = CASE WHEN :append = 1 THEN label || :value ELSE :value END WHERE step_id = :id",
        append=int(append),
        value=value,
        id=step["id"],
    )


def _set_priority(tx: Transaction, plane: ControlPlane, build_id: str, step_id: str, priority: int) -> None:
    tx.run(
        "UPDATE jobs SET priority = :priority WHERE step_id = :id AND accepted_at IS NULL AND finished_at IS NULL",
        priority=priority,
        id=step_id,
    )
    ids = {row["id"] for row in tx.all("SELECT id FROM jobs WHERE step_id = :id", id=step_id)}
    now = plane.now()
    offered = offered_jobs(tx, now, plane.peers.longest_offer(now))  # by any server; these stay as they are
    queued = [job for job in job_store.ready_jobs(tx, build_id=build_id) if job.id in ids - offered]
    if queued:
        tx.after_commit(lambda: plane.events.call(_requeue(plane, queued)))


def _requeue(plane: ControlPlane, jobs: list[ReadyJob]) -> Callable[[], None]:
    def move() -> None:
        free = [job for job in jobs if plane.dispatcher.holder(job.id) is None]
        plane.dispatcher.discard_all(job.id for job in free)
        plane.dispatcher.add_all(free)

    return move


async def cancel_step(plane: ControlPlane, token: str, step: str, asked: StepCancel) -> str:
    """Cancel what has not ended of a step; returns the step's id. Where nothing is left to cancel, nothing changes.

    Parameters:
        token: of a job of the same build.
        step: id or key.
        asked: with `force`, jobs whose agents do not end them within `force_grace_period` seconds are given up.

    Raises:
        VerificationError: `access.unknown_token`, `access.other_build`.
        MalformedInput: `state.not_running`, `request.not_found`, `request.malformed`.
    """
    grace = asked["force_grace_period"]
    if not 0 <= grace <= MAX_GRACE_SECONDS:
        raise MalformedInput("request.malformed", f"a grace period is 0 to {MAX_GRACE_SECONDS} seconds")
    now = plane.now()
    deadline = now + grace * 1_000_000

    def change(tx: Transaction) -> str:
        job = verify_held_token(tx, token)
        build = own_build(tx, job, asked["build_id"] or job["build_id"])
        found = find_step(tx, build["id"], step)
        # A group has no jobs of its own; its steps have.
        where = "(step_id = :step_id OR step_id IN (SELECT id FROM steps WHERE parent_id = :step_id))"
        stop_jobs(tx, plane, where, reason="the step was cancelled", now=now, step_id=found["id"])
        if asked["force"]:
            job_store.hasten_stop(tx, where, deadline=deadline, step_id=found["id"])
        advance_build(tx, plane, build["id"], now=now)
        return str(found["id"])

    return await plane.database.write(change)

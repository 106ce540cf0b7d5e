"""A build's state changed, or a job ended: write down what is wanted told about it, in the same transaction.

Sending is `notify`'s work, afterwards: what was committed is sent, however often the server dies in between.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from sqlite3 import Row
from typing import TYPE_CHECKING, Any

import msgspec

from pipeseal.controlplane.domain.build import BuildState
from pipeseal.controlplane.domain.conditions import ConditionFacts, Place
from pipeseal.controlplane.domain.job import JobState
from pipeseal.controlplane.domain.notifications import (
    NOTIFY_EVENTS,
    STEP_NOTIFY_EVENTS,
    Event,
    NotifyRule,
    due_rules,
    parse_notify,
    render_notification,
)
from pipeseal.controlplane.domain.step_state import step_outcome, step_state
from pipeseal.controlplane.services.build_facts import read_facts
from pipeseal.controlplane.services.build_shape import build_shape, pipeline_shape
from pipeseal.controlplane.services.events import NOTIFICATIONS
from pipeseal.controlplane.services.job_shape import job_shape
from pipeseal.controlplane.store import builds as build_store
from pipeseal.controlplane.store import notifications as notification_store
from pipeseal.controlplane.store.database import Transaction
from pipeseal.controlplane.store.pages import job_of_build

if TYPE_CHECKING:
    from pipeseal.controlplane.services.plane import ControlPlane

_EVENTS = {
    BuildState.SCHEDULED: Event.BUILD_SCHEDULED,
    BuildState.RUNNING: Event.BUILD_RUNNING,
    BuildState.BLOCKED: Event.BUILD_FINISHED,
    BuildState.PASSED: Event.BUILD_FINISHED,
    BuildState.FAILED: Event.BUILD_FINISHED,
    BuildState.CANCELED: Event.BUILD_FINISHED,
}


def note_state(tx: Transaction, plane: ControlPlane, before: Row, state: BuildState, *, now: int) -> None:
    """A build has another state than before.

    Parameters:
        before: its row from before the change.
        state: the new one, already written.
        now: the time of this transaction, microseconds since the epoch.
    """
    event = _EVENTS.get(state)
    if event is None or (state is BuildState.RUNNING and before["state"] != BuildState.SCHEDULED):
        return
    texts = notification_store.notify_of_build(tx, before["id"])
    if not texts:
        return
    build = build_store.get_build(tx, before["id"])
    pipeline = _pipeline_of(tx, build)
    members = {"build": build_shape(plane, build, pipeline, None), "pipeline": pipeline_shape(plane, pipeline)}
    rules = [
        rule
        for text in texts
        for rule in _rules(plane, msgspec.json.decode(text), "the pipeline", Place.BUILD_NOTIFICATION)
    ]
    last = build_store.state_before(tx, build)
    variables: dict[str, str | bool | None] = {
        "build.state": str(state),
        "pipeline.started_failing": state is BuildState.FAILED and last == BuildState.PASSED,
        "pipeline.started_passing": state is BuildState.PASSED and last == BuildState.FAILED,
    }
    _write(tx, plane, build["id"], rules, event, members, variables, now)


def note_job_end(tx: Transaction, plane: ControlPlane, build_id: str, job_id: str, notify: Any, *, now: int) -> None:
    """A job has ended and is not repeated: write down what its step wants told about it.

    Parameters:
        notify: of the step, as it was uploaded.
        now: the time of this transaction, microseconds since the epoch.
    """
    rules = _rules(plane, notify, "the step", Place.STEP_NOTIFICATION)
    if not rules:
        return
    build = build_store.get_build(tx, build_id)
    pipeline = _pipeline_of(tx, build)
    job = job_of_build(tx, build_id, job_id)
    assert job is not None
    shape = build_shape(plane, build, pipeline, None)
    members = {
        "job": job_shape(plane, job, shape["url"], shape["web_url"]),
        "build": shape,
        "pipeline": pipeline_shape(plane, pipeline),
    }
    step = tx.one("SELECT id, key, label, kind FROM steps WHERE id = :id", id=job["step_id"])
    assert step is not None
    rows = tx.all("SELECT state, soft_failed FROM jobs WHERE step_id = :id AND retried_in IS NULL", id=step["id"])
    states = [JobState(row["state"]) for row in rows]
    variables = {
        "build.state": build["state"],
        "step.id": step["id"],
        "step.key": step["key"] or None,
        "step.label": step["label"] or None,
        "step.type": step["kind"],
        "step.state": step_state(states),
        "step.outcome": step_outcome(states, soft=[bool(row["soft_failed"]) for row in rows]),
    }
    _write(tx, plane, build_id, rules, Event.JOB_FINISHED, members, variables, now)


def _pipeline_of(tx: Transaction, build: Row) -> Row:
    pipeline = tx.one("SELECT * FROM pipelines WHERE id = :id", id=build["pipeline_id"])
    assert pipeline is not None
    return pipeline


def _rules(plane: ControlPlane, notify: Any, source: str, place: Place) -> tuple[NotifyRule, ...]:
    return parse_notify(notify, source=source, allow_http=plane.settings.notify_http, place=place).rules


def _write(
    tx: Transaction,
    plane: ControlPlane,
    build_id: str,
    rules: Sequence[NotifyRule],
    event: Event,
    members: Mapping[str, Any],
    variables: Mapping[str, str | bool | None],
    now: int,
) -> None:
    """Write a request down for each destination whose rule holds."""
    facts = read_facts(tx, plane, build_id)
    known = ConditionFacts({**facts.variables, **variables}, {**facts.build_env, **facts.standard_env})
    urls = dict.fromkeys(
        rule.destination.url for rule in due_rules(rules, event, known, among=NOTIFY_EVENTS | STEP_NOTIFY_EVENTS)
    )
    if not urls:
        return
    sender = {"id": plane.organization_id, "name": plane.settings.organization}
    body = render_notification(event, members, sender=sender).decode()
    for url in urls:
        notification_store.insert_notification(
            tx, id=plane.new_id(), build_id=build_id, event=str(event), url=url, body=body, now=now
        )
    tx.after_commit(lambda: plane.events.publish(NOTIFICATIONS))

"""A build's state changed: write down what its pipelines want told about it, in the same transaction.

Sending is `notify`'s work, afterwards: what was committed is sent, however often the server dies in between.
"""

from __future__ import annotations

from dataclasses import replace
from sqlite3 import Row
from typing import TYPE_CHECKING

import msgspec

from pipeseal.controlplane.domain.build import BuildState
from pipeseal.controlplane.domain.conditions import ConditionFacts
from pipeseal.controlplane.domain.notifications import Event, due_rules, parse_notify, render_notification
from pipeseal.controlplane.services.build_facts import read_facts
from pipeseal.controlplane.services.build_shape import build_shape, pipeline_shape
from pipeseal.controlplane.services.events import NOTIFICATIONS
from pipeseal.controlplane.store import builds as build_store
from pipeseal.controlplane.store import notifications as notification_store
from pipeseal.controlplane.store.database import Transaction

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
    pipeline = tx.one("SELECT * FROM pipelines WHERE id = :id", id=build["pipeline_id"])
    assert pipeline is not None
    facts = _facts(tx, plane, build, state)
    members = {"build": build_shape(plane, build, pipeline, None), "pipeline": pipeline_shape(plane, pipeline)}
    sender = {"id": plane.organization_id, "name": plane.settings.organization}
    body = render_notification(event, members, sender=sender).decode()
    sent = set()
    for text in texts:
        rules = parse_notify(
            msgspec.json.decode(text), source="the pipeline", allow_http=plane.settings.notify_http
        ).rules
        for rule in due_rules(rules, event, facts):
            if rule.destination.url not in sent:
                sent.add(rule.destination.url)
                notification_store.insert_notification(
                    tx,
                    id=plane.new_id(),
                    build_id=build["id"],
                    event=str(event),
                    url=rule.destination.url,
                    body=body,
                    now=now,
                )
    if sent:
        tx.after_commit(lambda: plane.events.publish(NOTIFICATIONS))


def _facts(tx: Transaction, plane: ControlPlane, build: Row, state: BuildState) -> ConditionFacts:
    facts = read_facts(tx, plane, build["id"])
    last = build_store.state_before(tx, build)
    facts = replace(
        facts,
        variables={
            **facts.variables,
            "build.state": str(state),
            "pipeline.started_failing": state is BuildState.FAILED and last == BuildState.PASSED,
            "pipeline.started_passing": state is BuildState.PASSED and last == BuildState.FAILED,
        },
    )
    return ConditionFacts(facts.variables, {**facts.build_env, **facts.standard_env})

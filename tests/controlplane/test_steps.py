"""Steps looked at, changed and cancelled from inside a job; meta-data of builds; builds cancelled by their jobs."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.controlplane.job_side import build_of, command, running_jobs
from tests.controlplane.running import Answer, FakeAgent, FakeJob, RunningServer, find_job, running_server

STEPS = """
steps:
  - command: a
    key: first
    label: First
    agents: {queue: default}
  - command: b
    key: second
    label: Second
  - command: c
    key: third
    depends_on: first
"""


@pytest.fixture
def running(tmp_path: Path) -> Iterator[RunningServer]:
    with running_server(tmp_path / "data") as server:
        yield server


def export(job: FakeJob, step: str, **asked: Any) -> Answer:
    return job.api.agent_call("POST", f"/steps/{step}/export", job.token, asked)


def update(job: FakeJob, step: str, attribute: str, value: str, **changes: Any) -> Answer:
    body = {"idempotency_uuid": str(uuid.uuid4()), "build_id": "", "attribute": attribute, "value": value}
    return job.api.agent_call("PUT", f"/steps/{step}", job.token, {**body, "append": False, **changes})


def cancel(job: FakeJob, step: str, **changes: Any) -> Answer:
    body = {"build_id": "", "force": False, "force_grace_period": 10, **changes}
    return job.api.agent_call("POST", f"/steps/{step}/cancel", job.token, body)


def test_a_step_is_exported(running: RunningServer) -> None:
    (job,) = running_jobs(running, STEPS)
    assert export(job, "first", attribute="label").json == {"output": "First"}
    assert export(job, "first", attribute="label", format="json").json == {"output": '"First"'}
    assert export(job, job.env["BUILDKITE_STEP_ID"], attribute="key").json["output"] == "first"
    assert export(job, "first", attribute="agents").json["output"] == '{"queue":"default"}'
    assert export(job, "first", attribute="state").json["output"] == "running"
    assert export(job, "third", attribute="state").json["output"] == "waiting_for_dependencies"
    assert export(job, "third", attribute="label").json["output"] == ""
    whole = json.loads(export(job, "second", build_id=build_of(job)).json["output"])
    assert whole["command"] == "b"
    assert whole["type"] == "command" or whole["type"] == "script"
    assert whole["outcome"] == "neutral"


@pytest.mark.parametrize(
    ("steps", "status", "outcome"),
    [
        ("[{command: a, key: a}, {command: b}]", 0, "passed"),
        ("[{command: a, key: a}, {command: b}]", 3, "hard_failed"),
        ("[{command: a, key: a, soft_fail: true}, {command: b}]", 3, "soft_failed"),
    ],
)
def test_outcomes(running: RunningServer, steps: str, status: int, outcome: str) -> None:
    first, second = running_jobs(running, f"steps: {steps}", count=2)
    first, second = sorted((first, second), key=lambda job: job.env["BUILDKITE_COMMAND"])
    first.finish(status)
    assert export(second, "a", attribute="outcome").json["output"] == outcome
    assert export(second, "a", attribute="state").json["output"] == "finished"


def test_what_cannot_be_exported(running: RunningServer) -> None:
    (job,) = running_jobs(running, STEPS)
    assert export(job, "nobody").status == 404
    assert export(job, str(uuid.uuid4())).status == 404
    assert export(job, "first", build_id="x").status == 404
    assert export(job, "first", attribute="zz").status == 422
    assert export(job, "first", format="xml").status == 422
    assert "signature" not in export(job, "first").json["output"]
    (stranger,) = running_jobs(running, "steps: [{command: x, agents: {queue: default}, priority: 9}]", slug="other")
    answer = export(stranger, "first", build_id=build_of(job))
    assert (answer.status, answer.json["code"]) == (403, "access.other_build")


def test_a_label_changes_once_for_each_update(running: RunningServer) -> None:
    (job,) = running_jobs(running, STEPS)
    same = str(uuid.uuid4())
    for _ in range(2):
        assert update(job, "second", "label", " more", append=True, idempotency_uuid=same).status == 200
    assert find_job(running.api.build(), "second")["label"] == "Second more"
    assert update(job, "second", "label", "New").status == 200
    assert find_job(running.api.build(), "second")["label"] == "New"
    assert export(job, "second", attribute="label").json["output"] == "New"


def test_a_priority_moves_a_job_in_the_queue(running: RunningServer) -> None:
    steps = "steps: [{command: a, key: a}, {command: b, key: b}, {command: c, key: c}]"
    (job,) = running_jobs(running, steps)
    assert update(job, "c", "priority", "5").status == 200
    assert FakeAgent(running.api).take().env["BUILDKITE_STEP_KEY"] == "c"
    assert FakeAgent(running.api).take().env["BUILDKITE_STEP_KEY"] == "b"


NOT_CHANGED: list[tuple[str, str, dict[str, Any]]] = [
    ("command", "rm", {}),
    ("notify", "[]", {}),
    ("priority", "high", {}),
    ("priority", "99999999999", {}),
    ("priority", "9999999999", {}),
    ("priority", "1", {"append": True}),
    ("label", "x" * 3000, {}),
    ("label", "x", {"idempotency_uuid": "1"}),
    ("label", "x", {"append": "yes"}),
]


def test_what_cannot_be_changed(running: RunningServer) -> None:
    (job,) = running_jobs(running, STEPS)
    for attribute, value, changes in NOT_CHANGED:
        answer = update(job, "second", attribute, value, **changes)
        assert (answer.status, answer.json["code"]) == (422, "request.malformed")
        assert find_job(running.api.build(), "second")["label"] == "Second"


def test_other_builds_are_not_changed(running: RunningServer) -> None:
    (job,) = running_jobs(running, "steps: [{command: a, key: first}]")
    running.api.create_build()
    other = FakeAgent(running.api).take()
    for answer in (
        update(job, "first", "label", "x", build_id=build_of(other)),
        cancel(job, "first", build_id=build_of(other)),
        job.api.agent_call("POST", f"/builds/{build_of(other)}/cancel", job.token),
    ):
        assert (answer.status, answer.json["code"]) == (403, "access.other_build")
    assert running.api.build(2)["state"] == "running"
    job.finish()
    assert update(job, "first", "label", "x").json["code"] == "state.not_running"


def test_a_step_is_cancelled(running: RunningServer) -> None:
    first, second = running_jobs(running, STEPS, count=2)
    if first.env["BUILDKITE_STEP_KEY"] == "second":
        first, second = second, first
    answer = cancel(first, "second")
    assert answer.json == {"uuid": second.env["BUILDKITE_STEP_ID"]}
    assert second.state().json["state"] == "canceling"
    assert cancel(first, "third").status == 200
    assert find_job(running.api.build(), "third")["state"] == "canceled"
    assert cancel(first, "third").status == 200, "nothing is left to cancel"
    second.finish(-1, signal="SIGTERM", signal_reason="cancel")
    first.finish(0)
    assert running.api.wait_build("failed")["state"] == "failed"


def test_a_forced_cancel_gives_the_job_up(running: RunningServer) -> None:
    first, second = running_jobs(running, STEPS, count=2)
    assert cancel(first, second.env["BUILDKITE_STEP_KEY"], force=True, force_grace_period=0).status == 200
    deadline_passed = running.api.wait_build("failing")
    assert deadline_passed["state"] == "failing"
    assert cancel(first, "first", force_grace_period=-1).status == 422


def test_a_job_cancels_its_build(running: RunningServer) -> None:
    (job,) = running_jobs(running, STEPS)
    answer = job.api.agent_call("POST", f"/builds/{build_of(job)}/cancel", job.token)
    assert answer.json == {"uuid": build_of(job)}
    assert job.state().json["state"] == "canceling"
    assert job.api.agent_call("POST", f"/builds/{build_of(job)}/cancel", job.token).status == 200
    assert job.api.agent_call("POST", f"/builds/{uuid.uuid4()}/cancel", job.token).status == 404
    job.finish(-1, signal_reason="cancel")
    assert running.api.wait_build("canceled")["state"] == "canceled"


def data(job: FakeJob, what: str, build_id: str, body: Any = None) -> Answer:
    return job.api.agent_call("POST", f"/builds/{build_id}/data/{what}", job.token, body)


def test_meta_data_in_batches_is_all_or_nothing(running: RunningServer) -> None:
    (job,) = running_jobs(running)
    items = [{"key": "a", "value": "1"}, {"key": "b", "value": ""}]
    assert job.call("POST", "/data/set-batch", {"items": items}).status == 200
    assert data(job, "keys", build_of(job)).json == ["a", "b"]
    for bad in ({"key": " ", "value": "x"}, {"key": "c", "value": "x" * 200_000}):
        answer = job.call("POST", "/data/set-batch", {"items": [{"key": "a", "value": "2"}, bad]})
        assert answer.status == 422
    assert job.call("POST", "/data/set-batch", {"items": items * 600}).status == 422
    assert job.call("POST", "/data/set-batch", {"items": "x"}).status == 422
    assert data(job, "get", build_of(job), {"key": "a"}).json == {"key": "a", "value": "1"}


def test_meta_data_of_other_builds(running: RunningServer) -> None:
    (job,) = running_jobs(running, "steps: [{command: a}]")
    job.call("POST", "/data/set", {"key": "k", "value": "v"})
    running.api.create_build()
    later = FakeAgent(running.api).take()
    assert data(later, "get", build_of(job), {"key": "k"}).json["value"] == "v"
    assert data(later, "exists", build_of(job), {"key": "k"}).json == {"exists": True}
    assert data(later, "exists", build_of(later), {"key": "k"}).json == {"exists": False}
    assert data(later, "get", build_of(later), {"key": "k"}).status == 404
    (stranger,) = running_jobs(running, slug="other")
    for what in ("get", "exists", "keys"):
        answer = data(stranger, what, build_of(job), {"key": "k"})
        assert (answer.status, answer.json["code"]) == (403, "access.other_build")


def test_builds_on_either_side_of_a_trigger_step_read_one_another(running: RunningServer) -> None:
    running.api.create_pipeline("steps: [{command: c}]", slug="child")
    (job,) = running_jobs(running, "steps: [{command: a}, {trigger: child}]")
    job.call("POST", "/data/set", {"key": "k", "value": "parent"})
    child = FakeAgent(running.api).take()
    assert child.env["BUILDKITE_PIPELINE_SLUG"] == "child"
    child.call("POST", "/data/set", {"key": "k", "value": "child"})
    assert data(child, "get", build_of(job), {"key": "k"}).json["value"] == "parent"
    assert data(job, "get", build_of(child), {"key": "k"}).json["value"] == "child"
    answer = child.api.agent_call("POST", f"/builds/{build_of(job)}/cancel", child.token)
    assert (answer.status, answer.json["code"]) == (403, "access.other_build")


def test_the_real_commands(running: RunningServer) -> None:
    (job,) = running_jobs(running, STEPS)
    done = command(job, "step", "get", "label", "--step", "second")
    assert (done.status, done.out) == (0, b"Second\n"), done.err
    assert command(job, "step", "update", "label", " x", "--append", "--step", "second").status == 0
    assert find_job(running.api.build(), "second")["label"] == "Second x"
    assert command(job, "meta-data", "set-batch", "a=1", "b=2").status == 0
    done = command(job, "meta-data", "get", "b", "--build", build_of(job))
    assert (done.status, done.out) == (0, b"2"), done.err
    assert command(job, "meta-data", "exists", "zz").status == 100
    assert command(job, "step", "cancel", "--step", "second").status == 0
    assert find_job(running.api.build(), "second")["state"] == "canceled"
    done = command(job, "build", "cancel")
    assert done.status == 0, done.err
    assert job.state().json["state"] == "canceling"

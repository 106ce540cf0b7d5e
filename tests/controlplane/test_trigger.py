"""Trigger steps over real HTTP: what their builds are of, what becomes of the step, and that each is made once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.controlplane.running import (
    QUICK,
    FakeAgent,
    RunningServer,
    find_job,
    running_server,
    server_process,
    until,
)

CHILD = "steps: [{command: c, key: c}]"


@pytest.fixture
def running(tmp_path: Path) -> Iterator[RunningServer]:
    settings = replace(QUICK, ping_hold=0.2, cancel_timeout=0.5, heartbeat_timeout=30)
    with running_server(tmp_path / "data", settings) as server:
        yield server


def start(running: RunningServer, step: str, child: str = CHILD, **build: Any) -> dict[str, Any]:
    """A build with a trigger step, once its child is there; returns the child."""
    running.api.create_pipeline(child, "child")
    running.api.create_pipeline(f"steps: [{{trigger: child, key: t{step}}}, wait, {{command: d, key: d}}]")
    running.api.create_build(**build)
    until(lambda: bool(running.api.rest("GET", "/pipelines/child/builds").json), "the triggered build")
    return running.api.build(slug="child")


def trigger_job(running: RunningServer) -> dict[str, Any]:
    return find_job(running.api.build(), "t")


def test_a_step_waits_for_the_build_it_made(running: RunningServer) -> None:
    build = (
        ", label: Go, build: {message: hi, commit: '1111111', branch: dev, env: {A: 1, B: true}, meta_data: {m: v}}"
    )
    child = start(running, build, author={"name": "Ann"})
    assert (child["message"], child["commit"], child["branch"]) == ("hi", "1111111", "dev")
    assert (child["env"], child["meta_data"], child["source"]) == ({"A": "1", "B": "true"}, {"m": "v"}, "trigger_job")
    parent = running.api.build()
    assert child["triggered_from"] == {
        "build_id": parent["id"],
        "build_number": 1,
        "build_pipeline_slug": "demo",
    }
    job = find_job(parent, "t")
    assert (job["type"], job["state"]) == ("trigger", "running")
    assert (job["triggered_build"]["id"], job["triggered_build"]["number"]) == (child["id"], 1)
    assert parent["state"] == "running"
    agent = FakeAgent(running.api)
    env = agent.run().env
    assert env["BUILDKITE_TRIGGERED_FROM_BUILD_ID"] == parent["id"]
    assert env["BUILDKITE_TRIGGERED_FROM_BUILD_NUMBER"] == "1"
    assert env["BUILDKITE_TRIGGERED_FROM_BUILD_PIPELINE_SLUG"] == "demo"
    assert env["BUILDKITE_SOURCE"] == "trigger_job"
    assert trigger_job(running)["state"] == "passed"
    assert "BUILDKITE_TRIGGERED_FROM_BUILD_ID" not in agent.run().env
    running.api.wait_build("passed")


def test_defaults_are_the_label_and_the_default_branch(running: RunningServer) -> None:
    child = start(running, ", label: Go")
    assert (child["message"], child["commit"], child["branch"]) == ("Go", "HEAD", "main")


def test_a_failed_build_fails_its_step_unless_that_is_forgiven(running: RunningServer) -> None:
    start(running, "")
    FakeAgent(running.api).run(1)
    build = running.api.wait_build("failed")
    assert (find_job(build, "t")["state"], find_job(build, "d")["state"]) == ("failed", "waiting_failed")
    assert find_job(build, "t")["reason"] == "the triggered build #1 is failed"


def test_a_soft_failure_lets_the_rest_go_on(running: RunningServer) -> None:
    start(running, ", soft_fail: true")
    agent = FakeAgent(running.api)
    agent.run(1)
    job = trigger_job(running)
    assert (job["state"], job["soft_failed"]) == ("failed", True)
    agent.run()
    running.api.wait_build("passed")


def test_an_asynchronous_step_passes_at_once(running: RunningServer) -> None:
    child = start(running, ", async: true")
    assert trigger_job(running)["state"] == "passed"
    assert find_job(running.api.build(), "d")["state"] == "scheduled"
    assert child["state"] == "scheduled"
    agent = FakeAgent(running.api)
    assert [agent.run(status).env["BUILDKITE_STEP_KEY"] for status in (0, 1)] == ["d", "c"], "older builds come first"
    running.api.wait_build("passed")
    running.api.wait_build("failed", slug="child")


def test_what_cannot_be_triggered_fails_and_says_why(running: RunningServer) -> None:
    running.api.create_pipeline("steps: [{trigger: nobody, key: t}]")
    running.api.create_build()
    job = find_job(running.api.wait_build("failed"), "t")
    assert job["state"] == "failed"
    assert "nothing could be triggered: there is no such pipeline" in job["reason"]
    assert job["triggered_build"] is None


def test_a_pipeline_that_triggers_itself_ends(running: RunningServer) -> None:
    running.api.create_pipeline("steps: [{trigger: demo, key: t}]")
    running.api.create_build()
    build = running.api.wait_build("failed")
    assert find_job(build, "t")["state"] == "failed"
    builds = running.api.rest("GET", "/pipelines/demo/builds").json
    assert len(builds) == 11
    assert {build["state"] for build in builds} == {"failed"}


def test_cancelling_reaches_down_and_up(running: RunningServer) -> None:
    start(running, "")
    job = FakeAgent(running.api).take()
    running.api.rest("PUT", "/pipelines/demo/builds/1/cancel")
    assert running.api.build(slug="child")["state"] == "canceling"
    assert running.api.build()["state"] == "canceling"
    job.finish(-1, signal="SIGTERM", signal_reason="cancel")
    assert running.api.wait_build("canceled", slug="child")["state"] == "canceled"
    assert find_job(running.api.wait_build("canceled"), "t")["state"] == "canceled"


def test_cancelling_the_triggered_build_fails_the_step(running: RunningServer) -> None:
    start(running, "")
    running.api.rest("PUT", "/pipelines/child/builds/1/cancel")
    assert find_job(running.api.wait_build("failed"), "t")["state"] == "failed"


@pytest.mark.parametrize(
    ("blocked_state", "state"), [("passed", "passed"), ("running", "running"), ("failed", "running")]
)
def test_a_blocked_build_counts_as_its_block_says(running: RunningServer, blocked_state: str, state: str) -> None:
    start(running, "", f"steps: [{{block: ok, key: b, blocked_state: {blocked_state}}}]")
    assert trigger_job(running)["state"] == state
    block = find_job(running.api.build(slug="child"), "b")
    running.api.rest("PUT", f"/pipelines/child/builds/1/jobs/{block['id']}/unblock")
    assert trigger_job(running)["state"] == "passed"


def test_a_build_is_triggered_once_however_often_the_server_dies(tmp_path: Path) -> None:
    with server_process(tmp_path / "data") as server:
        api = server.start()
        api.create_pipeline("steps: []", "child")
        api.create_pipeline("steps: [{trigger: child, key: t}, {trigger: child, key: u, async: true}]")
        for number in range(1, 5):
            api.create_build()
            server.kill()
            api = server.start()
            api.wait_build("passed", number=number)
        assert len(api.rest("GET", "/pipelines/child/builds").json) == 8
        assert server.stop() == 0

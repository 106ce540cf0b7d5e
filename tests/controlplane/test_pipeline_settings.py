"""What a pipeline's owner chooses: kept, shown and checked, and what new builds do to older ones of their branch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.controlplane.running import QUICK, FakeAgent, RunningServer, find_job, running_server, until


@pytest.fixture
def running(tmp_path: Path) -> Iterator[RunningServer]:
    settings = replace(QUICK, ping_hold=0.2, cancel_timeout=0.5, heartbeat_timeout=30)
    with running_server(tmp_path / "data", settings) as server:
        server.api.create_pipeline("steps: [{command: a, key: a}, wait, {command: b, key: b}]")
        yield server


def change(running: RunningServer, slug: str = "demo", **settings: Any) -> dict[str, Any]:
    answer = running.api.rest("PATCH", f"/pipelines/{slug}", settings)
    assert answer.status == 200, answer.json
    pipeline: dict[str, Any] = answer.json
    return pipeline


def test_settings_are_kept_shown_and_taken_back(running: RunningServer) -> None:
    changed = change(
        running,
        branch_configuration="main release/*",
        skip_queued_branch_builds=True,
        skip_queued_branch_builds_filter="!main",
        provider_settings={"build_tags": True},
    )
    assert changed["branch_configuration"] == "main release/*"
    assert (changed["skip_queued_branch_builds"], changed["cancel_running_branch_builds"]) == (True, False)
    assert changed["provider"]["settings"]["build_tags"] is True
    assert change(running, description="x")["skip_queued_branch_builds_filter"] == "!main", "others stay as they are"
    back = change(running, branch_configuration=None, provider_settings={"build_pull_requests": False})
    assert back["branch_configuration"] is None
    assert back["provider"]["settings"]["build_tags"] is True
    assert change(running, provider_settings=None)["provider"]["settings"]["build_tags"] is False


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"branch_configuration": "!"}, "branches.malformed"),
        ({"branch_configuration": "x" * 5000}, "request.malformed"),
        ({"skip_queued_branch_builds": "yes"}, "request.malformed"),
        ({"provider_settings": {"build_everything": True}}, "request.malformed"),
        (
            {"provider_settings": {"filter_enabled": True, "filter_condition": "build.branhc == 'x'"}},
            "condition.unknown_name",
        ),
        (
            {"provider_settings": {"filter_enabled": True, "filter_condition": "step.key == ''"}},
            "condition.unknown_name",
        ),
    ],
)
def test_settings_that_cannot_be_used_are_refused(
    running: RunningServer, settings: dict[str, Any], code: str
) -> None:
    before = running.api.rest("GET", "/pipelines/demo").json
    answer = running.api.rest("PATCH", "/pipelines/demo", settings)
    assert (answer.status, answer.json["code"]) == (422, code)
    assert running.api.rest("GET", "/pipelines/demo").json == before


def test_a_newer_build_skips_those_that_have_not_begun(running: RunningServer) -> None:
    change(running, skip_queued_branch_builds=True, skip_queued_branch_builds_filter="dev*")
    agent = FakeAgent(running.api)
    running.api.create_build(branch="dev")
    job = agent.take()
    for branch in ("dev", "main", "dev", "main"):
        running.api.create_build(branch=branch)
    states = [running.api.build(number)["state"] for number in range(1, 6)]
    assert states == ["running", "skipped", "scheduled", "scheduled", "scheduled"]
    skipped = running.api.build(2)
    assert skipped["finished_at"] is not None
    assert {job["state"] for job in skipped["jobs"]} == {"canceled"}
    assert find_job(skipped, "a")["reason"] == "a newer build of the branch, #4"
    job.finish(0)


def test_a_newer_build_cancels_those_that_run(running: RunningServer) -> None:
    change(running, cancel_running_branch_builds=True)
    agents = [FakeAgent(running.api) for _ in range(2)]
    running.api.create_build(branch="dev")
    running.api.create_build(branch="main")
    jobs = [agent.take() for agent in agents]
    running.api.create_build(branch="dev")
    assert running.api.build(1)["state"] == "canceling"
    assert running.api.build(2)["state"] == "running"
    jobs[0].finish(-1, signal="SIGTERM", signal_reason="cancel")
    assert running.api.wait_build("canceled")["state"] == "canceled"


def test_a_build_that_waits_for_the_newer_one_is_left_alone(running: RunningServer) -> None:
    running.api.create_pipeline("steps: [{trigger: loop, key: t, if: build.source != 'trigger_job'}]", "loop")
    change(running, "loop", cancel_running_branch_builds=True, skip_queued_branch_builds=True)
    running.api.create_build("loop")
    until(lambda: running.api.build(slug="loop")["state"] == "passed", "the end of the first build")
    assert running.api.build(2, "loop")["state"] == "passed"

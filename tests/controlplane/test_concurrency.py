"""Concurrency groups across builds and pipelines: order, eagerness, no dead ends, and limits that always hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.controlplane.running import QUICK, FakeAgent, RunningServer, find_job, job_states, running_server, until

LIMIT = "concurrency: 1, concurrency_group: g"


@pytest.fixture
def running(tmp_path: Path) -> Iterator[RunningServer]:
    settings = replace(QUICK, ping_hold=0.2, cancel_timeout=0.5, heartbeat_timeout=30)
    with running_server(tmp_path / "data", settings) as server:
        yield server


def state(running: RunningServer, key: str, number: int = 1, slug: str = "demo") -> str:
    return str(find_job(running.api.build(number, slug), key)["state"])


def test_an_ordered_job_lets_older_ones_go_first_that_still_wait(running: RunningServer) -> None:
    running.api.create_pipeline(f"steps: [{{command: t, key: t}}, wait, {{command: d, key: d, {LIMIT}}}]")
    running.api.create_pipeline(f"steps: [{{command: d, key: d, {LIMIT}}}]", "other")
    running.api.create_build()
    running.api.create_build("other")
    assert state(running, "d", slug="other") == "limited", "the older job has its place, though it still waits"
    agent = FakeAgent(running.api)
    assert agent.run().env["BUILDKITE_STEP_KEY"] == "t"
    assert (state(running, "d"), state(running, "d", slug="other")) == ("scheduled", "limited")
    agent.run()
    assert state(running, "d", slug="other") == "scheduled"
    agent.run()
    running.api.wait_build("passed", slug="other")


def test_an_eager_job_goes_as_soon_as_there_is_a_place(running: RunningServer) -> None:
    eager = f"{LIMIT}, concurrency_method: eager"
    running.api.create_pipeline(f"steps: [{{command: t, key: t}}, wait, {{command: d, key: d, {eager}}}]")
    running.api.create_pipeline(f"steps: [{{command: d, key: d, {eager}}}, {{command: e, key: e, {eager}}}]", "other")
    running.api.create_build()
    running.api.create_build("other")
    assert job_states(running.api.build(slug="other")) == {"d": "scheduled", "e": "limited"}


def test_nobody_is_kept_waiting_by_a_build_that_waits_for_a_person(running: RunningServer) -> None:
    running.api.create_pipeline(
        f"steps: [{{command: t, key: t}}, {{block: b, key: b}}, {{command: d, key: d, {LIMIT}}}]"
    )
    running.api.create_pipeline(f"steps: [{{command: d, key: d, {LIMIT}}}]", "other")
    running.api.create_build()
    running.api.create_build("other")
    assert state(running, "d", slug="other") == "limited"
    FakeAgent(running.api).run()
    running.api.wait_build("blocked")
    assert state(running, "d", slug="other") == "scheduled"


def test_a_build_is_not_kept_waiting_by_one_that_waits_for_it(running: RunningServer) -> None:
    running.api.create_pipeline(f"steps: [{{command: c, key: c, {LIMIT}}}]", "child")
    running.api.create_pipeline(f"steps: [{{trigger: child, key: t}}, wait, {{command: d, key: d, {LIMIT}}}]")
    running.api.create_build()
    until(lambda: bool(running.api.rest("GET", "/pipelines/child/builds").json), "the triggered build")
    agent = FakeAgent(running.api)
    assert [agent.run().env["BUILDKITE_STEP_KEY"] for _ in range(2)] == ["c", "d"]
    running.api.wait_build("passed")


def test_a_step_that_stands_first_and_needs_a_later_one_is_no_dead_end(running: RunningServer) -> None:
    running.api.create_pipeline(
        f"steps: [{{command: a, key: a, depends_on: b, {LIMIT}}}, {{command: b, key: b, {LIMIT}}}]"
    )
    running.api.create_build()
    agent = FakeAgent(running.api)
    assert [agent.run().env["BUILDKITE_STEP_KEY"] for _ in range(2)] == ["b", "a"]
    running.api.wait_build("passed")


@pytest.mark.parametrize("ending", ["failed", "cancelled", "replaced"])
def test_a_place_that_is_given_up_goes_to_the_next(running: RunningServer, ending: str) -> None:
    running.api.create_pipeline(f"steps: [{{command: t, key: t}}, wait, {{command: d, key: d, {LIMIT}}}]")
    running.api.create_pipeline(f"steps: [{{command: d, key: d, {LIMIT}}}]", "other")
    running.api.create_build()
    running.api.create_build("other")
    job = FakeAgent(running.api).take()
    assert state(running, "d", slug="other") == "limited"
    match ending:
        case "failed":
            job.finish(1)
        case "cancelled":
            running.api.rest("PUT", "/pipelines/demo/builds/1/cancel")
        case "replaced":
            assert job.upload({"steps": [{"command": "x"}]}, replace=True).status == 200
    assert state(running, "d", slug="other") == "scheduled"


def test_limits_hold_whatever_happens_and_every_job_ends_once(running: RunningServer) -> None:
    """Many builds of two pipelines in shared groups, run by more agents than there are places."""
    step: dict[str, Any] = {"h": "concurrency: 2, concurrency_group: h", "g": LIMIT}
    running.api.create_pipeline(
        f"steps: [{{command: a, parallelism: 3, {step['h']}}}, {{command: b, {step['g']}, soft_fail: true}}, wait, "
        f"{{command: c, parallelism: 2, {step['g']}, concurrency_method: eager}}]"
    )
    running.api.create_pipeline(
        f"steps: [{{command: c, {step['g']}}}, {{command: d, depends_on: [], {step['h']}, "
        f"retry: {{automatic: {{limit: 1}}}}}}]",
        "other",
    )
    for number in range(1, 4):
        running.api.create_build()
        running.api.create_build("other", message=str(number))
    running.api.rest("PUT", "/pipelines/other/builds/2/cancel")
    agents = [FakeAgent(running.api) for _ in range(5)]
    held: dict[str, tuple[Any, str]] = {}
    ran: set[str] = set()
    for turn in range(400):
        agent = agents[turn % len(agents)]
        if agent.id in held:
            job, _ = held.pop(agent.id)
            assert job.finish(1 if turn % 7 == 0 else 0).status == 200
        else:
            job_id = (agent.ping().get("job") or {}).get("id")
            if job_id is None:
                if not held:
                    break
                continue
            assert job_id not in ran, "no job runs twice"
            ran.add(job_id)
            job = agent.accept(job_id)
            assert job.start().status == 200
            command = job.env["BUILDKITE_COMMAND"]
            held[agent.id] = (job, "h" if command in "ad" else "g")
        groups = [group for _, group in held.values()]
        assert groups.count("g") <= 1
        assert groups.count("h") <= 2
    assert not held
    for slug in ("demo", "other"):
        for number in range(1, 4):
            build = running.api.build(number, slug)
            assert build["state"] in ("passed", "failed", "canceled"), job_states(build)
            ended = {"passed", "failed", "canceled", "waiting_failed"}
            assert {job["state"] for job in build["jobs"]} <= ended

"""Schedules make builds when their time comes, each turn one, whatever servers look and whenever they die."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeseal.controlplane.services.schedules import start_due
from tests.controlplane.running import QUICK, RunningServer, running_server, until

START = 1_790_000_000.0  # 2026-09-21T14:13:20Z


class HandClock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.seconds = START

    def now(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def running(tmp_path: Path, clock: HandClock) -> Iterator[RunningServer]:
    with running_server(tmp_path / "data", replace(QUICK, ping_hold=0.2), clock=clock) as server:
        server.api.create_pipeline("steps: [{command: a, key: a}]")
        yield server


def create(running: RunningServer, **fields: Any) -> dict[str, Any]:
    answer = running.api.rest("POST", "/pipelines/demo/schedules", fields)
    assert answer.status == 201, answer.json
    made: dict[str, Any] = answer.json
    return made


def builds(running: RunningServer) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = running.api.rest("GET", "/pipelines/demo/builds").json
    return found


def show(running: RunningServer, schedule: dict[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = running.api.rest("GET", f"/pipelines/demo/schedules/{schedule['id']}").json
    return shown


def test_a_build_is_made_when_the_time_comes(running: RunningServer, clock: HandClock) -> None:
    made = create(running, cronline="0 * * * *", label="Hourly", branch="dev", commit="abc1234", env={"A": "1"})
    assert made["next_build_at"].startswith("2026-09-21T15:00:00")
    assert builds(running) == []
    clock.seconds += 3600
    until(lambda: len(builds(running)) == 1, "the build")
    build = running.api.build()
    assert (build["source"], build["message"], build["branch"], build["commit"], build["env"]) == (
        "schedule",
        "Hourly",
        "dev",
        "abc1234",
        {"A": "1"},
    )
    assert show(running, made)["next_build_at"].startswith("2026-09-21T16:00:00")


def test_missed_turns_are_not_made_up_for(running: RunningServer, clock: HandClock) -> None:
    made = create(running, cronline="*/5 * * * *")
    clock.seconds += 24 * 3600
    until(lambda: len(builds(running)) == 1, "the build")
    assert show(running, made)["next_build_at"].startswith("2026-09-22T14:15:00")
    assert len(builds(running)) == 1


def test_a_turn_makes_one_build_though_many_take_it(running: RunningServer, clock: HandClock) -> None:
    create(running, cronline="0 * * * *")
    loop = running.plane.events._loop
    assert loop is not None
    clock.seconds += 3600
    takers = [asyncio.run_coroutine_threadsafe(start_due(running.plane), loop) for _ in range(10)]
    for taker in takers:
        taker.result(60)
    assert len(builds(running)) == 1


def test_a_schedule_that_cannot_build_says_why_and_tries_again(running: RunningServer, clock: HandClock) -> None:
    made = create(running, cronline="0 * * * *")
    broken = {"configuration": "steps: [{command: a, if: build.nothing}]"}
    assert running.api.rest("PATCH", "/pipelines/demo", broken).status == 200
    clock.seconds += 3600
    until(lambda: show(running, made)["failed_at"] is not None, "the failure")
    assert "build.nothing" in show(running, made)["failed_message"]
    assert running.api.rest("PATCH", "/pipelines/demo", {"configuration": "steps: []"}).status == 200
    clock.seconds += 3600
    until(lambda: len(builds(running)) == 1, "the build")
    assert show(running, made)["failed_message"] is None


def test_schedules_are_changed_switched_off_and_removed(running: RunningServer, clock: HandClock) -> None:
    made = create(running, cronline="0 * * * *")
    path = f"/pipelines/demo/schedules/{made['id']}"
    off = running.api.rest("PATCH", path, {"enabled": False}).json
    assert (off["enabled"], off["next_build_at"]) == (False, None)
    clock.seconds += 7200
    on = running.api.rest("PATCH", path, {"enabled": True, "cronline": "30 9 * * * Europe/Berlin"}).json
    assert on["next_build_at"].startswith("2026-09-22T07:30:00")
    assert builds(running) == []
    assert [row["id"] for row in running.api.rest("GET", "/pipelines/demo/schedules").json] == [made["id"]]
    assert running.api.rest("DELETE", path).status == 204
    assert running.api.rest("GET", path).status == 404
    assert running.api.rest("GET", "/pipelines/demo/schedules").json == []


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, "request.malformed"),
        ({"cronline": "often"}, "schedule.malformed"),
        ({"cronline": "0 0 30 2 *"}, "schedule.never"),
        ({"cronline": "0 0 1 1 * Nowhere/Else"}, "schedule.zone"),
        ({"cronline": "@daily", "env": {"A B": "x"}}, "request.malformed"),
        ({"cronline": "@daily", "branch": "a\nb"}, "request.malformed"),
    ],
)
def test_what_cannot_be_a_schedule_is_refused(running: RunningServer, fields: dict[str, Any], code: str) -> None:
    answer = running.api.rest("POST", "/pipelines/demo/schedules", fields)
    assert (answer.status, answer.json["code"]) == (422, code)
    assert running.api.rest("GET", "/pipelines/demo/schedules").json == []

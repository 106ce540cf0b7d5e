"""The clock is put forward a day, and back an hour: nobody is lost by that, nothing ends early, nothing hangs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.controlplane.postgres_server import fresh_database
from tests.controlplane.running import QUICK, FakeAgent, FakeJob, RunningServer, running_server, until
from tests.faults.clocks import JumpingClock

DAY, HOUR = 86_400.0, 3_600.0
SETTINGS = replace(QUICK, ping_hold=0.1, sweep_interval=0.02, heartbeat_timeout=0.8, offer_timeout=0.3)


@pytest.fixture
def clock() -> JumpingClock:
    return JumpingClock()


@pytest.fixture(params=["sqlite", "postgresql"])
def running(request: pytest.FixtureRequest, tmp_path: Path, clock: JumpingClock) -> Iterator[RunningServer]:
    if request.param == "sqlite":
        with running_server(tmp_path / "data", SETTINGS, clock=clock, steady=time.monotonic) as running:
            yield running
        return
    with fresh_database() as url:
        objects = str(tmp_path / "objects")
        with running_server(
            tmp_path / "data", SETTINGS, clock=clock, steady=time.monotonic, database_url=url, object_store=objects
        ) as running:
            yield running


def start_job(running: RunningServer, step: str = "command: x") -> tuple[FakeAgent, FakeJob]:
    running.api.create_pipeline(f"steps: [{{{step}}}]")
    running.api.create_build()
    agent = FakeAgent(running.api)
    return agent, agent.take()


def beat_for(agent: FakeAgent, seconds: float) -> None:
    """Give signs of life for a while."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert agent.heartbeat().status == 200
        time.sleep(0.05)


@pytest.mark.parametrize("seconds", [DAY, -HOUR])
def test_an_agent_that_gives_signs_of_life_keeps_its_job(
    running: RunningServer, clock: JumpingClock, seconds: float
) -> None:
    agent, job = start_job(running)
    beat_for(agent, 0.2)
    clock.jump(seconds)
    time.sleep(0.15)  # several sweeps before the next sign of life
    beat_for(agent, 1.2)
    assert job.state().json["state"] == "running"
    assert job.finish().status == 200
    assert running.api.wait_build("passed")


def test_an_agent_without_signs_of_life_is_lost_though_the_clock_was_put_back(
    running: RunningServer, clock: JumpingClock
) -> None:
    _, job = start_job(running)
    clock.jump(-HOUR)
    until(lambda: job.state().status == 401, "the job to be taken from its agent", 10)
    assert running.api.build()["state"] == "failed"


def test_a_job_offered_before_the_clock_was_put_back_goes_to_the_next_agent(
    running: RunningServer, clock: JumpingClock
) -> None:
    running.api.create_pipeline("steps: [{command: x}]")
    running.api.create_build()
    one, two = FakeAgent(running.api), FakeAgent(running.api)
    job_id = one.next_job()
    clock.jump(-HOUR)
    began = time.monotonic()
    assert two.next_job(10) == job_id
    assert time.monotonic() - began < 8
    assert two.accept(job_id).finish().status == 200


@pytest.mark.parametrize("running", ["sqlite"], indirect=True)
def test_a_timeout_is_a_length_of_time(running: RunningServer, clock: JumpingClock) -> None:
    agent, job = start_job(running, "command: x, timeout_in_minutes: 10")
    beat_for(agent, 0.1)
    clock.jump(DAY)
    beat_for(agent, 0.3)
    assert job.state().json["state"] == "running"
    clock.jump(-DAY - HOUR)
    beat_for(agent, 0.3)
    deadline = running.plane.database.read_now(
        lambda tx: tx.one("SELECT deadline_at FROM jobs WHERE state = 'running'")
    )
    assert deadline is not None
    assert 9 * 60 < deadline["deadline_at"] / 1e6 - clock.now() < 10 * 60


def test_a_schedule_makes_one_build_after_a_day_and_none_twice(running: RunningServer, clock: JumpingClock) -> None:
    api = running.api
    api.create_pipeline("steps: [{command: x}]")
    body = {"cronline": "*/5 * * * *", "label": "often", "branch": "main", "commit": "HEAD", "message": "due"}
    assert api.rest("POST", "/pipelines/demo/schedules", body).status == 201
    clock.jump(DAY)
    until(lambda: len(api.rest("GET", "/pipelines/demo/builds").json) == 1, "the build")
    clock.jump(-HOUR)
    rounds = running.plane.database.commits
    time.sleep(0.3)  # many rounds of the chores
    assert len(api.rest("GET", "/pipelines/demo/builds").json) == 1, rounds

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
SETTINGS = replace(QUICK, ping_hold=0.1, sweep_interval=0.02, heartbeat_timeout=600.0, offer_timeout=0.3)


@pytest.fixture
def clock() -> JumpingClock:
    """What the computer takes for the time of day."""
    return JumpingClock()


@pytest.fixture
def steady() -> JumpingClock:
    """What nobody can put; when it jumps, time has gone by."""
    return JumpingClock()


@pytest.fixture(params=["sqlite", "postgresql"])
def running(
    request: pytest.FixtureRequest, tmp_path: Path, clock: JumpingClock, steady: JumpingClock
) -> Iterator[RunningServer]:
    if request.param == "sqlite":
        with running_server(tmp_path / "data", SETTINGS, clock=clock, steady=steady.now) as running:
            yield running
        return
    with fresh_database() as url:
        objects = str(tmp_path / "objects")
        with running_server(
            tmp_path / "data", SETTINGS, clock=clock, steady=steady.now, database_url=url, object_store=objects
        ) as running:
            yield running


def start_job(running: RunningServer, step: str = "command: x") -> tuple[FakeAgent, FakeJob]:
    running.api.create_pipeline(f"steps: [{{{step}}}]")
    running.api.create_build()
    agent = FakeAgent(running.api)
    return agent, agent.take()


def set_offer_timeout(running: RunningServer, seconds: float) -> None:
    """From now on a job that was told to an agent and not accepted goes back to the queue after so long."""
    running.plane.settings = replace(running.plane.settings, offer_timeout=seconds)
    running.plane.dispatcher._offer_seconds = seconds


def live(agent: FakeAgent, *clocks: JumpingClock, seconds: float) -> None:
    """Let time go by, and have an agent give signs of life in it as often as it should."""
    for _ in range(8):
        for clock in clocks:
            clock.jump(seconds / 8)
        assert agent.heartbeat().status == 200


def wait_for_loss(
    running: RunningServer, lost: FakeJob, *clocks: JumpingClock, living: FakeAgent | None = None
) -> None:
    """Let time go by until a job is taken from its silent agent."""

    def is_taken() -> bool:
        if living is not None:
            assert living.heartbeat().status == 200
        for clock in clocks:
            clock.jump(SETTINGS.heartbeat_timeout / 8)
        return lost.state().status == 401

    until(is_taken, "the job to be taken from its agent")


@pytest.mark.parametrize("seconds", [DAY, -HOUR])
def test_an_agent_that_gives_signs_of_life_keeps_its_job(
    running: RunningServer, clock: JumpingClock, steady: JumpingClock, seconds: float
) -> None:
    running.api.create_pipeline("steps: [{command: x, parallelism: 2}]")
    running.api.create_build()
    agent, silent = FakeAgent(running.api), FakeAgent(running.api)
    job, lost = agent.take(), silent.take()
    live(agent, clock, steady, seconds=SETTINGS.heartbeat_timeout / 2)
    clock.jump(seconds)
    wait_for_loss(running, lost, clock, steady, living=agent)
    assert job.state().json["state"] == "running"
    assert job.finish().status == 200


def test_an_agent_without_signs_of_life_is_lost_though_the_clock_was_put_back(
    running: RunningServer, clock: JumpingClock, steady: JumpingClock
) -> None:
    _, job = start_job(running)
    clock.jump(-HOUR)
    wait_for_loss(running, job, steady)
    assert running.api.wait_build("failed")


def test_a_job_offered_before_the_clock_was_put_back_goes_to_the_next_agent(
    running: RunningServer, clock: JumpingClock
) -> None:
    running.api.create_pipeline("steps: [{command: x}]")
    running.api.create_build()
    one, two = FakeAgent(running.api), FakeAgent(running.api)
    job_id = one.next_job()
    clock.jump(-HOUR)
    set_offer_timeout(running, 600.0)  # the second agent may take its time
    assert two.next_job() == job_id
    assert two.accept(job_id).finish().status == 200


@pytest.mark.parametrize("running", ["sqlite"], indirect=True)
def test_a_timeout_is_a_length_of_time(running: RunningServer, clock: JumpingClock) -> None:
    _, job = start_job(running, "command: x, timeout_in_minutes: 10")
    clock.jump(DAY)
    until(lambda: running.plane.jumps.pending() == 0, "the jump to be noticed")
    assert job.state().json["state"] == "running"
    clock.jump(-DAY - HOUR)
    until(lambda: running.plane.jumps.pending() == 0, "the jump to be noticed")
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

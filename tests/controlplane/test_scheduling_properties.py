"""Any pipeline at all: it is refused with a reason or runs to its end, every job has one outcome, limits hold."""

from __future__ import annotations

import json
import random
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeseal.controlplane.domain.build import FINISHED
from pipeseal.controlplane.domain.expand import BuildFacts, Expansion
from pipeseal.controlplane.domain.job import ENDED, OCCUPYING, JobState
from pipeseal.controlplane.domain.known_members import MEMBERS
from pipeseal.controlplane.domain.limits import Limits
from pipeseal.controlplane.domain.retry import Ending
from pipeseal.controlplane.services.act_on_job import unblock_job
from pipeseal.controlplane.services.advance_build import end_job
from pipeseal.controlplane.services.create_build import NewBuild, cancel_build, create_build
from pipeseal.controlplane.services.pipelines import create_pipeline, update_pipeline
from pipeseal.controlplane.services.plan_pipeline import inherit_secrets
from pipeseal.controlplane.services.plane import ControlPlane, Settings, open_plane
from pipeseal.controlplane.services.trigger_build import trigger_builds
from pipeseal.controlplane.store import jobs as job_store
from pipeseal.controlplane.store.database import Transaction
from pipeseal.errors import MalformedInput
from pipeseal.pipeline.commandstep import parse_command_step
from pipeseal.pipeline.matrix import interpolate_matrix
from tests.loops import run_coroutine

TEXT = st.text(max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2000) | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
NAMES = sorted({name for members in MEMBERS.values() for name in members} | {"nonsense"})
CONDITIONS = st.sampled_from(
    ["true", "false", 'build.branch == "main"', "build.tag != null", "build.message =~ /x/", 'build.env("A") == "1"']
)


@given(
    st.lists(st.dictionaries(st.sampled_from(NAMES), JSON, max_size=6) | JSON, max_size=4),
    st.dictionaries(st.sampled_from(sorted(MEMBERS[""])), JSON, max_size=3),
)
@settings(max_examples=200, deadline=None)
def test_whatever_is_uploaded_is_planned_or_refused_with_a_reason(steps: list[Any], top: dict[str, Any]) -> None:
    expansion = Expansion(
        limits=Limits(),
        facts=BuildFacts("main"),
        parse_step=parse_command_step,
        interpolate=interpolate_matrix,
        inherit_secrets=inherit_secrets,
    )
    try:
        plan = expansion.expand(json.dumps({**top, "steps": steps}).encode())
    except MalformedInput as error:
        assert error.code
        assert error.message
        return
    assert all(step.jobs or step.kind in ("group", "command") for step in plan.steps)
    assert plan.job_count <= Limits().max_jobs_per_upload


@st.composite
def pipelines(draw: st.DrawFn) -> list[Any]:
    """Steps of every kind, in groups and with dependencies in any direction."""
    count = draw(st.integers(1, 8))
    steps: list[Any] = []
    inner = steps
    for number in range(count):
        kind = draw(st.sampled_from(["command"] * 5 + ["wait", "block", "input", "trigger", "group"]))
        step: dict[str, Any] = {"key": f"s{number}"}
        match kind:
            case "command":
                step["command"] = "x"
                if draw(st.booleans()):
                    step |= {"concurrency": draw(st.integers(1, 2)), "concurrency_group": draw(st.sampled_from("gh"))}
                    step["concurrency_method"] = draw(st.sampled_from(["ordered", "eager"]))
                if draw(st.integers(0, 3)) == 0:
                    step["parallelism"] = draw(st.integers(1, 3))
                if draw(st.integers(0, 3)) == 0:
                    step["retry"] = {"automatic": {"limit": draw(st.integers(0, 2))}}
                step["soft_fail"] = draw(st.integers(0, 3)) == 0
                step["cancel_on_build_failing"] = draw(st.integers(0, 4)) == 0
            case "wait":
                step |= {"wait": None, "continue_on_failure": draw(st.booleans())}
            case "block" | "input":
                step[kind] = "ok"
            case "trigger":
                step |= {"trigger": draw(st.sampled_from(["child", "nobody"])), "async": draw(st.booleans())}
            case _:
                step |= {"group": "g", "steps": []}
        if draw(st.integers(0, 2)) == 0:
            keys = draw(st.lists(st.integers(0, count), max_size=2))
            step["depends_on"] = [{"step": f"s{key}", "allow_failure": draw(st.booleans())} for key in keys]
        if draw(st.integers(0, 4)) == 0:
            step["if"] = draw(CONDITIONS)
        if draw(st.integers(0, 6)) == 0:
            step["skip"] = "no"
        inner.append(step)
        if kind == "group":
            inner = step["steps"]
        elif inner is not steps and draw(st.booleans()):
            inner = steps
    return steps


@contextmanager
def open_server() -> Iterator[ControlPlane]:
    """A control plane that nobody can reach, with a pipeline to try and one to trigger."""
    with TemporaryDirectory() as folder:
        opened = open_plane(Path(folder), Settings())
        try:
            for slug in ("demo", "child"):
                steps = "steps: [{command: c, concurrency: 1, concurrency_group: g}]"
                url = "https://git.example.test/r.git"
                run_coroutine(create_pipeline(opened, name=slug, repository=url, configuration=steps))
            yield opened
        finally:
            opened.close()


def open_jobs(plane: ControlPlane) -> list[sqlite3.Row]:
    query = (
        "SELECT jobs.id, jobs.state, jobs.kind, jobs.concurrency_group, jobs.concurrency_limit, builds.number, "
        "pipelines.slug FROM jobs JOIN builds ON builds.id = jobs.build_id "
        "JOIN pipelines ON pipelines.id = builds.pipeline_id WHERE jobs.finished_at IS NULL ORDER BY jobs.id"
    )
    return plane.database.read_now(lambda tx: tx.all(query))


def check_limits(jobs: list[sqlite3.Row]) -> None:
    """No group has more jobs at work than the largest limit that its jobs were let in under."""
    occupying = [job for job in jobs if job["state"] in OCCUPYING and job["concurrency_group"] is not None]
    counts = Counter(job["concurrency_group"] for job in occupying)
    for group, count in counts.items():
        assert count <= max(job["concurrency_limit"] for job in occupying if job["concurrency_group"] == group)


def run_one(plane: ControlPlane, job_id: str, chance: random.Random) -> None:
    """An agent takes a job and ends it, both as the services do it."""

    def begin(tx: Transaction) -> bool:
        now = plane.now()
        claimed = job_store.claim_job(tx, job_id, agent_id="agent", token_digest=f"digest-{job_id}", now=now)
        return claimed is not None and job_store.start_job(tx, job_id, now=now) == 1

    def finish(tx: Transaction) -> None:
        job = job_store.find_job(tx, job_id)
        assert job is not None
        end_job(tx, plane, job, Ending(int(chance.random() < 0.3)), now=plane.now(), by_agent=True)

    assert plane.database.submit(begin).result(60)
    assert (
        plane.database.submit(
            lambda tx: job_store.claim_job(tx, job_id, agent_id="other", token_digest="other", now=plane.now())
        ).result(60)
        is None
    )
    plane.database.submit(finish).result(60)


@given(st.lists(pipelines(), min_size=1, max_size=3), st.integers(0, 2**32))
@settings(max_examples=15, deadline=None)
def test_any_build_runs_to_its_end_and_every_job_ends_once(many: list[list[Any]], seed: int) -> None:
    with open_server() as plane:
        run_all(plane, many, random.Random(seed))


def run_all(plane: ControlPlane, many: list[list[Any]], chance: random.Random) -> None:
    for steps in many:
        try:
            run_coroutine(update_pipeline(plane, "demo", {"configuration": json.dumps({"steps": steps})}))
            run_coroutine(create_build(plane, "demo", NewBuild(message="x")))
        except MalformedInput as error:
            assert error.code == "upload.cycle"
    for _ in range(400):
        run_coroutine(trigger_builds(plane))
        jobs = open_jobs(plane)
        check_limits(jobs)
        ready = [job for job in jobs if job["state"] == JobState.SCHEDULED and job["kind"] == "script"]
        blocked = [job for job in jobs if job["state"] == JobState.BLOCKED]
        if not ready and not blocked:
            break
        job = chance.choice(ready + blocked)
        if chance.random() < 0.03:
            run_coroutine(cancel_build(plane, job["slug"], job["number"]))
        elif job["state"] == JobState.BLOCKED:
            run_coroutine(unblock_job(plane, job["slug"], job["number"], job["id"], {}))
        else:
            run_one(plane, job["id"], chance)
    assert [dict(job) for job in open_jobs(plane)] == [], "nothing is left that could not end"
    builds = plane.database.read_now(lambda tx: tx.all("SELECT number, state, finished_at FROM builds"))
    assert {row["state"] for row in builds} <= set(FINISHED)
    assert all(row["finished_at"] is not None for row in builds)
    states = plane.database.read_now(lambda tx: tx.all("SELECT DISTINCT state FROM jobs"))
    assert {row["state"] for row in states} <= set(ENDED)


@pytest.mark.parametrize("seed", range(12))
def test_a_step_that_waits_for_jobs_stopped_by_a_failing_build_is_decided(seed: int) -> None:
    """The last jobs of a build may end by being stopped: what waits for them must hear of that too."""
    steps = [
        {"key": "a", "command": "x", "concurrency": 1, "concurrency_group": "h", "concurrency_method": "eager"},
        {"key": "b", "command": "x", "concurrency": 1, "concurrency_group": "g"},
        {
            "key": "c",
            "command": "x",
            "concurrency": 1,
            "concurrency_group": "h",
            "parallelism": 2,
            "cancel_on_build_failing": True,
            "depends_on": [],
        },
        {"wait": None, "continue_on_failure": True, "if": 'build.env("A") == "1"'},
        {"key": "d", "block": "ok"},
    ]
    with open_server() as plane:
        run_all(plane, [steps], random.Random(seed))

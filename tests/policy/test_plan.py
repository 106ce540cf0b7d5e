"""The property that covers most: what a proven job runs is a function of its proof and of local settings alone.

Any field that the server sent is changed, added or removed: the plan stays the same, up to informational values that
are checked by type, or the job is refused. With `informational-variables = false` it stays the same in every byte.
"""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeseal.agent.jobenvironment import AgentFacts, JobAccess
from pipeseal.agent.plan import JobPlan, plan_job
from pipeseal.agent.settings import load_settings
from pipeseal.agentapi.job import parse_job
from pipeseal.errors import MalformedInput
from pipeseal.policy import ApprovedJob, VerificationSettings, evaluate
from pipeseal.policy.environment import TABLE, find_row
from pipeseal.policy.forbidden import OWN
from tests.policy.honest import AGENT_ID, JOB_ID, LOCAL, SETTINGS, document, policy

AGENT_SETTINGS = load_settings(
    {"token": "t", "build-path": "/builds", "plugins-path": "/plugins", "tags": ["queue=default", "os=linux"]},
    {"HOME": "/nowhere"},
)
AGENT = AgentFacts(
    id=AGENT_ID,
    name="runner 1",
    folder="runner-1",
    job_id=JOB_ID,
    access=JobAccess("http://127.0.0.1:1/v3", "t"),
    launcher=Path("/launcher"),
)
BASE = {"PATH": "/usr/bin", "HOME": "/home/agent"}
EXACT = policy("informational-variables = false")


def plan_of(job: dict[str, Any], settings: VerificationSettings) -> tuple[JobPlan, ApprovedJob] | None:
    """The plan and the approval; None when the job is refused."""
    try:
        parsed = parse_job(json.dumps(job).encode())
    except MalformedInput:
        return None
    decision = evaluate(parsed, settings, LOCAL)
    if not isinstance(decision, ApprovedJob):
        return None
    return plan_job(decision, AGENT_SETTINGS, AGENT, BASE), decision


def shape(planned: tuple[JobPlan, ApprovedJob], *, exact: bool) -> Any:
    """What is compared of a plan: all of it, or all but the informational values."""
    plan, approved = planned
    hidden = frozenset() if exact else approved.informational
    values = {name: value for name, value in plan.environment.values.items() if name not in hidden}
    work = plan.work if exact else plan.work._replace(reports_commit=True)
    if not exact and "BUILDKITE_ARTIFACT_PATHS" in hidden:
        work = work._replace(artifact_paths=work.artifact_paths._replace(text=""))
    checkout = work.checkout if exact else work.checkout._replace(provider="")
    return (
        values,
        plan.checkout_path,
        plan.plugins_path,
        work._replace(checkout=checkout),
        plan.texts if exact else {},
    )


JOBS = {how: document(how) for how in ("bound", "sealed")}
PLANS = {how: plan_of(job, SETTINGS) for how, job in JOBS.items()}
EXACT_PLANS = {how: plan_of(job, EXACT) for how, job in JOBS.items()}

names = st.one_of(
    st.sampled_from([row.name.replace("*", "X") for row in TABLE]),
    st.sampled_from([f"BUILDKITE_{name}" for name in sorted(OWN)]),
    st.sampled_from(sorted(JOBS["sealed"]["env"])),
    st.sampled_from(
        ["PATH", "HOME", "LD_PRELOAD", "X", "A=B", "buildkite_command", "PIPESEAL_SEAL", "GIT_DIR", "a b", ""]
    ),
    st.text(max_size=10),
)
texts = st.one_of(
    st.sampled_from(
        ["", "true", "false", "7", "main", "HEAD", "0" * 40, "../../x", "-x", "http://x/y", "a\nb", "$(x)"]
    ),
    st.text(max_size=12),
)
members = st.sampled_from(["id", "token", "state", "matrix_permutation", "endpoint", "priority", "runnable_at", "x"])
step_members = st.sampled_from(
    ["command", "env", "plugins", "label", "key", "agents", "secrets", "matrix", "checkout", "artifact_paths",
     "retry", "timeout_in_minutes", "parallelism", "signature", "soft_fail", "if", "cache", "x"]
)  # fmt: skip
anything = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)


@st.composite
def changes(draw: st.DrawFn) -> tuple[str, str, Any]:
    where = draw(st.sampled_from(["env", "env", "env", "remove", "step", "drop", "job"]))
    if where in {"env", "remove"}:
        return where, draw(names), draw(texts)
    if where in {"step", "drop"}:
        return where, draw(step_members), draw(anything)
    return where, draw(members), draw(anything)


def change(job: dict[str, Any], where: str, name: str, value: Any) -> dict[str, Any]:
    job = copy.deepcopy(job)
    match where:
        case "env":
            job["env"][name] = value
        case "remove":
            job["env"].pop(name, None)
        case "step":
            job["step"][name] = value
        case "drop":
            job["step"].pop(name, None)
        case _:
            job[name] = value
    return job


@pytest.mark.parametrize("how", ["bound", "sealed"])
@given(st.lists(changes(), min_size=1, max_size=3))
def test_any_change_leaves_the_plan_as_it_is_or_is_refused(how: str, changed: list[tuple[str, str, Any]]) -> None:
    job = JOBS[how]
    for where, name, value in changed:
        job = change(job, where, name, value)
    honest, exact = PLANS[how], EXACT_PLANS[how]
    assert honest is not None and exact is not None
    planned = plan_of(job, SETTINGS)
    if planned is not None:
        hidden = honest[1].informational | planned[1].informational
        assert shape((planned[0], replace(planned[1], informational=hidden)), exact=False) == shape(
            (honest[0], replace(honest[1], informational=hidden)), exact=False
        )
        for name in planned[1].informational - {"PIPESEAL_SEAL"}:
            row = find_row(name)
            value = planned[0].environment.values.get(name, "")
            assert row is not None and (not value or row.type.admits(value)), name
    planned = plan_of(job, EXACT)
    if planned is not None and how == "sealed":
        assert shape(planned, exact=True) == shape(exact, exact=True)


def test_the_property_is_about_something() -> None:
    """The honest plans differ from those of another step, and of another agent."""
    honest = PLANS["sealed"]
    assert honest is not None
    plan = honest[0]
    assert plan.checkout_path == Path("/builds/runner-1/acme/widgets")
    assert plan.plugins_path == Path("/plugins/runner-1")
    assert plan.work.command == "scripts/test" and plan.work.execution == "shell"
    assert plan.environment.values["SAFETY"] == "on" and plan.environment.values["TIER"] == "gold"
    assert plan.environment.values["PATH"] == "/launcher:/usr/bin"
    assert plan.work.checkout.tree and plan.work.artifact_paths.is_proven
    unbound = plan_of(document("reference"), SETTINGS)
    assert unbound is not None
    assert unbound[0].checkout_path.parent == Path("/builds/runner-1/_repositories")
    assert unbound[0].checkout_path.name.startswith("widgets-")
    changed = change(JOBS["bound"], "env", "BUILDKITE_BUILD_NUMBER", "8")
    planned = plan_of(changed, SETTINGS)
    assert planned is not None and planned[0].environment.values["BUILDKITE_BUILD_NUMBER"] == "8"


def test_unverified_jobs_name_their_own_folder_but_stay_below() -> None:
    settings = replace(SETTINGS, keys=None)
    job = {**JOBS["bound"], "step": {"command": "x"}}
    job = change(job, "env", "BUILDKITE_PIPELINE_SLUG", "../../etc")
    planned = plan_of(job, settings)
    assert planned is not None
    assert planned[0].checkout_path == Path("/builds/runner-1/acme/------etc")

"""Builds as a whole, over real HTTP: barriers, dependencies, retries, cancelling, blocks, uploads."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeseal.controlplane.domain.limits import Limits
from tests.controlplane.running import QUICK, FakeAgent, RunningServer, find_job, job_states, running_server


@pytest.fixture
def running(tmp_path: Path) -> Iterator[RunningServer]:
    settings = replace(QUICK, ping_hold=0.2, cancel_timeout=600, heartbeat_timeout=600)
    with running_server(tmp_path / "data", settings) as server:
        yield server


def build_of(running: RunningServer, steps: str, **build: Any) -> FakeAgent:
    """A build of `steps`, and an agent for it."""
    running.api.create_pipeline(steps)
    running.api.create_build(**build)
    return FakeAgent(running.api)


def test_a_wait_holds_back_what_follows_and_is_passed_at_once(running: RunningServer) -> None:
    agent = build_of(running, "steps: [{command: a, key: a}, {command: b, key: b}, wait, {command: c, key: c}]")
    assert job_states(running.api.build()) == {
        "a": "scheduled",
        "b": "scheduled",
        "waiter": "waiting",
        "c": "waiting",
    }
    agent.run()
    assert job_states(running.api.build())["c"] == "waiting"
    agent.run()
    assert job_states(running.api.build()) == {"a": "passed", "b": "passed", "waiter": "passed", "c": "scheduled"}
    agent.run()
    build = running.api.wait_build("passed")
    assert build["finished_at"] >= build["started_at"] >= build["created_at"]


def test_a_failure_stops_at_the_wait_unless_it_says_to_go_on(running: RunningServer) -> None:
    steps = (
        "steps: [{command: a, key: a}, wait, {command: b, key: b}, {wait: ~, continue_on_failure: true}, "
        "{command: c, key: c}]"
    )
    agent = build_of(running, steps)
    agent.run(1)
    states = job_states(running.api.build())
    assert (states["b"], states["c"]) == ("waiting_failed", "scheduled")
    assert running.api.build()["state"] == "failing"
    agent.run()
    build = running.api.wait_build("failed")
    assert find_job(build, "b")["reason"] == "a step before it did not pass"


def test_depends_on_goes_by_key_and_passes_barriers(running: RunningServer) -> None:
    steps = (
        "steps: [{command: a, key: a}, {command: b, key: b}, wait, {command: c, key: c, depends_on: a}, "
        "{command: d, key: d, depends_on: []}, {command: e, key: e, depends_on: [{step: b, allow_failure: true}]}, "
        "{command: f, key: f, depends_on: [b, c]}]"
    )
    agent = build_of(running, steps)
    states = job_states(running.api.build())
    assert (states["c"], states["d"], states["e"], states["f"]) == ("waiting", "scheduled", "waiting", "waiting")
    jobs = {job.env["BUILDKITE_STEP_KEY"]: job for job in (FakeAgent(running.api).take() for _ in range(3))}
    jobs["a"].finish(0)
    assert job_states(running.api.build())["c"] == "scheduled"
    jobs["b"].finish(1)
    states = job_states(running.api.build())
    assert (states["e"], states["f"]) == ("scheduled", "waiting_failed")
    jobs["d"].finish(0)
    agent.run()
    agent.run()
    running.api.wait_build("failed")


def test_a_dependency_on_a_key_that_never_comes_ends_the_step(running: RunningServer) -> None:
    agent = build_of(running, "steps: [{command: a, key: a}, {command: b, key: b, depends_on: nobody}]")
    agent.run()
    build = running.api.wait_build("failed")
    assert find_job(build, "b")["state"] == "waiting_failed"
    assert "'nobody'" in find_job(build, "b")["reason"]


def test_what_a_step_uploads_counts_as_part_of_it(running: RunningServer) -> None:
    steps = "steps: [{command: up, key: up}, {command: after, key: after, depends_on: up}]"
    agent = build_of(running, steps)
    uploader = agent.take()
    assert uploader.upload({"steps": [{"command": "x", "key": "x"}]}).status == 200
    uploader.finish()
    states = job_states(running.api.build())
    assert (states["x"], states["after"]) == ("scheduled", "waiting")
    agent.run()
    assert job_states(running.api.build())["after"] == "scheduled"


def test_uploaded_steps_stand_behind_their_uploader(running: RunningServer) -> None:
    agent = build_of(running, "steps: [{command: up, key: up}, wait, {command: last, key: last}]")
    uploader = agent.take()
    assert (
        uploader.upload({"steps": [{"command": "x", "key": "x"}, "wait", {"command": "y", "key": "y"}]}).status == 200
    )
    uploader.finish()
    build = running.api.build()
    assert [job["step_key"] for job in build["jobs"] if job["type"] == "script"] == ["up", "x", "y", "last"]
    for key in ("x", "y", "last"):
        job = agent.take()
        assert job.env["BUILDKITE_STEP_KEY"] == key
        job.finish()
    running.api.wait_build("passed")


def test_an_upload_happens_once(running: RunningServer) -> None:
    agent = build_of(running, "steps: [{command: up}]")
    job = agent.take()
    upload_id = str(uuid.uuid4())
    pipeline = {"steps": [{"command": "x", "key": "x"}]}
    for _ in range(3):
        assert job.upload(pipeline, upload_id=upload_id).status == 200
    assert len(running.api.build()["jobs"]) == 2
    assert job.call("GET", f"/pipelines/{upload_id}").json["state"] == "applied"
    assert job.call("GET", f"/pipelines/{uuid.uuid4()}").status == 404
    other = job.upload({"steps": [{"command": "y"}]}, upload_id=upload_id)
    assert (other.status, other.json["code"]) == (422, "upload.conflict")
    job.finish()
    assert job.upload(pipeline, upload_id=upload_id).status == 200, "a repeated upload is harmless later too"
    late = job.upload({"steps": [{"command": "z"}]})
    assert (late.status, late.json["code"]) == (422, "state.not_running")
    assert len(running.api.build()["jobs"]) == 2


def test_a_hundred_uploads_at_once_happen_once_each(running: RunningServer) -> None:
    from concurrent.futures import ThreadPoolExecutor

    agent = build_of(running, "steps: [{command: up}]")
    job = agent.take()
    ids = [str(uuid.uuid4()) for _ in range(10)]
    with ThreadPoolExecutor(10) as pool:
        answers = list(
            pool.map(lambda n: job.upload({"steps": [{"command": "x"}]}, upload_id=ids[n % 10]), range(100))
        )
    assert {answer.status for answer in answers} == {200}
    assert len(running.api.build()["jobs"]) == 11


def test_replace_takes_out_what_has_not_begun(running: RunningServer) -> None:
    steps = "steps: [{command: up, key: up}, {command: old, key: old}, wait, {command: later, key: later}]"
    agent = build_of(running, steps)
    other = FakeAgent(running.api)
    uploader, begun = agent.take(), other.take()
    answer = uploader.upload({"steps": [{"command": "new", "key": "later"}]}, replace=True)
    assert answer.status == 200, answer.json
    states = job_states(running.api.build())
    assert states["old"] == "running"
    assert states["later"] == "scheduled"
    begun.finish()
    uploader.finish()
    agent.run()
    build = running.api.wait_build("passed")
    skipped = [job for job in build["jobs"] if job["state"] == "skipped"]
    assert [job["reason"] for job in skipped] == ["replaced by a later upload"] * 2


@pytest.mark.parametrize(
    ("pipeline", "code", "words"),
    [
        ({"steps": ["make test"]}, "upload.step", "step 1"),
        ({"steps": [{"label": "nothing"}]}, "upload.step", "step 1"),
        ({"steps": [{"command": "x", "key": "up"}]}, "upload.key", "'up'"),
        ({"steps": [{"command": "x", "key": "k"}, {"command": "y", "key": "k"}]}, "upload.key", "'k'"),
        (
            {
                "steps": [
                    {"command": "x", "key": "a", "depends_on": "b"},
                    {"command": "y", "key": "b", "depends_on": "a"},
                ]
            },
            "upload.cycle",
            "a -> b -> a",
        ),
        (
            {"steps": [{"group": "g", "key": "g", "steps": [{"command": "x", "key": "i", "depends_on": "g"}]}]},
            "upload.cycle",
            "g",
        ),
        ({"steps": [{"command": "x", "parallelism": 0}]}, "upload.step", "parallelism"),
        ({"steps": [{"command": "x", "depends_on": 3}]}, "upload.step", "depends_on"),
        ({"steps": [{"command": "x", "if": "build.branhc == 'x'"}]}, "condition.unknown_name", "step 1"),
        ({"steps": [{"command": "x", "retry": {"automatic": {"limit": 99}}}]}, "upload.step", "limit"),
        ({"steps": [{"command": "x", "soft_fail": "maybe"}]}, "upload.step", "soft_fail"),
        ({"steps": [{"command": "x", "concurrency": 1}]}, "upload.step", "concurrency"),
        ({"steps": [{"command": "{{matrix.b}}", "matrix": ["a"]}]}, "upload.step", "matrix"),
        ({"steps": [{"command": "x", "agents": 5}]}, "upload.step", "agents"),
        ({"steps": [{"command": "x", "if": "true", "branches": "main"}]}, "upload.step", "together"),
        ({"steps": [{"command": "x", "cancel_on_build_failing": "perhaps"}]}, "upload.step", "cancel_on"),
        ({"steps": [{"command": "x", "concurrency_method": "fair"}]}, "upload.step", "concurrency_method"),
        ({"steps": [{"command": "x", "retry": {"manual": {"allowed": "often"}}}]}, "upload.step", "allowed"),
        ({"steps": [{"block": "x", "fields": [{"key": "a"}]}]}, "upload.step", "field 1"),
        ({"steps": [{"block": "x", "fields": [{"text": "a", "key": "a b"}]}]}, "upload.step", "`key`"),
        ({"steps": [{"block": "x", "fields": [{"select": "a", "key": "a"}]}]}, "upload.step", "`options`"),
        ({"steps": [{"block": "x", "blocked_state": "sad"}]}, "upload.step", "blocked_state"),
        ({"steps": [{"trigger": "No Slug"}]}, "upload.step", "slug"),
        ({"steps": [{"trigger": "other", "build": {"brunch": "x"}}]}, "upload.step", "'brunch'"),
        ({"steps": [{"trigger": "other", "async": "later"}]}, "upload.step", "async"),
        ({"notify": [{"webhook": "ftp://x"}], "steps": []}, "notification.url", "ftp"),
        ({"steps": 5}, "request.malformed", "steps"),
        ([], "request.malformed", "object"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_place(
    running: RunningServer, pipeline: Any, code: str, words: str
) -> None:
    job = build_of(running, "steps: [{command: up, key: up}]").take()
    answer = job.upload(pipeline)
    assert (answer.status, answer.json["code"]) == (422, code), answer.json
    assert words in answer.json["message"]
    assert len(running.api.build()["jobs"]) == 1, "nothing of a refused upload is kept"


def test_limits_say_their_number_and_name(tmp_path: Path) -> None:
    limits = Limits(max_jobs_per_upload=10, max_jobs_per_build=15, max_jobs_per_matrix=6)
    with running_server(tmp_path / "data", replace(QUICK, limits=limits)) as running:
        job = build_of(running, "steps: [{command: up}]").take()
        matrix = {"setup": {"a": ["1", "2", "3"], "b": ["1", "2", "3"]}}
        answer = job.upload({"steps": [{"command": "x", "matrix": matrix}]})
        assert answer.json["message"].startswith("step 1: 9 jobs in one matrix; the limit is 6 (max_jobs_per_matrix)")
        answer = job.upload({"steps": [{"command": "x", "parallelism": 11}]})
        assert "the limit is 10 (max_jobs_per_upload)" in answer.json["message"]
        assert job.upload({"steps": [{"command": "x", "parallelism": 10}]}).status == 200
        answer = job.upload({"steps": [{"command": "x", "parallelism": 5}]})
        assert answer.json["message"].startswith("16 jobs in one build; the limit is 15 (max_jobs_per_build)")
        assert answer.json["code"] == "upload.limit"


def test_matrix_parallel_and_groups_expand(running: RunningServer) -> None:
    job = build_of(running, "steps: [{command: up}]").take()
    matrix = {
        "setup": {"os": ["linux", "mac"], "v": ["1", "2"]},
        "adjustments": [{"with": {"os": "mac", "v": "2"}, "skip": "slow"}, {"with": {"os": "bsd", "v": "9"}}],
    }
    inner = [
        {"command": "t {{matrix.os}}", "label": "t {{matrix.os}} {{matrix.v}}", "matrix": matrix, "parallelism": 2}
    ]
    answer = job.upload({"steps": [{"group": "G", "key": "g", "steps": inner}, {"command": "z", "depends_on": "g"}]})
    assert answer.status == 200, answer.json
    job.finish()
    jobs = running.api.build()["jobs"][1:]
    shown = [(job["label"], job["parallel_group_index"], job["parallel_group_total"], job["state"]) for job in jobs]
    assert shown[:2] == [("t linux 1", 0, 2, "scheduled"), ("t linux 1", 1, 2, "scheduled")]
    assert sum(state == "skipped" for *_, state in shown) == 2
    assert [label for label, *_ in shown][-3:] == ["t bsd 9", "t bsd 9", None]
    assert {job["group_key"] for job in jobs[:-1]} == {"g"}
    agent = FakeAgent(running.api)
    seen = set()
    for _ in range(8):
        taken = agent.take()
        seen.add((taken.assignment["matrix_permutation"]["os"], taken.env["BUILDKITE_PARALLEL_JOB"]))
        assert taken.env["BUILDKITE_PARALLEL_JOB_COUNT"] == "2"
        assert taken.env["BUILDKITE_COMMAND"] == f"t {taken.assignment['matrix_permutation']['os']}"
        assert taken.assignment["step"]["command"] == "t {{matrix.os}}"
        assert taken.env["BUILDKITE_GROUP_KEY"] == "g"
        taken.finish()
    assert len(seen) == 6
    agent.run()
    running.api.wait_build("passed")


def test_skip_branches_and_if_are_not_run_and_say_why(running: RunningServer) -> None:
    steps = """
steps:
  - {command: a, key: a, skip: "not today"}
  - {command: b, key: b, branches: "release/* !release/old"}
  - {command: c, key: c, if: 'build.branch == "main" && build.message =~ /deploy/'}
  - {command: d, key: d, if: 'build.branch == "dev" || build.env("X") == "1"'}
  - {command: e, key: e, if: false}
  - {command: f, key: f, if: true, depends_on: [a, b, c, e]}
"""
    running.api.create_pipeline(steps)
    build = running.api.create_build(branch="dev", message="x")
    assert build["warnings"] == []
    states = {"a": "skipped", "b": "broken", "c": "broken", "d": "scheduled", "e": "broken", "f": "scheduled"}
    assert job_states(build) == states
    assert find_job(build, "a")["reason"] == "not today"
    assert "'dev'" in find_job(build, "b")["reason"]
    assert find_job(build, "e")["reason"] == "its condition is false: False"
    agent = FakeAgent(running.api)
    agent.run()
    agent.run()
    running.api.wait_build("passed")


def test_a_wait_that_is_left_out_is_no_wait_but_the_one_before_it_is(running: RunningServer) -> None:
    steps = (
        "steps: [{command: a, key: a}, {wait: ~, key: w}, {command: b, key: b}, {wait: ~, if: false, key: x}, "
        "{block: stop, branches: other, key: y}, {command: c, key: c}]"
    )
    agent = build_of(running, steps)
    states = job_states(running.api.build())
    assert (states["x"], states["y"], states["b"], states["c"]) == ("broken", "broken", "waiting", "waiting")
    agent.run()
    states = job_states(running.api.build())
    assert (states["b"], states["c"]) == ("scheduled", "scheduled")


def test_conditions_of_one_upload_share_one_budget(running: RunningServer) -> None:
    job = build_of(running, "steps: [{command: up, key: up}]", message="x" * 60_000).take()
    step = {"command": "x", "if": "build.message =~ /(a|b|c|d|e|f|g)+z{1,50}$/"}
    assert job.upload({"steps": [step]}).status == 200
    answer = job.upload({"steps": [step] * 60})
    assert (answer.status, answer.json["code"]) == (422, "condition.limit")
    assert answer.json["message"].startswith("step ")


def test_what_is_said_and_not_honoured_is_named_in_a_warning(running: RunningServer) -> None:
    steps = """
agens: {queue: x}
base: &base {soft_fail: false}
image: alpine
notify: [{slack: "#x"}]
steps:
  - {command: a, key: a, <<: *base, paralellism: 3, cache: node_modules, notify: [{slack: x}]}
  - {block: b, allowed_teams: [x], prompt: hm}
  - {trigger: other, env: {A: b}}
  - {wait: ~, nonsense: 1}
"""
    running.api.create_pipeline(steps)
    warnings = running.api.create_build()["warnings"]
    assert [warning.split(": ", 1)[0] for warning in warnings] == [
        "the pipeline",
        "the pipeline",
        "step 1 (a)",
        "step 1 (a)",
        "step 1 (a)",
        "step 2",
        "step 3",
        "step 4",
        "the pipeline",
    ]
    text = "\n".join(warnings)
    for words in (
        "did you mean `agents`?",
        "(`image`)",
        "did you mean `parallelism`?",
        "(`cache`)",
        "step 1 (a): notify 1: this server sends webhooks only",
        "(`allowed_teams`)",
        "variables for the triggered build",
        "a wait step has no `nonsense` here",
        "nothing to 'slack'",
    ):
        assert words in text, words


def test_a_failing_build_stops_the_steps_that_ask_for_it(running: RunningServer) -> None:
    steps = (
        "steps: [{command: a, key: a}, {command: b, key: b, cancel_on_build_failing: true}, "
        "{command: c, key: c, cancel_on_build_failing: true}, {command: d, key: d}]"
    )
    build_of(running, steps)
    agents = [FakeAgent(running.api) for _ in range(2)]
    jobs = {job.env["BUILDKITE_STEP_KEY"]: job for job in (agent.take() for agent in agents)}
    assert set(jobs) == {"a", "b"}
    jobs["a"].finish(1)
    build = running.api.build()
    assert job_states(build) == {"a": "failed", "b": "canceling", "c": "canceled", "d": "scheduled"}
    assert build["state"] == "failing"
    assert find_job(build, "c")["reason"] == "the build is failing"
    jobs["b"].finish(-1, signal="SIGTERM", signal_reason="cancel")
    agents[0].run(0)
    assert job_states(running.api.wait_build("failed"))["b"] == "canceled"


@pytest.mark.parametrize(
    ("manual", "exit_status", "refusal"),
    [
        ("{permit_on_passed: false}", 0, "its step permits no retry of a job that passed"),
        ("{permit_on_passed: false}", 1, ""),
        ("{allowed: false, reason: ask Ann}", 1, "ask Ann"),
        ("false", 1, "manual retries are switched off for this step"),
        ("true", 0, ""),
    ],
)
def test_a_step_says_whether_people_may_retry_it(
    running: RunningServer, manual: str, exit_status: int, refusal: str
) -> None:
    agent = build_of(running, f"steps: [{{command: a, key: a, retry: {{manual: {manual}}}}}]")
    job = agent.run(exit_status)
    answer = running.api.rest("PUT", f"/pipelines/demo/builds/1/jobs/{job.id}/retry")
    if refusal:
        assert (answer.status, answer.json["code"]) == (422, "state.not_retryable")
        assert refusal in answer.json["message"]
    else:
        assert answer.status == 200, answer.json


def test_answers_to_the_fields_of_a_block_are_checked_and_kept(running: RunningServer) -> None:
    steps = """
steps:
  - block: Release
    key: ok
    prompt: Sure?
    blocked_state: running
    fields:
      - {text: Version, key: version, format: "[0-9]+[.][0-9]+"}
      - {text: Note, key: note, required: false}
      - {select: Where, key: where, default: eu, options: [{label: EU, value: eu}, {label: US, value: us}]}
      - select: What
        key: what
        multiple: true
        required: false
        options: [{label: A, value: a}, {label: B, value: b}]
"""
    running.api.create_pipeline(steps)
    build = running.api.create_build()
    block = find_job(build, "ok")
    assert (build["state"], block["prompt"], block["blocked_state"]) == ("blocked", "Sure?", "running")
    assert [field["key"] for field in block["fields"]] == ["version", "note", "where", "what"]
    path = f"/pipelines/demo/builds/1/jobs/{block['id']}/unblock"
    for fields, words in (
        ({}, "'version' (Version) needs an answer"),
        ({"version": "one"}, "does not match its `format`"),
        ({"version": "1.0", "where": "mars"}, "'mars' is not an option"),
        ({"version": "1.0", "what": "a\nc"}, "'c' is not an option"),
        ({"version": "1.0", "whence": "x"}, "no field 'whence'"),
    ):
        answer = running.api.rest("PUT", path, {"fields": fields})
        assert (answer.status, answer.json["code"]) == (422, "unblock.field")
        assert words in answer.json["message"]
    assert running.api.build()["meta_data"] == {}
    answer = running.api.rest("PUT", path, {"fields": {"version": "1.12", "what": "a\nb"}})
    assert answer.json["state"] == "passed"
    assert running.api.build()["meta_data"] == {"version": "1.12", "where": "eu", "what": "a\nb"}
    running.api.wait_build("passed")


def test_a_failed_job_is_retried_as_its_step_asks(running: RunningServer) -> None:
    steps = (
        "steps: [{command: a, key: a, retry: {automatic: [{exit_status: 7, limit: 2}]}}, wait, {command: b, key: b}]"
    )
    agent = build_of(running, steps)
    first = agent.run(7)
    assert first.env["BUILDKITE_RETRY_COUNT"] == "0"
    second = agent.run(7)
    assert (second.env["BUILDKITE_RETRY_COUNT"], second.env["BUILDKITE_RETRY_TYPE"]) == ("1", "automatic")
    assert second.id != first.id
    agent.run(0)
    agent.run(0)
    build = running.api.wait_build("passed")
    tries = [job for job in build["jobs"] if job["step_key"] == "a"]
    assert [job["state"] for job in tries] == ["failed", "failed", "passed"]
    assert [job["retried_in_job_id"] for job in tries] == [tries[1]["id"], tries[2]["id"], None]


def test_retries_end_and_soft_failures_pass(running: RunningServer) -> None:
    steps = (
        "steps: [{command: a, key: a, retry: {automatic: {limit: 1}}}, "
        "{command: b, key: b, soft_fail: [{exit_status: 3}]}]"
    )
    running.api.create_pipeline(steps)
    running.api.create_build()
    agent = FakeAgent(running.api)
    for _ in range(3):
        job = agent.take()
        job.finish(3)
    build = running.api.wait_build("failed")
    assert [job["state"] for job in build["jobs"]] == ["failed", "failed", "failed"]
    assert [job["soft_failed"] for job in build["jobs"]] == [False, False, True]


def test_cancelling_ends_what_waits_and_stops_what_runs(running: RunningServer) -> None:
    agent = build_of(running, "steps: [{command: a, key: a}, {command: b, key: b}, wait, {command: c, key: c}]")
    job = agent.take()
    assert running.api.rest("PUT", "/pipelines/demo/builds/1/cancel").json["state"] == "canceling"
    states = job_states(running.api.build())
    assert states == {"a": "canceling", "b": "canceled", "waiter": "canceled", "c": "canceled"}
    assert job.state().json["state"] == "canceling"
    assert agent.ping().get("job") is None
    assert job.finish(-1, signal="SIGTERM", signal_reason="cancel").status == 200
    build = running.api.wait_build("canceled")
    assert find_job(build, "a")["state"] == "canceled"
    assert find_job(build, "a")["signal"] == "SIGTERM"


def test_an_agent_that_does_not_obey_is_not_waited_for(running: RunningServer) -> None:
    running.plane.settings = replace(running.plane.settings, cancel_timeout=0.5)
    agent = build_of(running, "steps: [{command: a, key: a}]")
    job = agent.take()
    running.api.rest("PUT", "/pipelines/demo/builds/1/cancel")
    running.api.wait_build("canceled")
    assert job.state().status == 401, "which tells the agent to stop the job"
    assert job.finish(0).status == 401
    assert job.chunk(1, 0, b"late").status == 401


def test_a_job_cancelled_before_it_began_is_not_started(running: RunningServer) -> None:
    agent = build_of(running, "steps: [{command: a}]")
    job = agent.accept(agent.next_job())
    running.api.rest("PUT", "/pipelines/demo/builds/1/cancel")
    answer = job.start()
    assert (answer.status, answer.json["code"]) == (422, "state.not_running")
    running.api.wait_build("canceled")


def test_a_timeout_stops_the_job(running: RunningServer) -> None:
    agent = build_of(running, "steps: [{command: a, key: a, timeout_in_minutes: 3}]")
    job = agent.take()
    assert job.env["BUILDKITE_TIMEOUT"] == "3"
    past = "UPDATE jobs SET deadline_at = deadline_at - 180000000 WHERE id = :id"
    running.plane.database.submit(lambda tx: tx.run(past, id=job.id)).result()
    deadline = time.monotonic() + 60
    while job.state().json["state"] != "timing_out":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    job.finish(-1, signal="SIGTERM", signal_reason="cancel")
    assert find_job(running.api.wait_build("failed"), "a")["state"] == "timed_out"


def test_a_block_waits_for_a_person(running: RunningServer) -> None:
    steps = (
        "steps: [{command: a, key: a}, {block: Deploy, key: ok, fields: [{text: Why, key: why}]}, "
        "{command: b, key: b}]"
    )
    agent = build_of(running, steps)
    block = find_job(running.api.build(), "ok")
    answer = running.api.rest("PUT", f"/pipelines/demo/builds/1/jobs/{block['id']}/unblock", {})
    assert (answer.status, answer.json["code"]) == (422, "state.not_blocked")
    agent.run()
    build = running.api.wait_build("blocked")
    assert build["blocked"] is True
    assert find_job(build, "ok")["unblockable"] is True
    path = f"/pipelines/demo/builds/1/jobs/{block['id']}/unblock"
    assert running.api.rest("PUT", path, {"fields": {"why": "friday"}}).json["state"] == "passed"
    assert running.api.build()["meta_data"] == {"why": "friday"}
    agent.run()
    running.api.wait_build("passed")


def test_a_manual_retry_wakes_what_waited_in_vain(running: RunningServer) -> None:
    agent = build_of(running, "steps: [{command: a, key: a}, wait, {command: b, key: b}]")
    failed = agent.run(1)
    running.api.wait_build("failed")
    path = f"/pipelines/demo/builds/1/jobs/{failed.id}/retry"
    assert running.api.rest("PUT", path).status == 200
    again = running.api.rest("PUT", path)
    assert (again.status, again.json["code"]) == (422, "state.not_retryable")
    agent.run(0)
    agent.run(0)
    build = running.api.wait_build("passed")
    assert find_job(build, "a")["retry_type"] == "manual"


def test_a_rebuild_is_of_the_same_commit(running: RunningServer) -> None:
    agent = build_of(running, "steps: [{command: a}]", commit="1" * 40, branch="dev", env={"X": "1"})
    agent.run()
    answer = running.api.rest("PUT", "/pipelines/demo/builds/1/rebuild")
    assert (answer.status, answer.json["number"], answer.json["commit"]) == (201, 2, "1" * 40)
    env = agent.take().env
    assert env["BUILDKITE_REBUILT_FROM_BUILD_NUMBER"] == "1"
    assert (env["X"], env["BUILDKITE_BRANCH"]) == ("1", "dev")


def test_a_concurrency_group_is_never_exceeded(running: RunningServer) -> None:
    step = "{command: x, parallelism: 4, concurrency: 2, concurrency_group: deploy}"
    running.api.create_pipeline(f"steps: [{step}]")
    running.api.create_build()
    running.api.create_build()
    agents = [FakeAgent(running.api) for _ in range(4)]
    done = 0
    while done < 8:
        held = [agents[0].take(), agents[1].take()]
        assert agents[2].ping().get("job") is None
        for job in held:
            job.finish()
            done += 1
    running.api.wait_build("passed", number=1)
    running.api.wait_build("passed", number=2)


def test_priority_goes_first_then_the_older_build(running: RunningServer) -> None:
    running.api.create_pipeline("steps: [{command: low, key: low}, {command: high, key: high, priority: 5}]")
    running.api.create_build()
    running.api.create_build()
    agent = FakeAgent(running.api)
    order = [
        (job.env["BUILDKITE_STEP_KEY"], job.env["BUILDKITE_BUILD_NUMBER"]) for job in (agent.run() for _ in range(4))
    ]
    assert order == [("high", "1"), ("high", "2"), ("low", "1"), ("low", "2")]


def test_steps_of_the_settings_that_cannot_be_used_are_refused_when_saved(running: RunningServer) -> None:
    body = {"name": "x", "repository": "r", "configuration": "steps: [\n"}
    answer = running.api.rest("POST", "/pipelines", body)
    assert answer.status == 422
    assert answer.json["code"].startswith("yaml.")
    assert json.dumps(running.api.rest("GET", "/pipelines").json) == "[]"

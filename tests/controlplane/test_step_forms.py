"""What steps may say beside what they run: other spellings, secrets of all, who unblocked, webhooks of one step."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeseal.errors import MalformedInput
from tests.controlplane.running import QUICK, FakeAgent, RunningServer, find_job, job_states, running_server, until
from tests.controlplane.test_accounts import first_owner
from tests.controlplane.test_notify import Receiver, receiving
from tests.controlplane.test_rules import expand


@pytest.fixture
def running(tmp_path: Path) -> Iterator[RunningServer]:
    settings = replace(QUICK, ping_hold=0.2, notify_http=True, notify_networks=("127.0.0.0/8",))
    with running_server(tmp_path / "data", settings) as server:
        yield server


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


def build_of(running: RunningServer, steps: Any) -> dict[str, Any]:
    """A build of these steps, as YAML or as a value."""
    running.api.create_pipeline(steps if isinstance(steps, str) else json.dumps(steps))
    return running.api.create_build()


@pytest.mark.parametrize(
    "wait",
    [
        "{wait: ~, continue_on_failure: true}",
        "{wait: {continue_on_failure: true}}",
        "{waiter: {continue_on_failure: 'true'}}",
        "{type: wait, wait: {continue_on_failure: true}}",
    ],
)
def test_a_wait_goes_on_after_a_failure_however_it_says_so(running: RunningServer, wait: str) -> None:
    build = build_of(running, f"steps: [{{command: a, key: a}}, {wait}, {{command: b, key: b}}]")
    assert build["warnings"] == []
    agent = FakeAgent(running.api)
    agent.run(1)
    assert job_states(running.api.build())["b"] == "scheduled"
    agent.run()
    running.api.wait_build("failed")


def test_members_inside_the_first_one_count_for_other_kinds_too(running: RunningServer) -> None:
    steps = """
steps:
  - block: {block: Release, key: gate, prompt: Sure, fields: [{text: Why, key: why}]}
  - trigger: {trigger: other, key: t, build: {message: from inside, branch: main}, async: true}
"""
    running.api.create_pipeline("steps: [{command: x}]", slug="other")
    build = build_of(running, steps)
    assert build["warnings"] == []
    gate = find_job(build, "gate")
    assert (gate["label"], gate["prompt"], gate["fields"]) == ("Release", "Sure", [{"text": "Why", "key": "why"}])
    path = f"/pipelines/demo/builds/1/jobs/{gate['id']}/unblock"
    assert running.api.rest("PUT", path, {"fields": {}}).status == 422
    assert running.api.rest("PUT", path, {"fields": {"why": "because"}}).status == 200
    running.api.wait_build("passed")
    assert running.api.build(1, "other")["message"] == "from inside"


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ("{wait: {key: a}, key: b}", "`key` stands inside and beside `wait`"),
        ("{block: {fields: 3}}", "`fields` must be a list"),
        ("{wait: {continue_on_failure: perhaps}}", "`continue_on_failure` must be true or false"),
        ("{group: {label: x}, steps: []}", "`group` must be text"),
        ("{command: {command: x}}", "`command` is a mapping"),
    ],
)
def test_members_that_make_no_sense_inside_are_refused(running: RunningServer, step: str, words: str) -> None:
    build_of(running, "steps: [{command: x}]")
    answer = running.api.rest("PATCH", "/pipelines/demo", {"configuration": f"steps: [{step}]"})
    assert answer.status == 200, answer.json
    answer = running.api.rest("POST", "/pipelines/demo/builds", {})
    assert answer.status == 422
    assert words in answer.json["message"]


def test_what_stands_inside_and_means_nothing_is_named(running: RunningServer) -> None:
    build = build_of(running, "steps: [{wait: {continue_on_failur: true}}]")
    assert build["warnings"] == [
        "step 1: a wait step has no `continue_on_failur` here, and nothing comes of it; "
        "did you mean `continue_on_failure`?"
    ]


def test_secrets_of_the_whole_pipeline_reach_the_steps(running: RunningServer) -> None:
    steps = """
secrets: [ALL, {key: deploy-key, environment_variable: KEY}]
steps:
  - {command: a, key: a}
  - {command: b, key: b, secrets: {KEY: own-key}, unknown: [1.0, "é"]}
  - {group: g, steps: [{command: c, key: c}]}
"""
    build = build_of(running, steps)
    assert [warning for warning in build["warnings"] if "secrets" in warning] == []
    agent = FakeAgent(running.api)
    secrets = {}
    for _ in range(3):
        job = agent.run()
        step = job.assignment["step"]
        secrets[step["key"]] = {item["environment_variable"]: item["key"] for item in step["secrets"]}
        if step["key"] == "b":
            assert step["unknown"] == [1.0, "é"]
    everybody = {"ALL": "ALL", "KEY": "deploy-key"}
    assert secrets == {"a": everybody, "b": {"KEY": "own-key", "ALL": "ALL"}, "c": everybody}


def test_a_signed_step_stays_as_it_is_and_says_what_it_lacks(running: RunningServer) -> None:
    signature = {"algorithm": "EdDSA", "signed_fields": ["command"], "value": "a..b"}
    lacking = {"command": "a", "key": "a", "signature": signature}
    having = {**lacking, "key": "b", "secrets": [{"key": "ALL", "environment_variable": "ALL"}]}
    build = build_of(running, {"secrets": ["ALL"], "steps": [lacking, having]})
    assert [warning for warning in build["warnings"] if "secrets" in warning] == [
        "step 1 (a): the step was signed without the `secrets` of the whole pipeline and does not get them; "
        "name them in the step, or sign it with `tool sign`"
    ]
    agent = FakeAgent(running.api)
    assert "secrets" not in agent.run().assignment["step"]
    assert agent.run().assignment["step"]["secrets"] == having["secrets"]


STEP_SLIPS: list[tuple[dict[str, Any], str]] = [
    ({"retry": {"automatic": True, "autmatic": 1}}, "`autmatic` in `retry`; did you mean `automatic`?"),
    ({"retry": {"automatic": [{"limt": 3}]}}, "`limt` in `retry.automatic`; did you mean `limit`?"),
    ({"retry": {"manual": {"alowed": False}}}, "`alowed` in `retry.manual`; did you mean `allowed`?"),
    ({"depends_on": [{"step": "a", "alow_failure": True}]}, "`alow_failure` in `depends_on`"),
    ({"soft_fail": [{"exit_status": 1, "signal": "x"}]}, "`signal` in `soft_fail`"),
    ({"matrix": {"setup": ["a"], "adjustments": [{"with": "a", "env": {}}]}}, "`env` in `matrix.adjustments`"),
    ({"checkout": {"skp": True}}, "`skp` in `checkout`; did you mean `skip`?"),
    ({"checkout": {"flags": {"clne": "-v"}}}, "`clne` in `checkout.flags`; did you mean `clone`?"),
    ({"secrets": [{"key": "A", "enviroment_variable": "B"}]}, "`enviroment_variable` in `secrets`"),
    ({"notify": [{"webhook": "https://example.test", "iff": "true"}]}, "`iff` in `notify`; did you mean `if`?"),
]


@pytest.mark.parametrize(("members", "words"), STEP_SLIPS)
def test_a_slip_of_the_pen_inside_a_member_is_named(members: dict[str, Any], words: str) -> None:
    plan = expand({"steps": [{"command": "x", **members}]})
    assert len(plan.warnings) == 1
    assert f"nothing comes of {words}" in plan.warnings[0]


def test_slips_in_fields_are_named_and_members_of_steps_at_the_top_too() -> None:
    fields = [{"select": "s", "key": "k", "requird": 1, "options": [{"label": "a", "value": "a", "colour": "b"}]}]
    plan = expand({"steps": [{"block": "x", "fields": fields}], "timeout_in_minutes": 3, "checkout": {"skp": 1}})
    assert plan.warnings == [
        "the pipeline: `timeout_in_minutes` means nothing at the top of a pipeline; it belongs into the steps",
        "the pipeline: nothing comes of `skp` in `checkout`; did you mean `skip`?",
        "step 1: nothing comes of `requird` in `fields`; did you mean `required`?",
        "step 1: nothing comes of `colour` in `fields.options`",
    ]


EVERYTHING: dict[str, dict[str, Any]] = {
    "command": {
        "command": "x",
        "key": "c",
        "label": "l",
        "plugins": [{"docker#v5.0.0": {"image": "a"}}],
        "env": {"A": "b"},
        "agents": {"queue": "q"},
        "allow_dependency_failure": True,
        "artifact_paths": ["a", "b/**"],
        "branches": "main",
        "cancel_on_build_failing": True,
        "checkout": {"skip": True, "flags": {"clone": "-v"}, "sparse": {"paths": ["a"]}},
        "concurrency": 1,
        "concurrency_group": "g",
        "concurrency_method": "eager",
        "depends_on": [{"step": "b", "allow_failure": "true"}, "i"],
        "matrix": {
            "setup": {"os": ["linux"]},
            "adjustments": [{"with": {"os": "linux"}, "soft_fail": [{"exit_status": 3}], "skip": False}],
        },
        "notify": [{"webhook": "https://example.test", "if": "step.outcome == 'passed'"}],
        "parallelism": 2,
        "priority": 3,
        "retry": {
            "automatic": [{"exit_status": [1, "2"], "signal": "*", "signal_reason": "none", "limit": 2}],
            "manual": {"allowed": True, "permit_on_passed": False, "reason": "no"},
        },
        "secrets": {"A": "b"},
        "skip": False,
        "soft_fail": [{"exit_status": "*"}],
        "timeout_in_minutes": 5,
    },
    "wait": {"wait": None, "continue_on_failure": True, "if": "true", "key": "w", "depends_on": "b"},
    "block": {
        "block": "B",
        "key": "b",
        "prompt": "p",
        "blocked_state": "running",
        "branches": "main",
        "fields": [{"text": "t", "key": "t", "hint": "h", "required": False, "default": "d", "format": "[a-z]+"}],
    },
    "input": {
        "input": "I",
        "key": "i",
        "fields": [{"select": "s", "key": "s", "multiple": True, "options": [{"label": "a", "value": "a"}]}],
        "allow_dependency_failure": False,
        "if": "build.branch == 'main'",
    },
    "trigger": {
        "trigger": "other",
        "key": "t",
        "label": "l",
        "async": True,
        "branches": "main",
        "build": {"message": "m", "commit": "HEAD", "branch": "b", "meta_data": {"a": "b"}, "env": {"A": "b"}},
        "soft_fail": True,
        "skip": "",
        "notify": [{"webhook": "https://example.test"}],
        "cancel_on_build_failing": True,
        "depends_on": None,
    },
    "group": {"group": "G", "key": "g", "if": "true", "depends_on": ["c"], "steps": [{"command": "y"}]},
}


def test_every_documented_member_that_is_honoured_is_taken_without_a_word() -> None:
    top = {"env": {"A": "b"}, "agents": {"queue": "q"}, "priority": 1, "secrets": ["S"], "checkout": {"depth": 1}}
    plan = expand({"steps": list(EVERYTHING.values()), **top, "notify": [{"webhook": "https://example.test"}]})
    assert plan.warnings == []
    assert [step.kind for step in plan.steps] == [*EVERYTHING, "command"]


NOT_HONOURED: list[tuple[str, dict[str, Any]]] = [
    ("command", {"cache": ["a"]}),
    ("command", {"image": "alpine"}),
    ("command", {"if_changed": "a/**"}),
    ("command", {"notify": ["github_check"]}),
    ("command", {"notify": [{"slack": {"channels": ["#a"], "message": "m"}}]}),
    ("command", {"notify": [{"basecamp_campfire": "https://example.test"}]}),
    ("command", {"notify": [{"github_commit_status": {"context": "c"}}]}),
    ("block", {"allowed_teams": ["a"]}),
    ("block", {"notify": [{"webhook": "https://example.test"}]}),
    ("input", {"allowed_teams": "a"}),
    ("trigger", {"retry": {"automatic": True}}),
    ("trigger", {"parallelism": 2}),
    ("group", {"notify": [{"email": "a@example.test"}]}),
    ("group", {"agents": {"queue": "q"}}),
    ("", {"notify": [{"email": "a@example.test"}]}),
    ("", {"notify": [{"pagerduty_change_event": "x"}]}),
    ("", {"image": "alpine"}),
    ("", {"cache": {"paths": ["a"]}}),
]


@pytest.mark.parametrize(("kind", "members"), NOT_HONOURED)
def test_every_documented_member_that_is_not_honoured_is_named_once(kind: str, members: dict[str, Any]) -> None:
    steps = [{**EVERYTHING[kind], **members}] if kind else [{"command": "x"}]
    plan = expand({"steps": steps, **({} if kind else members)})
    assert len(plan.warnings) == 1
    assert plan.warnings[0].startswith("step 1 (" if kind else "the pipeline: ")
    name = next(iter(members))
    assert f"`{name}`" in plan.warnings[0] or f"{name} 1: " in plan.warnings[0]


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"soft_fail": [{"exit_statuss": 1}]}, "needs `exit_status`"),
        ({"matrix": {"setup": ["a"], "adjustments": [{"with": "a", "soft_fail": 3}]}}, "`soft_fail` must be"),
        (
            {"depends_on": [{"step": "a", "allow_failure": "maybe"}]},
            "`depends_on.allow_failure` must be true or false",
        ),
        ({"artifact_paths": {"a": "b"}}, "`artifact_paths` must be text or a list of text"),
        ({"artifact_paths": ["a", 3]}, "`artifact_paths` must be text or a list of text"),
    ],
)
def test_what_would_mean_the_opposite_is_refused(members: dict[str, Any], words: str) -> None:
    with pytest.raises(MalformedInput, match=words) as error:
        expand({"steps": [{"command": "x", **members}]})
    assert error.value.code == "upload.step"


def test_a_matrix_forgives_one_of_its_combinations(running: RunningServer) -> None:
    matrix = {"setup": ["good", "flaky"], "adjustments": [{"with": "flaky", "soft_fail": [{"exit_status": 3}]}]}
    build_of(running, {"steps": [{"command": "{{matrix}}", "matrix": matrix}]})
    agent = FakeAgent(running.api)
    for _ in range(2):
        job = agent.take()
        flaky = job.assignment["matrix_permutation"] == {"": "flaky"}
        assert job.finish(3 if flaky else 0).status == 200
    assert running.api.wait_build("passed", "failed")["state"] == "passed"


def test_a_matrix_forgives_nothing_else(running: RunningServer) -> None:
    matrix = {"setup": {"a": ["1", "2"]}, "adjustments": [{"with": {"a": "2"}, "soft_fail": False}]}
    build_of(running, {"steps": [{"command": "x", "matrix": matrix, "soft_fail": True}]})
    agent = FakeAgent(running.api)
    states = {}
    for _ in range(2):
        job = agent.take()
        states[job.assignment["matrix_permutation"]["a"]] = job.id
        assert job.finish(1).status == 200
    build = running.api.wait_build("passed", "failed")
    assert build["state"] == "failed"
    assert {job["id"]: job["soft_failed"] for job in build["jobs"]} == {states["1"]: True, states["2"]: False}


@pytest.mark.parametrize(("secrets", "ok"), [("[]", True), ("~", True), ("[3]", False), ("text", False)])
def test_secrets_of_the_pipeline_are_checked(running: RunningServer, secrets: str, ok: bool) -> None:
    agent_job = job_of(running)
    value = {"[]": [], "~": None, "[3]": [3], "text": "text"}[secrets]
    answer = agent_job.upload({"secrets": value, "steps": [{"command": "x"}]})
    assert answer.status == (200 if ok else 422), answer.json


def job_of(running: RunningServer) -> Any:
    """A running job."""
    build_of(running, "steps: [{command: x}]")
    return FakeAgent(running.api).take()


@pytest.mark.parametrize(
    ("said", "variables"),
    [
        (None, {}),
        ("Ada Example", {"BUILDKITE_UNBLOCKER": "Ada Example"}),
        (
            "ada@example.test",
            {"BUILDKITE_UNBLOCKER": "ada@example.test", "BUILDKITE_UNBLOCKER_EMAIL": "ada@example.test"},
        ),
        (
            "01A2138F-be0d-7ac0-991d-a0b2c3607f51",
            {
                "BUILDKITE_UNBLOCKER": "01a2138f-be0d-7ac0-991d-a0b2c3607f51",
                "BUILDKITE_UNBLOCKER_ID": "01a2138f-be0d-7ac0-991d-a0b2c3607f51",
            },
        ),
    ],
)
def test_jobs_behind_a_block_know_who_let_them_pass(
    running: RunningServer, said: str | None, variables: dict[str, str]
) -> None:
    steps = "steps: [{command: a, env: {BUILDKITE_UNBLOCKER_TEAMS: t}}, {block: go, key: go}, {command: b}]"
    build = build_of(running, steps)
    agent = FakeAgent(running.api)
    assert unblockers(agent.run().env) == {}
    path = f"/pipelines/demo/builds/1/jobs/{find_job(build, 'go')['id']}/unblock"
    assert running.api.rest("PUT", path, {} if said is None else {"unblocker": said}).status == 200
    assert unblockers(agent.run().env) == variables
    gate = find_job(running.api.build(), "go")
    assert gate["unblocked_at"] == gate["finished_at"] is not None
    shown = None if gate["unblocked_by"] is None else {value for value in gate["unblocked_by"].values() if value}
    assert shown == (None if said is None else {said if " " in said else said.lower()})


def unblockers(env: dict[str, str]) -> dict[str, str]:
    """What a job hears of who unblocked."""
    return {
        name: value
        for name, value in env.items()
        if name in ("BUILDKITE_UNBLOCKER", "BUILDKITE_UNBLOCKER_EMAIL", "BUILDKITE_UNBLOCKER_ID")
    }


def test_whoever_is_signed_in_unblocks_in_their_own_name(running: RunningServer) -> None:
    build = build_of(running, "steps: [{block: go, key: go}, {command: b}]")
    maria = first_owner(running)
    path = f"/v2/organizations/local/pipelines/demo/builds/1/jobs/{find_job(build, 'go')['id']}/unblock"
    answer = maria.ask("PUT", path, {"unblocker": "Somebody Else"})
    assert answer.status == 200, answer.json
    assert unblockers(FakeAgent(running.api).run().env) == {
        "BUILDKITE_UNBLOCKER": "Maria",
        "BUILDKITE_UNBLOCKER_ID": maria.account()["id"],
    }


@pytest.mark.parametrize("said", ["x" * 501, "two\nlines", 3])
def test_who_unblocks_is_one_short_line(running: RunningServer, said: object) -> None:
    build = build_of(running, "steps: [{block: go, key: go}]")
    path = f"/pipelines/demo/builds/1/jobs/{find_job(build, 'go')['id']}/unblock"
    assert running.api.rest("PUT", path, {"unblocker": said}).status == 422
    gate = find_job(running.api.build(), "go")
    assert (gate["state"], gate["unblocked_by"], gate["unblocked_at"]) == ("blocked", None, None)


def test_a_step_tells_its_webhooks_how_its_jobs_ended(running: RunningServer, receiver: Receiver) -> None:
    bad = f"{receiver.url}&bad"
    steps = [
        {
            "command": "a",
            "key": "a",
            "retry": {"automatic": {"exit_status": 7, "limit": 1}},
            "notify": [
                {"webhook": receiver.url},
                {"webhook": bad, "if": 'step.outcome == "hard_failed" && step.key == "a"'},
                {"slack": "#x"},
            ],
        },
        {"command": "b", "key": "b", "notify": [{"webhook": bad, "if": 'step.outcome == "hard_failed"'}]},
        {"block": "c", "key": "c", "notify": [{"webhook": receiver.url}]},
    ]
    build = build_of(running, {"steps": steps})
    assert build["warnings"] == [
        "step 1 (a): notify 3: this server sends webhooks only, nothing to 'slack'",
        "step 3 (c): `notify` is heard in command and trigger steps and at the top of the pipeline, not here",
    ]
    agent = FakeAgent(running.api)
    statuses = {"a": [7, 1], "b": [0]}  # the first is repeated, so nothing is told of it
    failed = None
    for _ in range(3):
        job = agent.take()
        key = job.assignment["step"]["key"]
        assert job.finish(statuses[key].pop(0)).status == 200
        failed = job if key == "a" else failed
    assert failed is not None
    until(lambda: len(receiver.requests) == 2, "two webhooks")
    bodies = [json.loads(body) for _, body in receiver.requests]
    assert {(body["event"], body["job"]["step_key"], body["job"]["exit_status"]) for body in bodies} == {
        ("job.finished", "a", 1),
    }
    assert {body["job"]["id"] for body in bodies} == {failed.id}
    assert bodies[0]["build"]["number"] == 1
    assert receiver.requests[0][0]["x-buildkite-event"] == "job.finished"


@pytest.mark.parametrize("detached", [False, True])
def test_a_trigger_step_tells_its_webhooks_too(running: RunningServer, receiver: Receiver, detached: bool) -> None:
    running.api.create_pipeline("steps: [wait]", slug="other")
    trigger = {"trigger": "other", "key": "t", "async": detached, "notify": [{"webhook": receiver.url}]}
    build_of(running, {"steps": [trigger]})
    running.api.wait_build("passed")
    until(lambda: len(receiver.requests) == 1, "the webhook")
    body = json.loads(receiver.requests[0][1])
    assert (body["event"], body["job"]["type"], body["job"]["state"]) == ("job.finished", "trigger", "passed")
    assert body["job"]["triggered_build"]["number"] == 1


@pytest.mark.parametrize(
    ("notify", "words"),
    [
        ([{"webhook": 3}], "`webhook` must be a URL"),
        ([{"webhook": "https://example.test", "if": "pipeline.started_failing"}], "is not known in the condition"),
        ([{"webhook": "ftp://example.test"}], "ftp"),
        ([3], "an entry must be a mapping"),
    ],
)
def test_the_notify_of_a_step_is_checked(running: RunningServer, notify: list[Any], words: str) -> None:
    answer = job_of(running).upload({"steps": [{"command": "x", "key": "k", "notify": notify}]})
    assert answer.status == 422
    assert words in answer.json["message"]
    assert "step 1 (k)" in answer.json["message"]

"""Reading steps: what may retry, which agent fits, what is soft, how a pipeline expands."""

from __future__ import annotations

import json
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeseal.controlplane.domain.agents import matches, meta_data_variables, read_rules, read_tags, render_tags
from pipeseal.controlplane.domain.environment import artifact_paths
from pipeseal.controlplane.domain.expand import BuildFacts, Expansion, Plan
from pipeseal.controlplane.domain.identifiers import SLUG, UUID, make_id, make_slug
from pipeseal.controlplane.domain.job import JobState
from pipeseal.controlplane.domain.limits import Limits
from pipeseal.controlplane.domain.members import step_kind
from pipeseal.controlplane.domain.retry import Ending, check_retry, check_soft_fail, is_soft, read_manual, wants_retry
from pipeseal.controlplane.domain.tokens import derive_job_token, digest_token, make_token
from pipeseal.controlplane.domain.uploaded_members import StepMembers
from pipeseal.controlplane.services.plan_pipeline import inherit_secrets
from pipeseal.errors import MalformedInput
from pipeseal.pipeline.commandstep import parse_command_step
from pipeseal.pipeline.matrix import interpolate_matrix


def expand(pipeline: Any, limits: Limits | None = None, branch: str = "main") -> Plan:
    text = pipeline if isinstance(pipeline, bytes) else json.dumps(pipeline).encode()
    expansion = Expansion(
        limits=limits or Limits(),
        facts=BuildFacts(branch=branch),
        parse_step=parse_command_step,
        interpolate=interpolate_matrix,
        inherit_secrets=inherit_secrets,
    )
    return expansion.expand(text)


@pytest.mark.parametrize(
    ("retry", "ending", "tries", "wanted"),
    [
        (None, Ending(1), 0, False),
        ({}, Ending(1), 0, False),
        ({"automatic": True}, Ending(1), 0, True),
        ({"automatic": True}, Ending(1), 1, True),
        ({"automatic": True}, Ending(1), 2, False),
        ({"automatic": True}, Ending(-1, "", "agent_lost"), 0, True),
        ({"automatic": False}, Ending(1), 0, False),
        ({"automatic": {"exit_status": 5}}, Ending(5), 0, True),
        ({"automatic": {"exit_status": 5}}, Ending(4), 0, False),
        ({"automatic": {"exit_status": [4, 5], "limit": 1}}, Ending(4), 1, False),
        ({"automatic": {"exit_status": "*", "limit": "3"}}, Ending(9), 2, True),
        ({"automatic": [{"exit_status": 1, "limit": 0}, {"exit_status": "*"}]}, Ending(1), 0, False),
        ({"automatic": [{"exit_status": 1, "limit": 0}, {"exit_status": "*"}]}, Ending(2), 0, True),
        ({"automatic": {"signal": "kill"}}, Ending(-1, "SIGKILL"), 0, True),
        ({"automatic": {"signal": "SIGTERM"}}, Ending(-1, "SIGKILL"), 0, False),
        ({"automatic": {"signal_reason": "agent_lost"}}, Ending(-1, "", "agent_lost"), 0, True),
        ({"automatic": {"signal_reason": "none"}}, Ending(1), 0, True),
        ({"automatic": {"signal_reason": "none"}}, Ending(-1, "", "agent_stop"), 0, False),
        # A refused job would be refused again.
        ({"automatic": True}, Ending(-1, "", "signature_rejected"), 0, False),
        ({"automatic": {"signal_reason": "signature_rejected"}}, Ending(-1, "", "signature_rejected"), 0, True),
    ],
)
def test_when_a_job_is_retried(retry: Any, ending: Ending, tries: int, wanted: bool) -> None:
    check_retry(retry, "step 1")
    assert wants_retry(retry, ending, tries) is wanted


@pytest.mark.parametrize(
    "retry",
    [5, "x", [], {"automatic": 5}, {"automatic": [5]}, {"automatic": {"limit": 11}}, {"automatic": {"limit": True}},
     {"automatic": {"exit_status": "x"}}, {"automatic": {"exit_status": True}}, {"automatic": {"signal": 9}},
     {"manual": 3}],
)  # fmt: skip
def test_retries_that_cannot_be_read(retry: Any) -> None:
    with pytest.raises(MalformedInput) as error:
        check_retry(retry, "step 1")
    assert error.value.code == "upload.step"
    assert "step 1" in error.value.message


def test_manual_retries_can_be_forbidden() -> None:
    assert read_manual(None, "s").refusal(passed=True) == ""
    assert read_manual({"manual": True}, "s").refusal(passed=True) == ""
    assert "switched off" in read_manual({"manual": False}, "s").refusal(passed=False)
    assert read_manual({"manual": {"allowed": False, "reason": "no"}}, "s").refusal(passed=False) == "no"
    assert read_manual({"manual": {"permit_on_passed": False}}, "s").refusal(passed=False) == ""
    assert "passed" in read_manual({"manual": {"permit_on_passed": False}}, "s").refusal(passed=True)
    for wrong in ("sometimes", {"allowed": 1}, {"permit_on_passed": "x"}, {"reason": 5}):
        with pytest.raises(MalformedInput) as error:
            read_manual({"manual": wrong}, "s")
        assert error.value.code == "upload.step"


@pytest.mark.parametrize(
    ("soft_fail", "status", "soft"),
    [
        (None, 1, False),
        (True, 1, True),
        ("true", 1, True),
        (False, 1, False),
        ([{"exit_status": 3}], 3, True),
        ([{"exit_status": 3}], 4, False),
        ([{"exit_status": "*"}], 4, True),
        ([{"exit_status": [3, 4]}], 4, True),
        ([{"exit_status": -1}], -1, True),
        ([], 1, False),
    ],
)
def test_soft_failures(soft_fail: Any, status: int, soft: bool) -> None:
    check_soft_fail(soft_fail, "step 1")
    assert is_soft(soft_fail, Ending(status)) is soft


TAGS = st.frozensets(st.tuples(st.sampled_from("abq"), st.sampled_from(["1", "2", "true"])), max_size=5)


@given(TAGS, TAGS)
def test_an_agent_fits_when_it_has_every_tag_asked_for(
    wanted: frozenset[tuple[str, str]], has: frozenset[tuple[str, str]]
) -> None:
    tags = read_tags([f"{key}={value}" for key, value in has])
    rules = read_rules([f"{key}={value}" for key, value in wanted], "s")
    assert matches(rules, tags) is (wanted <= has)
    assert matches(read_rules([f"{key}=*" for key, _ in wanted], "s"), tags) is (
        {k for k, _ in wanted} <= {k for k, _ in has}
    )
    assert read_tags(render_tags(tags)) == tags


def test_tags_and_rules_in_all_their_forms() -> None:
    assert read_tags(None) == {("queue", "default")}
    assert read_tags(["docker", " queue = x ", ""]) == {("docker", "true"), ("queue", "x")}
    assert read_rules({"os": "linux", "n": 3, "gpu": True, "x": None}, "s") == (
        ("gpu", "true"),
        ("n", "3"),
        ("os", "linux"),
        ("queue", "default"),
    )
    assert read_rules("queue=q", "s") == (("queue", "q"),)
    unreadable: list[Any] = [5, [{"a": 1}], {"a": []}]
    for wrong in unreadable:
        with pytest.raises(MalformedInput):
            read_rules(wrong, "s")
    assert meta_data_variables(frozenset({("my.tag-x", "v")})) == {"BUILDKITE_AGENT_META_DATA_MY_TAG_X": "v"}


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        ("wait", "wait"), ("waiter", "wait"), ("block", "block"), ("manual", "block"), ("input", "input"),
        ({"command": "x"}, "command"), ({"commands": []}, "command"), ({"plugins": []}, "command"),
        ({"wait": None}, "wait"), ({"trigger": "p"}, "trigger"), ({"group": None, "steps": []}, "group"),
        ({"type": "script", "wait": None}, "command"), ({"type": "wait", "command": "x"}, "wait"),
        ({"command": "x", "wait": None}, "command"),
    ],
)  # fmt: skip
def test_kinds_of_steps(step: Any, kind: str) -> None:
    assert step_kind(step, "step 1") == kind


@pytest.mark.parametrize(
    "step", ["make", {}, {"type": "magic"}, {"type": None, "command": "x"}, 5, None, [], "command"]
)
def test_what_is_no_step(step: Any) -> None:
    with pytest.raises(MalformedInput) as error:
        step_kind(step, "step 1")
    assert error.value.code == "upload.step"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
MEMBERS = st.sampled_from(
    [*sorted(StepMembers.__struct_fields__), "if", "env", "plugins", "type", "wait", "cache", "checkout"]
)


@given(st.lists(st.dictionaries(MEMBERS, JSON, max_size=4), max_size=3), JSON)
def test_only_our_errors_come_of_any_pipeline(steps: list[dict[str, Any]], env: Any) -> None:
    for number, step in enumerate(steps):
        if number % 2 == 0:
            step["command"] = "x"
    try:
        plan = expand({"steps": steps, "env": env})
    except MalformedInput as error:
        assert error.message
    else:
        assert all(job.state in JobState for step in plan.steps for job in step.jobs)


@given(st.binary(max_size=200))
def test_only_our_errors_come_of_any_bytes(data: bytes) -> None:
    try:
        expand(data)
    except MalformedInput as error:
        assert error.code == "request.malformed"


@given(
    st.dictionaries(
        st.sampled_from(["a", "b", "c"]),
        st.lists(st.sampled_from("123"), min_size=1, max_size=3, unique=True),
        min_size=1,
    ),
    st.integers(1, 3),
)
def test_a_matrix_times_parallelism_is_every_combination_once(setup: dict[str, list[str]], parallel: int) -> None:
    step = {"command": "x", "matrix": {"setup": setup}, "parallelism": parallel}
    jobs = expand({"steps": [step]}).steps[0].jobs
    expected = parallel
    for values in setup.values():
        expected *= len(values)
    assert len(jobs) == expected
    assert len({(tuple(sorted((job.matrix or {}).items())), job.parallel_index) for job in jobs}) == expected
    for job in jobs:
        interpolate_matrix(parse_command_step(json.dumps(step)), job.matrix or {})


def test_a_matrix_that_would_burst_is_refused_before_it_is_made() -> None:
    setup = {name: [str(n) for n in range(30)] for name in string.ascii_lowercase}
    with pytest.raises(MalformedInput) as error:
        expand({"steps": [{"command": "x", "matrix": {"setup": setup}}]})
    assert error.value.code == "upload.limit"
    with pytest.raises(MalformedInput) as error:
        expand({"steps": [{"command": "x", "parallelism": 999_999}]})
    assert error.value.code == "upload.limit"


def test_groups_may_not_be_nested_without_end() -> None:
    pipeline: Any = {"command": "x"}
    for _ in range(40):
        pipeline = {"group": "g", "steps": [pipeline]}
    with pytest.raises(MalformedInput) as error:
        expand({"steps": [pipeline]})
    assert error.value.code == "upload.step"


def test_steps_are_kept_byte_for_byte() -> None:
    step = b'{ "command" : "a\\u0062", "x":1.50e+1 , "big":123456789012345678901234567890}'
    plan = expand(b'{"steps":[' + step + b',{"group":"g","steps":[' + step + b"]}]}")
    assert [one.content for one in plan.steps if one.kind == "command"] == [step.decode()] * 2
    assert plan.steps[2].parent == 1


def test_what_is_not_honoured_is_said() -> None:
    step = {"command": "x", "notify": [{"slack": "#x"}], "image": None, "cache": False, "retyr": 1}
    plan = expand({"steps": [step, {"trigger": "other", "retry": {"automatic": True}}], "image": "a"})
    assert [warning.split(":")[0] for warning in plan.warnings] == ["the pipeline", "step 1", "step 1", "step 2"]
    assert "`image`" in plan.warnings[0]
    assert (
        "step 1: a command step has no `retyr` here, and nothing comes of it; did you mean `retry`?" in plan.warnings
    )
    assert plan.steps[1].jobs[0].state is JobState.WAITING


def test_a_skipped_group_skips_what_is_in_it() -> None:
    plan = expand({"steps": [{"group": "g", "skip": "why", "steps": [{"command": "x"}, "wait"]}]})
    assert [job.state for step in plan.steps for job in step.jobs] == [JobState.SKIPPED, JobState.SKIPPED]


@pytest.mark.parametrize(("value", "text"), [("a;b", "a;b"), (["a", "b/**"], "a;b/**"), (None, ""), (5, "")])
def test_artifact_paths(value: Any, text: str) -> None:
    assert artifact_paths(value) == text


@given(st.floats(0, 2**40), st.binary(min_size=10, max_size=10))
def test_identifiers_are_uuids_in_order_of_time(now: float, random: bytes) -> None:
    text = make_id(now, lambda _size: random)
    assert UUID.fullmatch(text)
    assert text[14] == "7"
    assert text[19] in "89ab"
    assert int(text[:8] + text[9:13], 16) == int(now * 1000) & 0xFFFF_FFFF_FFFF


@given(st.text(max_size=40))
def test_slugs(name: str) -> None:
    slug = make_slug(name)
    assert slug == "" or SLUG.fullmatch(slug)


def test_tokens() -> None:
    token = make_token("psag_", lambda size: bytes(range(size)))
    assert token.startswith("psag_")
    assert len(token) == 5 + 43
    assert len(digest_token(token)) == 64
    secret = bytes(32)
    tokens = {derive_job_token(secret, job, agent) for job in ("j1", "j2") for agent in ("a1", "a2")}
    assert len(tokens) == 4
    assert derive_job_token(secret, "j1", "a1") in tokens
    assert derive_job_token(bytes([1] * 32), "j1", "a1") not in tokens

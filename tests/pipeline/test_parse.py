"""From text to pipelines: kinds, members, coercions, what falls back, warnings and errors with their place."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeseal.errors import MalformedInput, render_error
from pipeseal.pipeline.parse import MAX_WARNINGS, parse_all, parse_checkout, parse_command_step, parse_pipeline
from pipeseal.pipeline.render import render_json, step_value
from pipeseal.pipeline.steps import (
    Adjustment,
    Cache,
    Checkout,
    CommandStep,
    GroupStep,
    InputStep,
    Matrix,
    Pipeline,
    Plugin,
    Secret,
    Signature,
    Step,
    TriggerStep,
    UnknownStep,
    WaitStep,
)
from tests.pipeline.texts import soup


def _step(text: str) -> Step:
    return parse_pipeline(f"steps: [{text}]").steps[0]


@pytest.mark.parametrize(
    ("text", "step"),
    [
        ("wait", WaitStep("wait")),
        ("manual", InputStep("manual")),
        ("{wait: ~, if: x}", WaitStep(None, {"wait": None, "if": "x"})),
        ("{block: b}", InputStep(None, {"block": "b"})),
        ("{trigger: t}", TriggerStep({"trigger": "t"})),
        ("{command: a}", CommandStep(command="a")),
        ("{commands: [a, 1, ~, 2.50]}", CommandStep(command="a\n1\n\n2.5")),
        ("{command: a, commands: b}", CommandStep(command="b")),
        ("{command: ~}", CommandStep()),
        ("{plugins: ~}", CommandStep()),
        ("{script: a, command: b}", CommandStep(command="b", rest={"script": "a"})),
        ("{type: script}", CommandStep(rest={"type": "script"})),
        ("{type: wait, command: x}", WaitStep(None, {"type": "wait", "command": "x"})),
        ("{command: a, id: I, identifier: D}", CommandStep(command="a", key="I", rest={"identifier": "D"})),
        ("{command: a, name: N, label: L}", CommandStep(command="a", label="L", rest={"name": "N"})),
        ("{command: a, env: {A: 1e6, B: ~, C: true}}", CommandStep("a", env={"A": "1e+06", "B": "", "C": "true"})),
        (
            "{plugins: [{p#1: {z: [], a: {y: 1, b: 2}}, q: ~}, r]}",
            CommandStep(plugins=[Plugin("p#1", {"a": {"b": 2, "y": 1}, "z": []}), Plugin("q"), Plugin("r")]),
        ),
        ("{plugins: {b: 1, a: 2}}", CommandStep(plugins=[Plugin("b", 1), Plugin("a", 2)])),
        (
            "{command: a, secrets: [A, {key: k, environment_variable: E, x: 1}, {key: l}]}",
            CommandStep("a", secrets=[Secret("A", "A"), Secret("k", "E"), Secret("l")]),
        ),
        ("{command: a, secrets: {E: k}}", CommandStep("a", secrets=[Secret("k", "E")])),
        ("{command: a, matrix: [x, 1, ~]}", CommandStep("a", matrix=Matrix({"": ["x", "1", ""]}))),
        (
            "{command: a, matrix: {setup: {os: x, n: ~},"
            " adjustments: [{with: {os: 1}, skip: 0, e: f}, ~, {with: y}]}}",
            CommandStep(
                "a",
                matrix=Matrix(
                    {"os": ["x"], "n": None},
                    [Adjustment({"os": "1"}, 0, {"e": "f"}), None, Adjustment({"": "y"})],
                ),
            ),
        ),
        ("{command: a, matrix: {}}", CommandStep("a", matrix=Matrix(None))),
        (
            "{command: a, checkout: {skip: true, ssh_secret: 5, depth: 3, x: 1}}",
            CommandStep("a", checkout=Checkout(skip=True, ssh_secret="5", depth=3, rest={"x": 1})),
        ),
        ("{command: a, cache: p}", CommandStep("a", cache=Cache(paths=["p"]))),
        ("{command: a, cache: false}", CommandStep("a", cache=Cache(disabled=True))),
        ("{command: a, cache: {size: 1, x: y}}", CommandStep("a", cache=Cache(size="1", rest={"x": "y"}))),
        (
            "{command: a, signature: {algorithm: 1, signed_fields: command, value: v, x: y}}",
            CommandStep("a", signature=Signature("1", ["command"], "v")),
        ),
        ("{command: a, signature: {}}", CommandStep("a", signature=Signature("", None, ""))),
        ("{command: a, signature: ~}", CommandStep("a")),
        (
            "{group: ~, key: g, steps: [wait, {group: H}], if: x}",
            GroupStep(None, "g", [WaitStep("wait"), GroupStep("H")], {"if": "x"}),
        ),
        ("{type: group, label: L}", GroupStep("L", rest={"type": "group"})),
    ],
)
def test_steps(text: str, step: Step) -> None:
    assert _step(text) == step


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("nope", "the step `nope` is not one of wait, waiter, block, input and manual"),
        ("{mystery: 1}", "the step has none of the members"),
        ("{type: rocket, command: x}", "the step's type `rocket` is not known"),
        ("{command: {a: b}}", "`command` is a mapping, and text or a list of text is wanted"),
        ("{command: [[a]]}", "`command[0]` is a list, and text is wanted"),
        ("{commands: a, command: [b]}", "`command` is a list, and text is wanted"),
        ("{command: a, label: [x]}", "`label` is a list, and text is wanted"),
        ("{command: a, env: [A=1]}", "`env` is a list, and a mapping is wanted"),
        ("{command: a, env: {D: 2024-01-02}}", "`D` is a date (quote it to make it text), and text is wanted"),
        ("{command: 9223372036854775808}", "`command` is a number beyond 64 bits signed"),
        ("{plugins: docker}", "`plugins` is text, and a list of plugins is wanted"),
        ("{plugins: [1]}", "`plugins[0]` is a whole number, and a plugin is text or a mapping"),
        ("{command: a, secrets: ~}", "`secrets` is null"),
        ("{command: a, secrets: {E: ''}}", "`E` is empty"),
        ("{command: a, secrets: {'': k}}", "a secret is for a variable without a name"),
        ("{command: a, secrets: {E: 1}}", "`E` is a whole number"),
        ("{command: a, secrets: [{key: ''}]}", "`key` of `secrets[0]` is empty"),
        ("{command: a, secrets: [{key: a, environment_variable: 1}]}", "`environment_variable` of `secrets[0]`"),
        ("{command: a, secrets: [1]}", "`secrets[0]` is a whole number"),
        ("{command: a, checkout: true}", "`checkout` is a boolean, and a mapping is wanted: write"),
        ("{command: a, checkout: none}", "`checkout` is text, and a mapping is wanted"),
        ("{command: a, checkout: {skip: 'true'}}", "`skip` is text, and true or false is wanted"),
        ("{command: a, checkout: {depth: 5.0}}", "`depth` is a number with a fraction, and a whole number is wanted"),
        ("{command: a, cache: 5}", "`cache` is a whole number"),
        ("{command: a, signature: [x]}", "`signature` is a list, and a mapping is wanted"),
        ("{command: a, matrix: 1}", "`matrix` is a whole number"),
        ("{command: a, matrix: {setup: ~}}", "`setup` is null"),
        ("{command: a, matrix: {adjustments: x}}", "`adjustments` is text, and a list is wanted"),
        ("{command: a, matrix: {adjustments: [x]}}", "`adjustments[0]` is text, and a mapping is wanted"),
        ("{command: a, matrix: {adjustments: [{with: 1.5}]}}", "`with` is a number with a fraction"),
        ("{command: a, matrix: {adjustments: [{with: {a: ~}}]}}", "`a` is null"),
        ("{group: {a: b}}", "`group` is a mapping, and text is wanted"),
        ("{group: g, steps: [{mystery: 1}]}", "the step has none of the members"),
        ("{group: g, steps: x}", "`steps` is text, and a list of steps is wanted"),
        ("{group: g, steps: [1]}", "a step is a whole number, and text or a mapping is wanted"),
        ("{command: a, '': {b: c}}", "`` is a mapping, and text is wanted"),
    ],
)
def test_what_does_not_fit_becomes_an_unknown_step_with_a_warning(text: str, reason: str) -> None:
    pipeline = parse_pipeline(f"steps:\n  - wait\n  - {text}\n", source="p.yml")
    step = pipeline.steps[1]
    assert isinstance(step, UnknownStep) and reason in step.reason
    (warning,) = pipeline.warnings
    assert (
        warning.startswith("p.yml:3:") and f"step 2 is not understood and cannot be signed: {step.reason}" in warning
    )
    assert step_value(step) == step.content


def test_a_group_with_unknown_members_survives_an_unknown_step() -> None:
    pipeline = parse_pipeline("steps: [{group: g, if: x, steps: [{mystery: 1}, {command: a}]}]", source="p.yml")
    (group,) = pipeline.steps
    assert isinstance(group, GroupStep)
    assert [type(step) for step in group.steps] == [UnknownStep, CommandStep]
    assert len(pipeline.warnings) == 1 and pipeline.warnings[0].startswith("p.yml:1:35: ")


def test_members_of_a_pipeline() -> None:
    pipeline = parse_pipeline("env: {B: 1, A: ~}\nsecrets: {E: k}\ncheckout: {skip: true}\nagents: {q: r}\nsteps: []")
    assert pipeline == Pipeline(
        env={"B": "1", "A": ""},
        secrets=[Secret("k", "E")],
        checkout=Checkout(skip=True),
        rest={"agents": {"q": "r"}},
        env_is_set=True,
    )
    assert list(pipeline.env) == ["B", "A"]
    assert parse_pipeline("- wait\n- {command: x}").steps == [WaitStep("wait"), CommandStep("x")]
    assert parse_pipeline("steps: ~").warnings == []
    assert parse_pipeline("env: {}", source="p.yml").warnings == ["p.yml:1:1: the pipeline has no steps"]


@pytest.mark.parametrize(
    ("text", "line", "column", "words"),
    [
        ("just text", 1, 1, "a pipeline is a mapping or a list of steps, and this is text"),
        ("---\n", 2, 1, "this is null"),
        ("steps: 5", 1, 8, "`steps` is a whole number, and a list of steps is wanted"),
        ("steps:\n  - wait\n  - 7", 3, 5, "a step is a whole number, and text or a mapping is wanted"),
        ("- wait\n-", 2, 2, "a step is null, and text or a mapping is wanted"),
        ("steps:\n  - command: x\n    type: ~", 3, 11, "`type` of a step is null, and text is wanted"),
        ("env:\n  - A=1\nsteps: []", 2, 3, "`env` is a list, and a mapping is wanted"),
        ("env:\n  A: {b: c}\nsteps: []", 2, 6, "`A` is a mapping, and text is wanted"),
        ("base: &b\n  A: [x]\nenv:\n  <<: *b\nsteps: []", 2, 6, "`A` is a list, and text is wanted"),
        ("secrets: ~", 1, 10, "`secrets` is null"),
        ("checkout: false", 1, 11, "`checkout` is a boolean"),
    ],
)
def test_what_is_no_pipeline_is_refused_where_it_stands(text: str, line: int, column: int, words: str) -> None:
    with pytest.raises(MalformedInput) as refused:
        parse_pipeline(text, source="p.yml")
    rendered = render_error(refused.value).splitlines()
    assert rendered[0].startswith(f"error[pipeline.malformed]: p.yml:{line}:{column}: ")
    assert words in rendered[0]
    if text.splitlines()[line - 1 : line]:
        assert rendered[1] == f"{line:>5} | {text.splitlines()[line - 1]}"
        assert rendered[2] == f"      | {' ' * (column - 1)}^"


def test_there_is_an_end_to_warnings() -> None:
    pipeline = parse_pipeline("\n".join(f"- s{i}" for i in range(MAX_WARNINGS + 3)), source="p.yml")
    assert len(pipeline.warnings) == MAX_WARNINGS + 1
    assert pipeline.warnings[-1] == "p.yml: 3 more like these"


def test_warnings_are_safe_for_a_terminal() -> None:
    (warning,) = parse_pipeline('steps: ["a\\x1b[31m\\nb"]').warnings
    assert warning.isprintable() and "\\x1b" in warning


def test_all_documents_are_pipelines_of_their_own() -> None:
    text = "steps: [{command: a}]\n---\nsteps: 5\n---\n---\n- x\n...\n---\n- wait\n"
    outcomes = list(parse_all(text, source="p.yml"))
    assert [outcome.code if isinstance(outcome, MalformedInput) else len(outcome.steps) for outcome in outcomes] == [
        1,
        "pipeline.malformed",
        "pipeline.malformed",
        1,
        1,
    ]
    second, fourth = outcomes[1], outcomes[3]
    assert isinstance(second, MalformedInput) and str(second.position) == "p.yml:3:8"
    assert isinstance(fourth, Pipeline) and fourth.warnings[0].startswith("p.yml:6:3: ")
    assert list(parse_all("")) == []
    with pytest.raises(MalformedInput) as refused:
        parse_pipeline("")
    assert refused.value.code == "yaml.empty"


def test_origins_find_places_in_any_document() -> None:
    _, second = parse_all("- wait\n---\nsteps:\n- command:\n  - a\n  - b $X\n", source="p.yml")
    assert isinstance(second, Pipeline) and second.origin is not None
    assert str(second.origin.find(("steps", 0, "command", 1))) == "p.yml:6:5"
    assert str(second.origin.find(("steps", 0, "command", 1), near="$X")) == "p.yml:6:7"
    assert str(second.origin.find(("steps", 0, "nowhere", "at", "all"))) == "p.yml:4:3"
    assert str(second.origin.find(("steps", 9))) == "p.yml:4:1"


# --- the step of a job ------------------------------------------------------------------------------------------


def test_steps_of_jobs_are_json_with_its_number_types() -> None:
    step = parse_command_step(
        b'{"command": [1.0, 1e3, true], "env": {"N": 1e6}, "checkout": {"depth": 5.0}, "command": 7}'
    )
    assert step == CommandStep("7", env={"N": "1000000"}, checkout=Checkout(depth=5))
    assert parse_command_step("null") == CommandStep() == parse_command_step(None)
    assert parse_command_step({"command": "x"}) == CommandStep("x")


def test_empty_lists_of_json_turn_into_null_where_the_reference_loses_them() -> None:
    step = parse_command_step(
        '{"command": "x", "agents": [], "retry": {"a": [[], 1]}, "plugins": [{"p": {"a": []}}], "cache": {"x": []},'
        ' "checkout": {"x": []}, "matrix": {"setup": {"os": []}, "adjustments": [{"with": {"os": "a"}, "skip": [],'
        ' "e": []}], "z": []}}'
    )
    assert render_json(step_value(step)) == (
        '{"agents":null,"cache":{"x":null},"checkout":{"x":null},"command":"x","matrix":{"adjustments":[{"e":null,'
        '"with":{"os":"a"}}],"setup":{"os":[]},"z":null},'
        '"plugins":[{"github.com/buildkite-plugins/p-buildkite-plugin":{"a":[]}}],"retry":{"a":[null,1]}}'
    )
    assert step.matrix is not None and step.matrix.adjustments[0] is not None
    assert step.matrix.adjustments[0].skip == []


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('"wait"', "step.malformed"),
        ("[]", "step.malformed"),
        ('{"command": {}}', "step.malformed"),
        ('{"command": "x", "secrets": null}', "step.malformed"),
        ("{", "json.syntax"),
        ('{"command": 1e400}', "number.range"),
    ],
)
def test_steps_of_jobs_that_are_none_are_refused(text: str, code: str) -> None:
    with pytest.raises(MalformedInput) as refused:
        parse_command_step(text)
    assert refused.value.code == code


def test_repeated_members_of_a_step_can_be_refused() -> None:
    with pytest.raises(MalformedInput) as refused:
        parse_command_step('{"command": "a", "command": "b"}', refuse_duplicates=True)
    assert refused.value.code == "json.duplicate"


def test_checkout_settings_alone() -> None:
    assert parse_checkout('{"skip": true, "x": []}') == Checkout(skip=True, rest={"x": None})
    assert parse_checkout("null") is None
    with pytest.raises(MalformedInput) as refused:
        parse_checkout("true")
    assert refused.value.code == "step.malformed"


# --- whatever the bytes -----------------------------------------------------------------------------------------

_MEMBERS = """
command commands plugins wait block trigger group type key id label name env secrets signature matrix cache checkout
steps setup adjustments with skip depth paths x
"""
members = st.sampled_from([*_MEMBERS.split(), ""])
fragments: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from(
        ["a", "1", "2.5", "~", "true", "2024-01-02", "wait", "''", "9223372036854775808", "!!str 5", "$A"]
    ),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]")
        | st.lists(st.tuples(members, inner), max_size=4).map(
            lambda pairs: f"{{{', '.join(f'{key!r}: {value}' for key, value in pairs)}}}"
        )
    ),
    max_leaves=14,
)


@given(soup | fragments | fragments.map(lambda text: f"steps: [{text}]"))
@settings(max_examples=500, deadline=None)
def test_nothing_but_malformed_input_comes_out(text: str) -> None:
    for outcome in parse_all(text):
        if isinstance(outcome, MalformedInput):
            render_error(outcome)
        else:
            assert all(warning.isprintable() for warning in outcome.warnings)


@given(st.binary(max_size=40) | fragments.map(lambda text: text.replace("'", '"')))
@settings(max_examples=300, deadline=None)
def test_nothing_but_malformed_input_comes_out_of_steps_of_jobs(data: bytes | str) -> None:
    try:
        step = parse_command_step(data)
    except MalformedInput:
        return
    render_json(step_value(step)).encode()

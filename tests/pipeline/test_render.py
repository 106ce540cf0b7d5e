"""Writing steps and pipelines again: member by member, and back to the same values."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeseal.errors import MalformedInput
from pipeseal.pipeline.jsontext import decode_json
from pipeseal.pipeline.parse import parse_command_step, parse_pipeline
from pipeseal.pipeline.render import (
    cache_value,
    matrix_value,
    pipeline_value,
    plugins_value,
    render_json,
    render_yaml,
    step_value,
)
from pipeseal.pipeline.steps import Adjustment, Cache, CommandStep, InputStep, Matrix, Pipeline, Plugin, WaitStep
from pipeseal.pipeline.values import Timestamp
from pipeseal.pipeline.yaml import read_document
from tests.pipeline.texts import exact, scalars, values, words


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (
            '<&>\u2028\u2029\x7f\x1f\b\f\n\r\t"\\/é😀',
            '"\\u003c\\u0026\\u003e\\u2028\\u2029\x7f\\u001f\\b\\f\\n\\r\\t\\"\\\\/é😀"',
        ),
        ({"b": 1, "a": [1.0, 1e21, 1e-7, -0.0, {"c": 2.5}]}, '{"b":1,"a":[1,1e+21,1e-7,-0,{"c":2.5}]}'),
        ([2**64 - 1, -(2**63), 2**53 + 1], "[18446744073709551615,-9223372036854775808,9007199254740993]"),
        ({"t": Timestamp("2024-01-02T00:00:00Z"), "n": None}, '{"t":"2024-01-02T00:00:00Z","n":null}'),
        ({"<": "&"}, '{"\\u003c":"\\u0026"}'),
    ],
)
def test_json(value: Any, text: str) -> None:
    assert render_json(value) == text


def test_json_refuses_what_it_cannot_say() -> None:
    for value in (math.inf, [math.nan], {"a": [Timestamp("2024-01-02T00:00:00+24:00", writable=False)]}):
        with pytest.raises(MalformedInput) as refused:
            render_json(value)
        assert refused.value.code == "value.unwritable"


def test_json_of_the_deepest_values_that_are_read() -> None:
    text = "x: " + "[" * 199 + "1.5" + "]" * 199
    assert render_json(read_document(text)) == '{"x":' + "[" * 199 + "1.5" + "]" * 199 + "}"
    assert read_document(render_yaml(read_document(text))) == read_document(text)


@pytest.mark.parametrize(
    ("matrix", "text"),
    [
        (Matrix({"": ["a"]}), '["a"]'),
        (Matrix({"": []}), '{"setup":{"":[]}}'),
        (Matrix({"": None}), '{"setup":{"":null}}'),
        (Matrix(None), '{"setup":null}'),
        (Matrix({}), '{"setup":{}}'),
        (Matrix({"": ["a"]}, rest={"x": 1}), '{"setup":["a"],"x":1}'),
        (Matrix({"b": ["1"], "a": ["2"]}), '{"setup":{"a":["2"],"b":["1"]}}'),
        (
            Matrix({"": ["a"]}, [Adjustment({"": "a"}, True), Adjustment({}, ""), Adjustment(None, {}), None]),
            '{"adjustments":[{"skip":true,"with":"a"},{"with":{}},{"skip":{},"with":null},null],"setup":["a"]}',
        ),
    ],
)
def test_matrices(matrix: Matrix, text: str) -> None:
    assert render_json(matrix_value(matrix)) == text


def test_small_things() -> None:
    assert step_value(WaitStep()) == "wait"
    assert step_value(InputStep("block")) == "block"
    assert step_value(CommandStep()) == {"command": ""}
    assert cache_value(Cache(disabled=True, name="n")) is False
    assert render_json(pipeline_value(Pipeline())) == '{"steps":[]}'
    assert render_json(pipeline_value(Pipeline(env_is_set=True))) == '{"env":{},"steps":[]}'
    assert render_json(pipeline_value(Pipeline(env={"B": "1", "A": "2"}))) == '{"env":{"B":"1","A":"2"},"steps":[]}'
    # Typed members win over unknown ones that became their namesakes.
    assert render_json(step_value(CommandStep("x", rest={"command": "y", "a": 1}))) == '{"a":1,"command":"x"}'
    assert render_json(plugins_value([Plugin("docker#v1", {}), Plugin("./x", {"a": "<"})])) == (
        '[{"github.com/buildkite-plugins/docker-buildkite-plugin#v1":null},{"./x":{"a":"\\u003c"}}]'
    )


@given(values)
@settings(max_examples=300, deadline=None)
def test_yaml_reads_back_as_the_same_value(value: Any) -> None:
    assert exact(read_document(render_yaml(value))) == exact(value)


@given(
    st.recursive(scalars.filter(lambda item: not isinstance(item, float | Timestamp)), lambda inner: st.lists(inner))
)
@settings(max_examples=200, deadline=None)
def test_json_is_json(value: Any) -> None:
    assert json.loads(render_json(value)) == value
    assert "<" not in render_json(value) and "\u2028" not in render_json(value)


# Sources that are the same in full form, expanded once or twice.
SOURCES = st.sampled_from(["p#1", "acme/x", "./l", "https://host/x.git#v1"])
TEXTS = words.filter(lambda text: "$" not in text)
steps = st.fixed_dictionaries(
    {"command": TEXTS | st.lists(TEXTS, min_size=1, max_size=3)},
    optional={
        "label": TEXTS,
        "key": TEXTS,
        "env": st.dictionaries(words, TEXTS, max_size=3),
        "plugins": st.lists(st.dictionaries(SOURCES, values, max_size=2), max_size=2),
        "secrets": st.lists(st.sampled_from(["A", "B"]), max_size=2),
        "matrix": st.lists(TEXTS, max_size=3)
        | st.just({"setup": {"os": ["a", 1]}, "adjustments": [{"with": {"os": "c"}}]}),
        "checkout": st.fixed_dictionaries(
            {}, optional={"skip": st.booleans(), "depth": st.integers(0, 9), "x": values}
        ),
        "cache": TEXTS | st.just(False),
        "agents": values,
        "retry": values,
    },
)


other_steps = st.sampled_from(
    [
        "wait",
        {"block": "b", "x": 1},
        {"trigger": "t"},
        {"group": "g", "steps": ["wait", {"command": "x"}]},
        {"odd": 1},
    ]
)


@given(st.lists(steps | other_steps, max_size=4), st.dictionaries(words, TEXTS, max_size=3), values)
@settings(max_examples=300, deadline=None)
def test_a_pipeline_written_again_is_read_as_the_same_pipeline(
    members: list[Any], env: dict[str, str], unknown: Any
) -> None:
    first = parse_pipeline(render_yaml({"env": env, "steps": members, "x": unknown}))
    value = pipeline_value(first)
    second = parse_pipeline(render_yaml(value))
    assert exact(pipeline_value(second)) == exact(value)
    assert second.env == first.env == env
    assert [type(step) for step in second.steps] == [type(step) for step in first.steps]


@given(steps)
@settings(max_examples=200, deadline=None)
def test_a_step_written_as_json_is_read_as_the_same_step(members: dict[str, Any]) -> None:
    (step,) = parse_pipeline(render_yaml([{**members, "plugins": [{"./p": members.get("agents")}]}])).steps
    if not isinstance(step, CommandStep):
        return
    text = render_json(step_value(step))
    again = parse_command_step(text)
    # What JSON loses, it loses the first time: numbers change their type, lists without items become null.
    once = render_json(step_value(again))
    assert render_json(step_value(parse_command_step(once))) == once
    assert (again.command, again.env, again.label, again.key, again.secrets) == (
        step.command,
        step.env,
        step.label,
        step.key,
        step.secrets,
    )
    assert decode_json(text) is not None

"""Variables in whole pipelines: where, in which order, and where an error stands."""

from __future__ import annotations

from copy import deepcopy

import pytest
from hypothesis import given, settings

from pipeseal.errors import MalformedInput, render_error
from pipeseal.pipeline.expand import interpolate_pipeline
from pipeseal.pipeline.parse import parse_pipeline
from pipeseal.pipeline.render import pipeline_value, render_json
from pipeseal.pipeline.steps import CommandStep
from tests.pipeline.texts import exact, values


def test_the_env_block_is_folded_in_item_by_item() -> None:
    pipeline = parse_pipeline('env: {A: "$B", B: two, "$K": "$A-$B", B2: "${B}!"}\nsteps: [{command: "$A $B $KK"}]')
    after, variables = interpolate_pipeline(pipeline, {"K": "KK", "B": "run"})
    assert list(after.env.items()) == [("A", "run"), ("B", "two"), ("KK", "run-two"), ("B2", "two!")]
    assert variables == {"K": "KK", "B": "two", "A": "run", "KK": "run-two", "B2": "two!"}
    assert after.steps == [CommandStep("run two run-two")]


def test_the_runtime_can_be_preferred() -> None:
    pipeline = parse_pipeline('env: {PATH: "/x:$PATH", A: pipe}\nsteps: [{command: "$PATH $A"}]')
    after, variables = interpolate_pipeline(pipeline, {"PATH": "/bin"}, prefer_runtime_env=True)
    assert after.env == {"PATH": "/x:/bin", "A": "pipe"}
    assert after.steps == [CommandStep("/bin pipe")]
    assert variables == {"PATH": "/bin", "A": "pipe"}


def test_names_that_become_one() -> None:
    # The new name takes the place of the old, and drops whoever else has it, also one that still waits.
    after, _ = interpolate_pipeline(parse_pipeline('env: {"$K": 1, B: 2, X: 3}\nsteps: []'), {"K": "B"})
    assert list(after.env.items()) == [("B", "1"), ("X", "3")]
    after, _ = interpolate_pipeline(parse_pipeline('env: {B: 2, X: 3, "$K": 1}\nsteps: []'), {"K": "B"})
    assert list(after.env.items()) == [("X", "3"), ("B", "1")]
    after, _ = interpolate_pipeline(parse_pipeline('steps: [{m: {"$K": 1, B: 2, X: 3}}]'), {"K": "B"})
    assert render_json(pipeline_value(after)) == '{"steps":[{"m":{"B":1,"X":3}}]}'


EVERYTHING = """
env: {E: "$V"}
secrets: ["$V"]
checkout: {ssh_secret: "$V", path: "$V"}
agents: {"$V": ["$V", 1]}
steps:
  - command: "$V"
    label: "$V"
    key: "$V"
    env: {"$V": "$V"}
    plugins: [{"$V#1": {"$V": {"$V": ["$V"]}, a: 1}}]
    secrets: ["$V"]
    signature: {algorithm: "$V", signed_fields: ["$V"], value: "$V"}
    matrix: {setup: {"$V": ["$V"]}, adjustments: [{with: {"$V": "$V"}, skip: "$V", "$V": "$V"}], "$V": "$V"}
    cache: {name: "$V", paths: ["$V"], size: "$V", x: "$V"}
    checkout: {ssh_secret: "$V", "$V": "$V"}
    "$V": {"$V": "$V"}
    when: 2024-01-02
  - {wait: "$V", "$V": 1}
  - {block: "$V"}
  - {trigger: "$V", build: {env: {"$V": "$V"}}}
  - group: "$V"
    key: "$V"
    notify: ["$V"]
    steps: [{command: "$V"}]
  - {mystery: "$V", "$V": ["$V"]}
"""


def test_everything_that_is_open_to_variables_and_nothing_else() -> None:
    pipeline = parse_pipeline(EVERYTHING)
    before = deepcopy(pipeline_value(pipeline))
    after, _ = interpolate_pipeline(pipeline, {"V": "v"})
    assert exact(pipeline_value(pipeline)) == exact(before)
    assert render_json(pipeline_value(after)) == (
        '{"agents":{"v":["v",1]},"checkout":{"path":"v","ssh_secret":"$V"},"env":{"E":"v"},'
        '"secrets":[{"environment_variable":"$V","key":"$V"}],"steps":['
        '{"cache":{"name":"v","paths":["v"],"size":"v","x":"$V"},"checkout":{"ssh_secret":"$V","v":"v"},"command":"v",'
        '"env":{"v":"v"},"key":"v","label":"v","matrix":{"adjustments":[{"skip":"$V","v":"v","with":{"v":"v"}}],'
        '"setup":{"v":["v"]},"v":"v"},'
        '"plugins":[{"github.com/buildkite-plugins/v-buildkite-plugin#1":{"a":1,"v":{"v":["v"]}}}],'
        '"secrets":[{"environment_variable":"$V","key":"$V"}],'
        '"signature":{"algorithm":"$V","signed_fields":["$V"],"value":"$V"},"v":{"v":"v"},'
        '"when":"2024-01-02T00:00:00Z"},'
        '{"v":1,"wait":"v"},{"block":"v"},{"build":{"env":{"v":"v"}},"trigger":"v"},'
        '{"group":"v","key":"v","notify":["v"],"steps":[{"command":"v"}]},{"mystery":"v","v":["v"]}]}'
    )


def test_kinds_are_decided_before() -> None:
    after, _ = interpolate_pipeline(parse_pipeline('steps: [{"$C": x}]'), {"C": "command"})
    assert render_json(pipeline_value(after)) == '{"steps":[{"command":"x"}]}'
    assert not isinstance(after.steps[0], CommandStep)


def test_bytes_that_are_no_text_are_replaced_in_the_pipeline_and_kept_among_variables() -> None:
    pipeline = parse_pipeline('env: {A: "${U:0:2}", B: "$A${U:2}"}\nsteps: [{command: "$A $B"}]')
    after, variables = interpolate_pipeline(pipeline, {"U": "hé"})
    assert after.env == {"A": "h\ufffd", "B": "hé"}
    assert variables["A"] == "h\udcc3"
    assert after.steps == [CommandStep("h\ufffd hé")]


def test_variables_that_multiply_are_refused_before_they_fill_memory() -> None:
    lines = ["env:", "  A0: xxxxxxxxxx", *[f'  A{i}: "{f"$A{i - 1}" * 10}"' for i in range(1, 12)], "steps: []"]
    with pytest.raises(MalformedInput) as refused:
        interpolate_pipeline(parse_pipeline("\n".join(lines)), {})
    assert refused.value.code == "input.too_large" and "`env.A7`" in refused.value.message
    large = parse_pipeline("steps: [" + "{command: $A}, " * 100 + "]")
    with pytest.raises(MalformedInput) as refused:
        interpolate_pipeline(large, {"A": "x" * 1_000_000})
    assert refused.value.code == "input.too_large"
    interpolate_pipeline(large, {"A": "x" * 10_000})


@pytest.mark.parametrize(
    ("text", "line", "column", "place"),
    [
        ('env:\n  A: "${"\nsteps: []', 2, 7, "`env.A`: "),
        ("steps:\n  - wait\n  - command: a ${X\n", 3, 16, "`steps[1].command`: "),
        ("steps:\n  - command: |\n      one\n      two ${X?}\n", 4, 11, "`steps[0].command`: "),
        ("steps:\n  - commands:\n      - a\n      - b ${X\n", 4, 11, "`steps[0].command`: "),
        (
            "steps:\n  - group: g\n    steps:\n      - label: ${X=1}\n        command: a",
            4,
            16,
            "`steps[0].steps[0].label`: ",
        ),
        ("steps:\n  - command: a\n    agents:\n      q: ${}\n", 4, 10, "`steps[0].agents`: "),
        ("steps:\n  - block: b\n    x: [1, '${#}']\n", 3, 13, "`steps[0].x`: "),
        ("- wait\n- m: ${V:x}", 2, 6, "`steps[1]`: "),
        ("steps: []\ncheckout: {p: '${'}\n", 2, 16, "`checkout`: "),
        ("steps: []\nnotify: ['${']\n", 2, 11, "`notify`: "),
    ],
)
def test_errors_show_the_line_the_variable_is_on(text: str, line: int, column: int, place: str) -> None:
    with pytest.raises(MalformedInput) as refused:
        interpolate_pipeline(parse_pipeline(text, source="p.yml"), {})
    rendered = render_error(refused.value).splitlines()
    assert f": p.yml:{line}:{column}: {place}" in rendered[0]
    assert rendered[1] == f"{line:>5} | {text.splitlines()[line - 1]}"
    assert rendered[2] == f"      | {' ' * (column - 1)}^"


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("steps:\n  - command: echo $OWN $GIVEN ${BAD}\n", 2, 31),
        ("steps:\n  - command: |\n      echo $$BAD $BAD_NOT\n      echo $BAD\n", 4, 12),
        ("steps:\n  - label: ${BAD:-nothing}\n    command: a", 2, 12),
        ("steps:\n  - label: ${BAD-nothing}\n    command: a", 2, 12),
        ("steps:\n  - label: ${BAD?}\n    command: a", 2, 12),
        ("steps:\n  - label: ${NOT_SET:-${BAD:0:2}}\n    command: a", 2, 23),
        ("env:\n  X: $BAD\nsteps: []", 2, 6),
        ("steps: []\nnotify: [$BAD]", 2, 10),
    ],
)
def test_each_variable_that_is_needed_can_be_checked(text: str, line: int, column: int) -> None:
    def check(name: str) -> None:
        if name == "BAD":
            raise MalformedInput("signer.taint", f"{name} may not be used", evidence={"variable": name})

    text = text if text.startswith("env") else "env: {OWN: '1', BAD_NOT: '2'}\n" + text
    extra = 0 if text.startswith("env:\n") else 1
    with pytest.raises(MalformedInput) as refused:
        interpolate_pipeline(parse_pipeline(text, source="p.yml"), {"GIVEN": "g", "BAD": "b"}, check=check)
    assert refused.value.position is not None
    assert (refused.value.position.line, refused.value.position.column) == (line + extra, column)


def test_what_the_pipeline_sets_itself_and_what_is_escaped_needs_no_check() -> None:
    def check(name: str) -> None:
        raise AssertionError(name)

    pipeline = parse_pipeline('env: {A: one, B: "$A"}\nsteps: [{command: "$B $$C \\\\$D $(e)"}]')
    after, _ = interpolate_pipeline(pipeline, {"A": "other"}, check=check)
    assert after.steps == [CommandStep("one $C $D $(e)")]


@given(values)
@settings(max_examples=200, deadline=None)
def test_expanding_nothing_changes_nothing(value: object) -> None:
    from pipeseal.pipeline.steps import Pipeline, UnknownStep

    def without_dollars(text: str) -> str:
        return text.replace("$", "")

    from pipeseal.pipeline.transform import transform_value

    plain = transform_value(value, without_dollars)
    after, _ = interpolate_pipeline(Pipeline(steps=[UnknownStep(plain)], rest={"x": plain}), {"a": "b"})
    assert exact(after.rest["x"]) == exact(plain)
    step = after.steps[0]
    assert isinstance(step, UnknownStep) and exact(step.content) == exact(plain)

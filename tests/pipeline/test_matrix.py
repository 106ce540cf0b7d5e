"""Which combinations a matrix allows, and putting one into a step."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeseal.errors import MalformedInput, PipesealError, VerificationError
from pipeseal.pipeline.matrix import interpolate_matrix, verify_permutation
from pipeseal.pipeline.steps import Adjustment, Cache, Checkout, CommandStep, Matrix, Plugin, Secret, Signature

SKIPS: list[Any] = ["false", "", 0, 0.0, [], {}]
OS = Matrix({"os": ["linux", "mac"], "arch": ["arm", "amd"]})


def _code(matrix: Matrix | None, permutation: dict[str, str]) -> str:
    with pytest.raises(VerificationError) as refused:
        verify_permutation(matrix, permutation)
    return refused.value.code


@pytest.mark.parametrize(
    ("matrix", "permutation"),
    [
        (None, {}),
        (Matrix(None), {}),
        (Matrix({}), {}),
        (Matrix({"": ["a", "b"]}), {"": "b"}),
        (OS, {"arch": "arm", "os": "mac"}),
        (Matrix({"": ["a"]}, [Adjustment({"": "c"})]), {"": "c"}),
        (Matrix({"": []}, [Adjustment({"": "c"})]), {"": "c"}),
        (Matrix({"": ["a"]}, [Adjustment({"": "a"}, skip=False)]), {"": "a"}),
        (Matrix({"": ["a", "b"]}, [Adjustment({"": "b"}, skip=True)]), {"": "a"}),
    ],
)
def test_allowed(matrix: Matrix | None, permutation: dict[str, str]) -> None:
    verify_permutation(matrix, permutation)


@pytest.mark.parametrize(
    ("matrix", "permutation", "code"),
    [
        (None, {"": "a"}, "matrix.permutation"),
        (Matrix(None), {"": "a"}, "matrix.permutation"),
        (OS, {}, "matrix.permutation"),
        (OS, {"os": "mac"}, "matrix.permutation"),
        (OS, {"os": "mac", "cpu": "arm"}, "matrix.permutation"),
        (OS, {"os": "win", "arch": "arm"}, "matrix.permutation"),
        (Matrix({"os": None}), {"os": ""}, "matrix.permutation"),
        (Matrix({"": ["é"]}), {"": "e\u0301"}, "matrix.permutation"),
        (Matrix({"": ["a"]}, [Adjustment({"": "a"}, skip=True)]), {"": "a"}, "matrix.skipped"),
        *[
            (Matrix({"": ["a"]}, [Adjustment({"": "a"}), Adjustment({"": "a"}, skip)]), {"": "a"}, "matrix.skipped")
            for skip in SKIPS
        ],
        (Matrix({"": ["a"]}, [None]), {"": "a"}, "matrix.adjustment"),
        (Matrix({"": ["a"]}, [Adjustment(None)]), {"": "a"}, "matrix.adjustment"),
        (Matrix({"": ["a"]}, [Adjustment({"x": "a"})]), {"": "a"}, "matrix.adjustment"),
        (Matrix({"": ["a"]}, [Adjustment({"": "b", "x": "a"})]), {"": "a"}, "matrix.adjustment"),
    ],
)
def test_not_allowed(matrix: Matrix | None, permutation: dict[str, str], code: str) -> None:
    assert _code(matrix, permutation) == code


def test_everything_that_takes_values_and_nothing_else() -> None:
    t = "{{matrix}}"
    step = CommandStep(
        command=f"c {t}",
        key=t,
        label=t,
        env={"E": t, t: "v"},
        plugins=[Plugin(f"p-{t}", {f"k{t}": [t, 1, {"n": t}], "a": None})],
        secrets=[Secret(t, t)],
        matrix=Matrix({"": ["z", t]}, rest={"x": t}),
        checkout=Checkout(ssh_secret=t, rest={"path": t}),
        cache=Cache(name=t, paths=[t], size=t, rest={"x": t}),
        signature=Signature(t, [t], t),
        rest={"agents": {t: [t]}, t: 1, "when": 2.5},
    )
    before = deepcopy(step)
    after = interpolate_matrix(step, {"": "z"})
    assert step == before
    assert after == CommandStep(
        command="c z",
        key=t,
        label="z",
        env={"E": "z", t: "v"},
        plugins=[Plugin("p-z", {"a": None, "kz": ["z", 1, {"n": "z"}]})],
        secrets=[Secret(t, t)],
        matrix=Matrix({"": ["z", t]}, rest={"x": t}),
        checkout=Checkout(ssh_secret=t, rest={"path": "z"}),
        cache=Cache(name="z", paths=["z"], size="z", rest={"x": t}),
        signature=Signature(t, [t], t),
        rest={"agents": {"z": ["z"]}, "z": 1, "when": 2.5},
    )
    assert list(after.plugins[0].config) == ["a", "kz"]


@pytest.mark.parametrize(
    ("command", "result"),
    [
        ("{{matrix.os}} {{ matrix.arch }} {{\t\n\f\rmatrix.os}}", "mac arm mac"),
        (
            "{{\vmatrix.os}} {{matrix.}} {{ Matrix.os }} {{matrix.é}}",
            "{{\vmatrix.os}} {{matrix.}} {{ Matrix.os }} {{matrix.é}}",
        ),
        ("{{{matrix.os}}} \\{{matrix.os}} $({{matrix.os}})", "{mac} \\mac $(mac)"),
        ("{{matrix.os", "{{matrix.os"),
    ],
)
def test_tokens(command: str, result: str) -> None:
    step = CommandStep(command, matrix=OS)
    assert interpolate_matrix(step, {"os": "mac", "arch": "arm"}).command == result


@pytest.mark.parametrize("token", ["{{matrix}}", "{{matrix.cpu}}", "{{matrix.os.}}", "{{matrix.OS}}"])
@pytest.mark.parametrize("member", ["command", "label", "env", "rest", "plugins"])
def test_unknown_tokens_fail_the_step_wherever_they_are(token: str, member: str) -> None:
    content: dict[str, Any] = {
        "command": token,
        "label": token,
        "env": {"A": token},
        "rest": {"if": ["x", token]},
        "plugins": [Plugin("p", token)],
    }
    step = CommandStep(matrix=OS, **{member: content[member]})
    with pytest.raises(MalformedInput) as refused:
        interpolate_matrix(step, {"os": "mac", "arch": "arm"})
    assert refused.value.code == "matrix.token"
    assert token in refused.value.message and ("if" if member == "rest" else member) in refused.value.message


def test_values_that_multiply_are_refused_before_they_fill_memory() -> None:
    step = CommandStep("{{matrix}}" * 1_000, matrix=Matrix({"": ["x" * 1_000_000]}))
    with pytest.raises(MalformedInput) as refused:
        interpolate_matrix(step, {"": "x" * 1_000_000})
    assert refused.value.code == "input.too_large"


def test_an_empty_combination_replaces_nothing() -> None:
    step = CommandStep("{{matrix}}")
    assert interpolate_matrix(step, {}) == step
    assert interpolate_matrix(step, {}) is not step


texts = st.text(st.sampled_from("ab{} .matrix"), max_size=12) | st.sampled_from(["{{matrix}}", "{{matrix.a}}", "a"])


@given(
    texts,
    st.dictionaries(st.sampled_from(["", "a", "b"]), st.lists(texts, min_size=1, max_size=3), max_size=2),
    st.data(),
)
def test_values_are_put_in_once_and_never_scanned_again(
    command: str, setup: dict[str, list[str]], data: st.DataObject
) -> None:
    permutation = {dimension: data.draw(st.sampled_from(values)) for dimension, values in setup.items()}
    step = CommandStep(command, matrix=Matrix(dict(setup)))
    try:
        result = interpolate_matrix(step, permutation).command
    except PipesealError as error:
        assert error.code == "matrix.token"
        return
    wanted = command
    if permutation:
        marked = {dimension: f"\x00{index}\x00" for index, dimension in enumerate(permutation)}
        for dimension, mark in marked.items():
            token = f"{{{{matrix.{dimension}}}}}" if dimension else "{{matrix}}"
            wanted = wanted.replace(token, mark)
        for dimension, mark in marked.items():
            wanted = wanted.replace(mark, permutation[dimension])
    if " " not in command:
        assert result == wanted

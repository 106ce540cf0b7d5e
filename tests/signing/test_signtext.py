"""Signing a file: the result says the same plus signatures, and nothing else in the text has changed."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeseal.errors import ConfigurationError, MalformedInput
from pipeseal.pipeline.parse import parse_all
from pipeseal.pipeline.steps import CommandStep, Pipeline
from pipeseal.signing.sign import walk_steps
from pipeseal.signing.signtext import SignedText, sign_text
from pipeseal.signing.verify import verify_step
from tests.signing.material import REPOSITORY, signing_key, verification_keys


def _sign(text: bytes | str, **more: Any) -> SignedText:
    return sign_text(text, source="pipeline.yml", key=signing_key(), repository_url=REPOSITORY, **more)


def _pipelines(text: bytes | str) -> list[Pipeline]:
    found = []
    for outcome in parse_all(text):
        assert isinstance(outcome, Pipeline), outcome
        found.append(outcome)
    return found


def _unsigned(pipeline: Pipeline) -> Pipeline:
    def strip(steps: list[Any]) -> list[Any]:
        return [
            replace(step, signature=None)
            if isinstance(step, CommandStep)
            else replace(step, steps=strip(step.steps))
            if hasattr(step, "steps")
            else step
            for step in steps
        ]

    return replace(pipeline, steps=strip(pipeline.steps))


def _comments(text: str) -> list[str]:
    return [line[line.index("#") :].rstrip() for line in text.splitlines() if "#" in line]


def _check(text: str, signed: SignedText) -> None:
    """The signed text says what the text said, every command step verifies, and every comment is still there."""
    after = _pipelines(signed.text)
    assert after == signed.pipelines
    assert [_unsigned(pipeline) for pipeline in after] == [_unsigned(pipeline) for pipeline in _pipelines(text)]
    for pipeline in after:
        for _, step in walk_steps(pipeline.steps):
            if isinstance(step, CommandStep):
                verify_step(step, env=pipeline.env, repository_url=REPOSITORY, keys=verification_keys())
    if signed.kept:
        assert not Counter(_comments(text)) - Counter(_comments(signed.text))


def _without_signatures(text: str) -> str:
    """The text without what signing wrote in block style."""
    return re.sub(r"^( *)signature:\n(?:\1  (?:algorithm|signed_fields|value): .*\n)+", "", text, flags=re.MULTILINE)


BLOCK = """\
# The pipeline of everything.
env: {TOP: "1"}   # one variable

steps:
  # first
  - label: ":hammer: \\"build\\""  # with a comment
    command: |
      make
      make test

  - command:   make lint
    env:
      A: 'one'
      # inside
    # after the step's members

  - wait

  - group: g
    steps:
      - command: >-
          folded
          text
        # deep
      - command: [a,
                  b]  # over lines
  -
    key: k
    plugins:
      - docker#v5:
          image: x
# the end
notify: []
"""


def test_a_file_keeps_everything_but_gains_signatures() -> None:
    signed = _sign(BLOCK)
    assert signed.kept and signed.signed_steps == 5
    _check(BLOCK, signed)
    assert _without_signatures(signed.text) == BLOCK


def test_signing_twice_changes_only_signatures() -> None:
    once = _sign(BLOCK)
    twice = _sign(once.text)
    assert twice.text == once.text and twice.kept


@pytest.mark.parametrize(
    "text",
    [
        "- command: a",
        "- command: a\n",
        "- command: |\n    a",
        "- command: |+\n    a\n\n\n- command: b\n",
        "- command: |\n    a\n\n\n- command: b\n",
        "steps:\r\n  - command: a\r\n  - command: b # c\r\n",
        "\ufeffsteps:\n- command: é\n- command: 😀\n",
        "---\nsteps: [{command: a}]\n---\n- command: b\n...\n",
        "steps:\n  - command:\n  - command: \n    label: x\n",
        "steps:\n- ? command\n  : a\n",
        "steps:\n- command: a   \n  label: b\t\n",
        "steps:\n- &s\n  command: a\n- *s\n- <<: *s\n  label: y\n",
        "x: &x\n  command: a\nsteps:\n- <<: *x\n  key: k\n- *x\n",
        'steps:\n- "command": a\n  "signature": {algorithm: X, signed_fields: [], value: v}\n',
        "- signature:\n    algorithm: X\n    # kept\n    signed_fields: [a]\n    value: |\n     v\n  command: a\n",
        "steps:\n- command: a\n  signature: ~\n  label: x\n",
        "steps:\n- {command: a}\n- { command: b, }\n- {command: c # }\n  }\n- {label: x, command: }\n- {command}\n",
        '{"steps": [{"command": "a"},\n  {\n    "command": "b"\n  }, {"label": "x", "command": ["c"]}]}\n',
        "steps: []\n",
        "steps:\n- wait\n- block: go\n",
        "# only\n- wait # comments\n",
    ],
)
def test_shapes_that_are_signed_in_place(text: str) -> None:
    signed = _sign(text)
    assert signed.kept
    _check(text, signed)
    _check(text, _sign(text.encode()))


@pytest.mark.parametrize(
    "text",
    [
        "x: &all [{command: a}]\nsteps: *all\n",
        "x: &top {steps: [{command: a}]}\n<<: *top\n",
        "steps: &s\n- command: a\nother: *s\n",
        "steps:\n- &s {command: a}\n- group: g\n  steps: [*s]\nx: *s\n",
        "steps:\n- group: g\n  <<: {steps: [{command: a}]}\n",
    ],
)
def test_shapes_that_are_written_anew(text: str) -> None:
    signed = _sign(text)
    assert not signed.kept
    assert signed.signed_steps >= 1
    after = _pipelines(signed.text)
    assert after == signed.pipelines


def test_json_stays_json() -> None:
    text = '{\n  "steps": [\n    {\n      "command": "a",\n      "label": "é"\n    },\n    {"command": "b"}\n  ]\n}\n'
    signed = _sign(text)
    document = json.loads(signed.text)
    assert [list(step) for step in document["steps"]] == [["command", "label", "signature"], ["command", "signature"]]
    assert '\n      "label": "é",\n      "signature": {' in signed.text


def test_utf_16_is_read_and_utf_8_written() -> None:
    signed = _sign("- command: é\n".encode("utf-16"))
    assert signed.text.startswith("- command: é\n  signature:")


def test_secrets_of_the_pipeline_are_written_into_the_steps() -> None:
    text = (
        "secrets: [P]  # for all\nsteps:\n- command: a # a\n- command: b\n  secrets:\n  - Q # q\n  label: z\n"
        "- {command: c, secrets: [P]}\n"
    )
    signed = _sign(text)
    assert signed.kept
    (pipeline,) = _pipelines(signed.text)
    wanted = [["P"], ["Q", "P"], ["P"]]
    for step, expected in zip(pipeline.steps, wanted, strict=True):
        assert isinstance(step, CommandStep)
        assert [secret.key for secret in step.secrets] == expected
        verify_step(step, env={}, repository_url=REPOSITORY, keys=verification_keys())


@pytest.mark.parametrize(
    "text",
    ["- command: $A\n", "- command: $$A\n", "- command: \\$A\n", "- command: a # ${B}\n", "- command: '${:'\n"],
)
def test_variables_to_expand_are_refused(text: str) -> None:
    with pytest.raises(MalformedInput) as caught:
        _sign(text)
    assert caught.value.code == "signing.interpolation"


def test_dollars_that_are_no_variables_are_not() -> None:
    for text in ("- command: echo $ 5\n", "- command: $(date)\n", "- command: a$\n"):
        assert _sign(text).kept


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "yaml.empty"),
        ("steps: {", "yaml.syntax"),
        ("a: b\nsteps: 5\n", "pipeline.malformed"),
        ("- command: a\n- mystery: 1\n", "signing.unknown_step"),
        ("- command: a\n  plugins: [{x: 9007199254740993}]\n", "number.unsafe"),
        ("---\n- command: a\n---\n- hmm\n", "signing.unknown_step"),
    ],
)
def test_what_cannot_be_signed(text: str, code: str) -> None:
    with pytest.raises(MalformedInput) as caught:
        _sign(text)
    assert caught.value.code == code


def test_bindings_reach_the_steps() -> None:
    signed = _sign("- command: a\n", bindings={"BUILDKITE_PIPELINE_SLUG": "api"})
    assert '"env::BUILDKITE_PIPELINE_SLUG"' in signed.text
    with pytest.raises(ConfigurationError) as caught:
        _sign(
            "env: {BUILDKITE_PIPELINE_SLUG: x}\nsteps: [{command: a}]\n", bindings={"BUILDKITE_PIPELINE_SLUG": "api"}
        )
    assert caught.value.code == "binding.conflict"


# --- any file -------------------------------------------------------------------------------------------------------

_words = st.text("ab é-", min_size=1, max_size=6).map(lambda text: "w" + text.strip())
_comment = st.sampled_from(["", "  # note", "   # é: x"])


@st.composite
def _scalar(draw: st.DrawFn, indent: int) -> str:
    """A scalar in one of YAML's spellings, with what follows it on the line."""
    word, pad = draw(_words), " " * (indent + 2)
    style = draw(
        st.sampled_from(["plain", "single", "double", "literal", "keep", "strip", "folded", "flow", "empty"])
    )
    if style in ("literal", "keep", "strip", "folded"):
        sign = {"literal": "|", "keep": "|+", "strip": "|-", "folded": ">"}[style]
        lines = draw(st.lists(_words, min_size=1, max_size=3))
        blanks = draw(st.sampled_from(["", "\n", "\n\n"]))
        return f" {sign}{draw(_comment)}\n" + "\n".join(pad + line for line in lines) + blanks
    spelled = {"plain": word, "single": f"'{word}'", "double": f'"{word}"', "flow": f"[{word}, {word}]", "empty": ""}
    return f" {spelled[style]}{draw(_comment)}"


@st.composite
def _step(draw: st.DrawFn, indent: int, depth: int = 0) -> list[str]:
    pad = " " * indent
    kind = draw(st.sampled_from(["command", "command", "flow", "wait", "group", "signed"]))
    dash = draw(st.sampled_from(["- ", "-   ", f"-\n{pad}  "])) if kind in ("command", "signed") else "- "
    inner = indent + (len(dash) if "\n" not in dash else 2)
    if kind == "wait":
        return [f"{pad}- wait{draw(_comment)}"]
    if kind == "flow":
        tail = draw(st.sampled_from(["}", " }", ", }", f"\n{pad}  }}", f" # c }}\n{pad}  }}"]))
        return [f"{pad}- {{label: {draw(_words)}, command: {draw(_words)}{tail}{draw(_comment)}"]
    if kind == "group" and depth == 0:
        lines = [f"{pad}- group: {draw(_words)}{draw(_comment)}", f"{pad}  steps:"]
        for _ in range(draw(st.integers(1, 2))):
            lines += draw(_step(indent + 2 + draw(st.integers(0, 2)) * 0, 1))
        return lines
    lead = " " * inner
    members = [f"command:{draw(_scalar(inner))}"]
    if draw(st.booleans()):
        members.append(f"label: {draw(_words)}{draw(_comment)}")
    if draw(st.booleans()):
        members.append(f"env:{draw(_comment)}\n{lead}  A: {draw(_words)}\n{lead}  # inner\n{lead}  B: {draw(_words)}")
    if kind == "signed":
        members.append(
            f"signature:\n{lead}  algorithm: X\n{lead}  signed_fields: [a]\n{lead}  value: v{draw(_comment)}"
        )
    members = list(draw(st.permutations(members)))
    lines = [f"{pad}{dash}{members[0]}", *(lead + member for member in members[1:])]
    if draw(st.booleans()):
        lines.append(draw(st.sampled_from([f"{lead}# below", f"{pad}# left", ""])))
    return lines


@st.composite
def _file(draw: st.DrawFn) -> str:
    lines = ["# head", "env:", "  TOP: one", "steps:"] if draw(st.booleans()) else []
    indent = draw(st.sampled_from([0, 2])) if lines else 0
    for _ in range(draw(st.integers(1, 4))):
        lines += draw(_step(indent))
    if lines[0] == "# head" and draw(st.booleans()):
        lines += ["# tail", "notify: []"]
    text = "\n".join(lines) + draw(st.sampled_from(["\n", "", "\n\n"]))
    return text.replace("\n", draw(st.sampled_from(["\n", "\n", "\r\n"])))


@settings(max_examples=300)
@given(_file())
def test_any_file_says_the_same_and_keeps_its_comments(text: str) -> None:
    try:
        signed = _sign(text)
    except MalformedInput as error:
        # What the generator made is not always a pipeline, and never anything worse.
        assert error.code in ("signing.unknown_step", "yaml.syntax", "pipeline.malformed"), error
        return
    assert signed.kept, text
    _check(text, signed)


@given(st.text("-: \n#{}[]&*!|>'\"%@`,?acdemno$stp", max_size=80) | st.binary(max_size=40))
def test_only_our_families_get_out(text: bytes | str) -> None:
    try:
        _sign(text)
    except MalformedInput:
        pass

"""Generated pipelines: steps from templates with typed holes are signed, and nothing else is."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeseal.errors import MalformedInput, PipesealError, VerificationError
from pipeseal.signer.templates import Hole, Template, is_instance, parse_templates
from tests.signer.workshop import Workshop

GENERATE = "scripts/generate | buildkite-agent pipeline upload"
TEMPLATES = """\
templates:
  shard:
    holes:
      SUITE: {one_of: [unit, slow tests]}
      SHARD: {from: 1, to: 20}
    step:
      key: test-[[SUITE]]-[[SHARD]]
      label: "Test [[SUITE]]"
      command: scripts/test "[[SUITE]]" [[SHARD]] of 20 $TIER
      env: {SHARD: "[[SHARD]]"}
      priority: "[[SHARD]]"
      agents: {queue: test}
  build:
    holes: {TARGET: {pattern: "[a-z-]+(/[a-z-]+)*"}}
    step: {command: "make [[TARGET]].o", plugins: [{./lint: {target: "[[TARGET]]"}}]}
  deploy:
    step: {trigger: deploy, branches: main}
"""
SETTINGS = (
    f'[[upload]]\ncommand = "{GENERATE}"\ntemplates = ".buildkite/templates.yml"\nconstants = {{ TIER = "gold" }}\n'
)


def shard(suite: str = "unit", number: Any = 3, **changes: Any) -> dict[str, Any]:
    step = {
        "key": f"test-{suite}-{number}",
        "label": f"Test {suite}",
        "command": f'scripts/test "{suite}" {number} of 20 gold',
        "env": {"SHARD": f"{number}"},
        "priority": number,
        "agents": {"queue": "test"},
    }
    return {name: value for name, value in {**step, **changes}.items() if value is not None}


def build(target: str) -> dict[str, Any]:
    return {"command": f"make {target}.o", "plugins": [{"./lint": {"target": target}}]}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("templates"), {".buildkite/templates.yml": TEMPLATES}, settings=SETTINGS)


def generated(shop: Workshop, pipeline: Any) -> PipesealError | list[str]:
    """The commands that were signed, or the refusal."""
    job = shop.job(shop.upload_step(GENERATE))
    text = pipeline if isinstance(pipeline, str) else json.dumps(pipeline)
    try:
        return [step.command for step in shop.upload(job, generated=text)]
    except PipesealError as error:
        return error


def test_steps_from_templates_are_signed(shop: Workshop) -> None:
    steps = [shard(), "wait", shard("slow tests", 20), {"group": "g", "steps": [build("lib/core"), {"wait": None}]}]
    assert generated(shop, {"steps": [*steps, {"trigger": "deploy", "branches": "main"}]}) == [
        'scripts/test "unit" 3 of 20 gold',
        'scripts/test "slow tests" 20 of 20 gold',
        "make lib/core.o",
    ]
    # A number may be written as text; what variables stand for is the signer's business on both sides.
    assert generated(shop, {"steps": [shard(command='scripts/test "unit" 3 of 20 $TIER', priority="3")]}) == [
        'scripts/test "unit" 3 of 20 gold'
    ]


@pytest.mark.parametrize(
    "pipeline",
    [
        {"steps": [{"command": "evil"}]},
        {"steps": [shard(), {"command": "evil"}]},
        {"steps": [{"group": "g", "steps": [{"command": "evil"}]}]},
        {"steps": [{"group": "g", "steps": [], "notify": ["x"]}]},
        {"steps": [shard(number=0)]},
        {"steps": [shard(number=21)]},
        {"steps": [shard(number="03")]},
        {"steps": [shard(number="+3")]},
        {"steps": [shard(number="٣")]},
        {"steps": [shard(number="3; evil")]},
        {"steps": [shard("evil")]},
        {"steps": [shard(env={"SHARD": "4"})]},
        {"steps": [shard(env={"SHARD": "3", "LD_PRELOAD": "evil.so"})]},
        {"steps": [shard(env=None)]},
        {"steps": [shard(agents={"queue": "deploy"})]},
        {"steps": [shard(plugins=["evil#v1"])]},
        {"steps": [shard(skip=True)]},
        {"steps": [shard(label="Test unit\nTest unit")]},
        {"steps": [shard(priority=True)]},
        {"steps": [build("a; evil")]},
        {"steps": [build("$(evil)")]},
        {"steps": [build("A")]},
        {"steps": [build("a" * 300)]},
        {"steps": [{**build("a"), "command": "make b.o"}]},
        {"steps": [{"trigger": "evil"}]},
        {"steps": [{"trigger": "deploy", "branches": "main", "build": {"env": {"A": "b"}}}]},
        {"steps": [{"block": "go"}]},
        {"steps": [{"wait": None, "continue_on_failure": True}]},
        {"steps": [shard()], "env": {"PATH": "/evil"}},
        {"steps": [shard()], "agents": {"queue": "deploy"}},
        {"steps": [shard()], "secrets": ["KEY"]},
        {"steps": [shard()], "checkout": {"skip": True}},
        "steps: [wait]\n---\nsteps: [wait]",
        "",
    ],
)
def test_what_is_no_instance_of_a_template_is_refused(shop: Workshop, pipeline: Any) -> None:
    # G10, G11: whatever the generator read, it can say no more than its templates.
    refused = generated(shop, pipeline)
    assert isinstance(refused, VerificationError) and refused.code == "signer.generated", refused


def test_a_generator_cannot_smuggle_in_what_the_server_chose(shop: Workshop) -> None:
    refused = generated(shop, {"steps": [shard(label="$BUILDKITE_MESSAGE")]})
    assert isinstance(refused, MalformedInput) and refused.code == "signer.taint"


def test_a_step_without_templates_generates_nothing(shop: Workshop, tmp_path: Path) -> None:
    plain = Workshop(tmp_path, settings=f'[[upload]]\ncommand = "{GENERATE}"\n')
    refused = generated(plain, {"steps": ["wait"]})
    assert isinstance(refused, VerificationError) and refused.code == "signer.generated"
    # Nor does a step that names a file, whatever comes over its standard input.
    job = plain.job(plain.upload_step())
    assert plain.granted(job).code == "signer.not_upload_step"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("steps: []", "one member"),
        ("templates: {}", "1 to"),
        ("templates: {a: {step: {command: a}, extra: 1}}", "nothing else"),
        ("templates: {a: {step: {command: 'a [[X]]'}}}", "X"),
        ("templates: {a: {step: {command: a}, holes: {X: {one_of: [a]}}}}", "X"),
        ("templates: {a: {step: {command: '[[X]]'}, holes: {X: {}}}}", "one_of"),
        ("templates: {a: {step: {command: '[[X]]'}, holes: {X: {one_of: []}}}}", "one_of"),
        ("templates: {a: {step: {command: '[[X]]'}, holes: {X: {from: 3, to: 1}}}}", "whole numbers"),
        ("templates: {a: {step: {command: '[[X]]'}, holes: {X: {from: true, to: 3}}}}", "whole numbers"),
        ("templates: {a: {step: {command: '[[X]]'}, holes: {X: {pattern: '('}}}}", "regular expression"),
        ("templates: {a: {step: {command: '[[X]]'}, holes: {'X Y': {one_of: [a]}}}}", "name of a hole"),
        (
            "templates: {a: {step: {command: '[[X]][[Y]]'}, holes: {X: {one_of: [a]}, Y: {one_of: [a]}}}}",
            "nothing between",
        ),
        ("templates: {a: {step: {group: g, steps: []}}}", "group"),
        ("a: 1\n---\nb: 1", "one document"),
    ],
)
def test_templates_that_cannot_be_meant_are_refused(text: str, words: str) -> None:
    with pytest.raises(MalformedInput) as refused:
        parse_templates(text.encode(), source="t.yml")
    assert refused.value.code == "signer.templates" and words in refused.value.message


HOLES = {"A": Hole(words=("one", "two words")), "N": Hole(least=-5, most=100)}


@given(st.sampled_from(["one", "two words", "three", "one "]), st.integers(-300, 300) | st.sampled_from(["07", "x"]))
def test_exactly_what_holes_admit_is_an_instance(word: str, number: int | str) -> None:
    template = Template("t", {"command": "run [[A]]/[[N]] [[A]]", "x": ["[[N]]"]}, HOLES)
    honest = word in ("one", "two words") and isinstance(number, int) and -5 <= number <= 100
    assert is_instance({"command": f"run {word}/{number} {word}", "x": [number]}, template) is honest
    assert not is_instance({"command": f"run {word}/{number} {word}!", "x": [number]}, template)
    assert not is_instance({"command": f"run {word}/{number} other", "x": [number]}, template)


def test_no_text_takes_long_to_refuse() -> None:
    import re

    holes = {f"H{n}": Hole(pattern=re.compile("[a-z-]+")) for n in range(20)}
    template = Template("t", "-".join(f"[[{name}]]" for name in holes), holes)
    began = time.process_time()
    assert not is_instance("-" * 20_000, template)
    assert not is_instance("a-" * 10_000, template)
    assert is_instance("-".join("a" for _ in holes), template)
    assert time.process_time() - began < 1

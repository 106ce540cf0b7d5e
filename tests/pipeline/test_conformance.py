"""`pipeseal conformance FAMILY`: a list in, a list out, whatever the cases are."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner

from pipeseal.cli import root


def _run(family: str, cases: Any) -> list[dict[str, Any]]:
    text = cases if isinstance(cases, str) else json.dumps(cases)
    outcome = CliRunner().invoke(root, ["conformance", family], input=text, catch_exceptions=False)
    assert outcome.exit_code == 0, outcome.output
    results: list[dict[str, Any]] = json.loads(outcome.stdout)
    return results


def test_results_come_in_the_order_of_cases_with_the_members_that_apply() -> None:
    results = _run(
        "parse",
        [
            {"name": "good", "area": "x", "input": {"yaml": "steps: [{command: $A}]", "env": {"A": "b"}}},
            {"name": "bad", "area": "x", "input": {"yaml": "steps: 5"}},
            {"name": "unset", "area": "x", "input": {"yaml": "steps: [{command: '${A?}'}]"}},
            {"name": "infinite", "area": "x", "input": {"yaml": "steps: [{command: a, x: .inf}]"}},
            {"name": "base64", "area": "x", "input": {"yaml_b64": "c3RlcHM6IFt3YWl0XQ==", "no_interpolation": True}},
            {"name": "all", "area": "x", "input": {"yaml": "- wait\n---\nx", "all": True}},
        ],
    )
    assert [item["name"] for item in results] == ["good", "bad", "unset", "infinite", "base64", "all"]
    good, bad, unset, infinite, base64, everything = (item["result"] for item in results)
    assert good == {
        "ok": True,
        "json": '{"steps":[{"command":"b"}]}',
        "kinds": ["command"],
        "env_after": {"A": "b"},
    }
    assert [(item["ok"], item["stage"], item["code"]) for item in (bad, unset, infinite)] == [
        (False, "parse", "pipeline.malformed"),
        (False, "interpolate", "interpolation.unset"),
        (False, "marshal", "value.unwritable"),
    ]
    assert base64 == {"ok": True, "json": '{"steps":["wait"]}', "kinds": ["wait"]}
    assert everything["docs"][0] == {"json": '{"steps":["wait"]}'}
    assert everything["docs"][1]["code"] == "pipeline.malformed"


@pytest.mark.parametrize("family", ["parse", "scalars", "interpolate", "matrix", "pluginsource"])
def test_cases_that_cannot_be_read_do_not_take_others_with_them(family: str) -> None:
    strange: list[Any] = [None, 1, [], {}, {"name": "x"}, {"name": "x", "input": 5}, {"name": "x", "input": {}}]
    good = {
        "name": "good",
        "input": {"yaml": "- wait", "text": "a", "env": {}, "step_raw": "{}", "permutation": {}, "source": "a"},
    }
    results = _run(family, [*strange, good])
    assert [item["result"]["ok"] for item in results] == [False] * len(strange) + [True]
    assert results[-1]["name"] == "good"


def test_text_with_half_characters_is_a_case_like_any_other() -> None:
    results = _run("interpolate", '[{"name": "x", "input": {"text": "\\ud800$A", "env": {"A": "\\udfff"}}}]')
    assert results[0]["result"]["result"] == "\ufffd\ufffd"


def test_what_is_no_list_of_cases_is_refused() -> None:
    from pipeseal.errors import MalformedInput

    assert CliRunner().invoke(root, ["conformance", "parse"], input="{}").exit_code == 2
    assert CliRunner().invoke(root, ["conformance", "nonsense"], input="[]").exit_code == 2
    outcome = CliRunner().invoke(root, ["conformance", "parse"], input="[")
    assert isinstance(outcome.exception, MalformedInput) and outcome.exception.code == "json.syntax"

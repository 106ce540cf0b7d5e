"""Every shared vector about reading, interpolating and rendering has the reference's outcome."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeseal.cli.conformance import find_family, run_case
from tests.pipeline.shared_vectors import load_family

# Compared when the vector has them. Where the reference crashes we give an error, at a stage of our own.
PLAIN = ("ok", "kinds", "env_after", "result", "result_b64", "identifiers")


def _document(document: dict[str, Any]) -> tuple[Any, bool]:
    return json.loads(document["json"]) if "json" in document else "refused", "warning" in document


def _differences(expected: dict[str, Any], result: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    found = {
        member: (expected[member], result.get(member))
        for member in PLAIN
        if member in expected and expected[member] != result.get(member)
    }
    if "json" in expected and expected["json"] != result.get("json"):
        found["json"] = (expected["json"], result.get("json"))
    if expected.get("stage") not in (None, "panic") and expected["stage"] != result.get("stage"):
        found["stage"] = (expected["stage"], result.get("stage"))
    if expected.get("ok") and ("warning" in expected) != ("warning" in result):
        found["warning"] = (expected.get("warning"), result.get("warning"))
    if "docs" in expected:
        wanted = [_document(document) for document in expected["docs"] or []]
        given = [_document(document) for document in result.get("docs") or []]
        if wanted != given:
            found["docs"] = (wanted, given)
    if expected.get("ok") is False and not result.get("code"):
        found["code"] = ("a code", result)
    return found


@pytest.mark.parametrize("family", ["parse", "scalars", "interpolate", "matrix", "pluginsource"])
def test_vectors_have_the_outcome_of_the_reference(family: str) -> None:
    run = find_family(family)
    assert run is not None
    cases = load_family(family)
    outcomes = {case["name"]: _differences(case["expect"], run_case(run, case)) for case in cases}
    assert len(outcomes) > 50
    assert {name: differences for name, differences in outcomes.items() if differences} == {}

"""The drill: every attack of the registry against a real agent. Prints how many there were, by group."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeseal.lab.attacks import GROUPS, SCENARIOS
from pipeseal.lab.run import run_all
from pipeseal.lab.score import line_of, summary

CATALOGUE = Path(__file__).resolve().parents[3] / "shared" / "reference" / "attacks.json"
OF_GROUP_K = {"K01", "K02", "K03", "K04", "K05", "K08", "K10"}


@pytest.mark.parametrize("letter", list(GROUPS))
def test_nothing_gets_through(letter: str, tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    scenarios = [scenario for scenario in SCENARIOS if scenario.group == letter]
    results = run_all(tmp_path / "drill", scenarios, lambda _result: None)
    record_property("summary", f"attacks{summary(results, 0)[0]}")
    assert [line_of(result) for result in results if not result.passed] == []


def test_every_attack_of_the_catalogue_is_in_the_registry() -> None:
    if not CATALOGUE.is_file():
        if os.environ.get("PIPESEAL_REQUIRE_PEERS") == "1":
            pytest.fail(f"{CATALOGUE} is missing (PIPESEAL_REQUIRE_PEERS=1 demands it)", pytrace=False)
        pytest.skip(f"the catalogue is not beside the checkout ({CATALOGUE})")
    rows = json.loads(CATALOGUE.read_text("utf-8"))
    wanted = [
        row["id"] for row in rows if row["group"] in GROUPS and (row["group"] != "K" or row["id"] in OF_GROUP_K)
    ]
    assert [scenario.id for scenario in SCENARIOS] == wanted
    actors = {row["id"]: tuple(row["actor"]) for row in rows}
    assert {scenario.id: scenario.actors for scenario in SCENARIOS} == {name: actors[name] for name in wanted}


def test_scenarios_say_what_they_do() -> None:
    for scenario in SCENARIOS:
        assert scenario.title and scenario.change and scenario.happens, scenario.id
        assert scenario.attempts is not None or scenario.play is not None, scenario.id
        assert not scenario.not_yet, scenario.id

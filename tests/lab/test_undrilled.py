"""Attacks that the drill does not try: together with those it tries they are the whole catalogue, and honest."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from pipeseal.errors.codes import CODES
from pipeseal.lab import undrilled
from pipeseal.lab.attacks import GROUPS, SCENARIOS
from pipeseal.lab.scenario import Scenario
from pipeseal.lab.undrilled import UNDRILLED, Standing, Undrilled

ROOT = Path(__file__).resolve().parents[2]
CATALOGUE = ROOT.parent / "shared" / "reference" / "attacks.json"
PAGE = ROOT / "docs" / "security" / "attacks.md"
ALL: tuple[Scenario | Undrilled, ...] = (*SCENARIOS, *UNDRILLED)
# Where what is called refused is shown to be.
SHOWN_BY = {
    "I03": "tests/agent/test_artifacts_transfer.py::test_bytes_go_nowhere_the_operator_did_not_choose",
    "I04": "tests/agent/test_artifacts_paths.py::test_unrequested_paths_are_refused_before_anything_is_written",
    "I05": "tests/agent/test_artifacts_paths.py::test_whatever_the_path_nothing_outside_the_destination_is_touched",
    "I06": "tests/agent/test_artifacts_paths.py::test_links_on_the_way_are_refused_and_links_at_the_end_replaced",
    "I10": "tests/lab/test_undrilled.py::test_claims_of_a_token_are_no_variables_of_the_server",
    "I12": "tests/agent/test_sealed_plugins.py::test_what_a_job_plants_in_a_plugins_clone_is_not_run_by_the_next",
    "I13": "tests/repository/test_resolve.py::test_an_archive_is_no_plugin",
    "I15": "tests/lab/test_undrilled.py::test_no_agent_asks_the_server_for_caches_or_credentials",
    "I16": "tests/policy/test_attacks.py::test_step_attributes_outside_the_signature_are_sealed",
    "I19": "tests/lab/test_undrilled.py::test_no_agent_asks_the_server_for_caches_or_credentials",
}


def test_both_tables_are_the_catalogue() -> None:
    if not CATALOGUE.is_file():
        if os.environ.get("PIPESEAL_REQUIRE_PEERS") == "1":
            pytest.fail(f"{CATALOGUE} is missing (PIPESEAL_REQUIRE_PEERS=1 demands it)", pytrace=False)
        pytest.skip(f"the catalogue is not beside the checkout ({CATALOGUE})")
    rows = json.loads(CATALOGUE.read_text("utf-8"))
    ours = sorted((one.id, one.actors) for one in ALL)
    assert ours == [(row["id"], tuple(row["actor"])) for row in rows]


def test_every_attack_has_a_section_on_the_page() -> None:
    sections = re.findall(r"^### ([A-Z]\d\d): ", PAGE.read_text("utf-8"), re.MULTILINE)
    assert sections == sorted(one.id for one in ALL)
    assert len(sections) == 194


def test_each_says_what_comes_of_it_and_what_to_do() -> None:
    known = {row.code for row in CODES}
    for one in UNDRILLED:
        assert one.title and one.change and one.happens and one.limits and one.meanwhile, one.id
        assert set(one.codes) <= known, one.id
        assert one.group in {**GROUPS, **undrilled.GROUPS}, one.id
        assert one.standing is not Standing.OPEN or not one.codes, f"{one.id} succeeds, and names a refusal"


def test_what_is_called_refused_is_shown_to_be() -> None:
    assert sorted(SHOWN_BY) == [one.id for one in UNDRILLED if one.standing is Standing.REFUSED]
    for name, test in SHOWN_BY.items():
        path, _, function = test.partition("::")
        assert f"\ndef {function}(" in (ROOT / path).read_text("utf-8"), name


@pytest.mark.parametrize("name", ["CLAIMS", "SUBJECT_CLAIM", "AWS_SESSION_TAGS", "AUDIENCE", "LIFETIME"])
def test_claims_of_a_token_are_no_variables_of_the_server(name: str) -> None:
    from tests.policy.honest import document, refused, with_env

    found = refused(with_env(document("bound"), **{f"BUILDKITE_OIDC_TOKEN_{name}": "everything"}))
    assert found.code == "environment.unknown"


def test_no_agent_asks_the_server_for_caches_or_credentials() -> None:
    """Neither call is in the table that agents and jobs make their calls from; the broker passes on nothing else."""
    from pipeseal.agentapi.routes import ROUTES

    paths = [route.path for route in ROUTES]
    assert len(paths) > 30
    assert [path for path in paths if "cache" in path or "access_token" in path or "credential" in path] == []

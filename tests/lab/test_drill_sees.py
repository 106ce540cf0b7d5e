"""The drill sees what gets through: on an agent that only observes, and when somebody touches what nobody may."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeseal.cli import root
from pipeseal.errors import VerificationError
from pipeseal.lab import lies
from pipeseal.lab.agents import MAIN
from pipeseal.lab.attacks import SCENARIOS
from pipeseal.lab.drill import Drill
from pipeseal.lab.honest import KINDS
from pipeseal.lab.hostile_server import TRAP_HOST, Request
from pipeseal.lab.result import State
from pipeseal.lab.scenario import Attempt, Scenario

BY_ID = {scenario.id: scenario for scenario in SCENARIOS}


@pytest.fixture(scope="module")
def drill(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drill]:
    with Drill(tmp_path_factory.mktemp("drill") / "drill") as drill:
        yield drill


@pytest.fixture(scope="module")
def credulous(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drill]:
    """An agent that runs everything: its policy only observes."""
    drill = Drill(tmp_path_factory.mktemp("drill") / "drill")
    drill.start_agent(MAIN, policy_text='version = 1\nmode = "observe"\n')
    try:
        yield drill
    finally:
        drill.close()


@pytest.mark.parametrize("number", ["A01", "A06", "A08", "B04"])
def test_where_nothing_is_enforced_attacks_get_through_and_are_seen(number: str, credulous: Drill) -> None:
    result = credulous.run(BY_ID[number])
    assert result.state is State.GOT_THROUGH
    assert "not refused" in result.problem
    assert not result.passed


def test_an_attack_that_ran_is_named(credulous: Drill) -> None:
    result = credulous.run(BY_ID["A01"])
    assert "attack" in result.problem


def test_another_code_than_expected_does_not_pass(drill: Drill) -> None:
    wrong = replace(BY_ID["A01"], codes=("signature.missing",))
    result = drill.run(wrong)
    assert result.state is State.GOT_THROUGH
    assert "signature.mismatch" in result.problem


def test_a_twin_that_does_not_run_proves_nothing(drill: Drill, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, "unverifiable", replace(KINDS["sealed"], key="unknown"))
    with pytest.raises(VerificationError, match=r"key\.unknown") as caught:
        drill.twin("unverifiable")
    assert caught.value.code == "drill.twin"
    scenario = replace(BY_ID["A01"], attempts=lambda _ground: [Attempt(lies.edit_command("x"), job="unverifiable")])
    result = drill.run(scenario)
    assert result.state is State.NOT_SHOWN
    assert not result.passed


def test_a_scenario_that_tries_nothing_does_not_pass(drill: Drill) -> None:
    idle = Scenario(id="A00", title="x", actors=("CP",), change="x", happens="x", play=lambda _drill: None)
    assert "tried nothing" in drill.run(idle).problem


def test_reading_a_sentinel_is_seen(drill: Drill) -> None:
    drill.must_be_clean()
    if not drill.ground.watch.sees_reads:
        pytest.skip("this system does not say who reads files")
    drill.ground.sentinels[0].read_bytes()
    with pytest.raises(VerificationError, match="sentinels were touched") as caught:
        drill.must_be_clean()
    assert caught.value.code == "drill.got_through"
    drill.must_be_clean()


def test_changing_and_adding_is_seen(drill: Drill) -> None:
    new = drill.ground.outside / "new"
    new.write_bytes(b"")
    with pytest.raises(VerificationError, match="is not what it was"):
        drill.must_be_clean()
    new.unlink()
    with pytest.raises(VerificationError):
        drill.must_be_clean()


def test_touching_the_trap_is_seen(drill: Drill) -> None:
    with socket.create_connection((TRAP_HOST, drill.trap.port)) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert connection.recv(1)
    with pytest.raises(VerificationError, match="reached the trap"):
        drill.must_be_clean()
    drill.must_be_clean()


@pytest.mark.parametrize("spelling", [lambda text: text, lambda text: text.encode().hex(), lambda text: text[::-1]])
def test_a_secret_that_leaves_is_seen(drill: Drill, spelling: object) -> None:
    assert callable(spelling)
    text = spelling(drill.ground.secrets[0].value)
    drill.server.requests.append(Request("POST", "/v3/x", {}, {}, json.dumps({"x": text}).encode()))
    with pytest.raises(VerificationError, match="carried the secret"):
        drill.must_be_clean()


def test_a_scenario_that_cannot_be_shown_yet_fails_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    later = Scenario(id="A00", title="Later", actors=("CP",), change="x", happens="x", not_yet="no such thing yet")
    monkeypatch.setattr("pipeseal.lab.attacks.SCENARIOS", (later,))
    failed = CliRunner().invoke(root, ["drill", "--scenario", "A00"])
    assert failed.exit_code == 1
    assert "not yet: no such thing yet" in failed.output
    assert CliRunner().invoke(root, ["drill", "--scenario", "A00", "--allow-missing"]).exit_code == 0


def test_the_command_says_what_it_did(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    done = CliRunner().invoke(root, ["drill", "--scenario", "a02", "--json", "--keep", str(kept)])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["passed"] is True
    assert told["groups"] == {"A": {"scenarios": 1, "passed": 1, "attempts": 4}}
    (row,) = told["scenarios"]
    assert (row["id"], row["state"], row["codes"]) == ("A02", "refused", ["command.differs"])
    lines = next(kept.rglob("requests.jsonl")).read_text("utf-8").splitlines()
    assert any('"/v3/register"' in line for line in lines)
    again = CliRunner().invoke(root, ["drill", "--scenario", "A02", "--keep", str(kept)])
    assert again.exit_code == 2
    assert "is there already" in again.output


def test_names_that_do_not_exist_are_refused() -> None:
    assert "no group" in CliRunner().invoke(root, ["drill", "--group", "Z"]).output
    assert "no scenario" in CliRunner().invoke(root, ["drill", "--scenario", "A99"]).output
    listed = CliRunner().invoke(root, ["drill", "--list", "--group", "a"])
    assert listed.output.splitlines()[0] == "A01  Command replaced consistently"

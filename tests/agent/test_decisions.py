"""What an agent tells of its decisions: to servers that ask, names and digests alone; and it is told nothing back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeseal.agent.decisions import tell_decision
from pipeseal.agentapi.messages import Decision
from pipeseal.errors import escape_control
from pipeseal.policy.facts import Finding
from tests.agent.agent_process import agent_process
from tests.agent.fake_server import FakeServer, fake_server
from tests.agent.job_requests import outcome, run, unsigned
from tests.agent.test_trust import REPOSITORY, Place
from tests.policy.honest import SETTINGS, approved, document, policy, refused, with_env
from tests.signing.material import REPOSITORY as REPOSITORY_TEXT

ASKS = {"pipeseal_extensions": ["decisions"]}
VALUE = "a-value-that-stays-here"


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with fake_server() as running:
        yield running


@pytest.fixture
def place(tmp_path: Path) -> Place:
    folder = tmp_path / "trust"
    folder.mkdir()
    return Place(folder)


def told(server: FakeServer, raw: dict[str, Any], job_id: str) -> Any:
    """What the end of a job says of its decision; None when it says nothing."""
    job = run(server, raw, job_id, seconds=60)
    assert job.finish is not None
    return job.finish.get("decision")


# --- what is told ----------------------------------------------------------------------------------------------


def test_sealed_job_is_told_by_key_and_digest() -> None:
    decision = approved(document("sealed"), SETTINGS)
    found = tell_decision(decision)
    assert decision.verified is not None
    key = decision.verified.key
    assert found == Decision(
        mode="enforce", proof="seal", key=key.kid, thumbprint=key.thumbprint, seal=decision.seal_digest
    )
    assert len(found.seal) == 64 and len(found.thumbprint) == 43


def test_findings_are_told_by_code_and_name_without_what_they_say_of_values() -> None:
    job = with_env(document("bound"), EVIL=VALUE, LD_PRELOAD=VALUE)
    decision = approved(job, policy('mode = "observe"\nproof = "seal"\nrepositories = ["other"]'))
    local = Finding(code="ledger.exclusive", message=VALUE, evidence={"place": VALUE})
    assert REPOSITORY_TEXT in str(decision.findings)
    found = tell_decision(decision, local)
    assert [(finding.code, finding.fields) for finding in found.findings] == [
        *((finding.code, list(finding.fields)) for finding in decision.findings),
        ("ledger.exclusive", []),
    ]
    assert {"LD_PRELOAD", "EVIL"} <= {name for finding in found.findings for name in finding.fields}
    body = msgspec.json.encode(found).decode()
    assert VALUE not in body and REPOSITORY_TEXT not in body


def test_refused_job_is_told_by_its_refusal_alone() -> None:
    decision = refused({**document("bound"), "step": {"command": VALUE}}, SETTINGS)
    assert tell_decision(decision) == Decision(mode="enforce", proof="none")


def test_agent_without_keys_says_so() -> None:
    job = {**document("bound"), "step": {"command": "x"}}
    assert tell_decision(approved(job, replace(SETTINGS, keys=None))) == Decision(mode="off", proof="none")


@given(st.lists(st.text(st.characters(exclude_categories=()), max_size=150), max_size=30))
def test_names_of_any_step_are_told_within_bounds_and_as_text_that_every_server_can_read(names: list[str]) -> None:
    decision = replace(
        approved(document("bound"), policy('mode = "observe"')),
        findings=(Finding(code="environment.unknown", message="", fields=tuple(names)),) * 30,
    )
    body = msgspec.json.encode(tell_decision(decision))
    found = json.loads(body)["findings"]
    assert len(found) == 20 and all(len(finding["fields"]) == min(len(names), 20) for finding in found)
    names_told = [name for finding in found for name in finding["fields"]]
    assert all(len(name) <= 100 and escape_control(name) == name for name in names_told)


# --- who is told -----------------------------------------------------------------------------------------------


def test_server_that_does_not_ask_is_told_nothing(server: FakeServer, place: Place, tmp_path: Path) -> None:
    server.registration = {"pipeseal_extensions": ["something else"]}
    with agent_process(server, tmp_path, *place.flags("--skip-checkout")):
        assert told(server, place.job("echo it ran", REPOSITORY), "a") is None
        assert told(server, unsigned("echo it ran"), "b") is None
    ends = [request.json() for request in server.requests if request.path.endswith("/finish")]
    assert len(ends) == 2 and all("decision" not in end for end in ends)


def test_operator_can_keep_it(server: FakeServer, place: Place, tmp_path: Path) -> None:
    server.registration = ASKS
    with agent_process(server, tmp_path, *place.flags("--skip-checkout", "--no-decision-reporting")):
        assert told(server, place.job("echo it ran", REPOSITORY), "a") is None


def test_each_mode_is_told_as_it_held_for_the_job(server: FakeServer, place: Place, tmp_path: Path) -> None:
    server.registration = ASKS
    signed = place.job("echo it ran", REPOSITORY)
    with agent_process(server, tmp_path, *place.flags("--skip-checkout")):
        first = told(server, signed, "a")
        assert (first["mode"], first["proof"], first["key"], first["findings"]) == (
            "enforce",
            "signature",
            "signer",
            [],
        )
        assert told(server, unsigned("echo it ran"), "b")["mode"] == "enforce"
        for mode in ("warn", "observe"):
            place.write("policy.toml", f'version = 1\nmode = "{mode}"\nproof = "seal"\n')
            found = told(server, signed, f"signed-{mode}")
            assert found["mode"] == mode and found["proof"] == "signature"
            assert [finding["code"] for finding in found["findings"]] == ["proof.not_enough"]
            found = told(server, unsigned("echo it ran"), f"unsigned-{mode}")
            assert found["mode"] == mode and found["proof"] == "none"
            assert [finding["code"] for finding in found["findings"]] == ["signature.missing"]


# --- and no server tells the agent anything -----------------------------------------------------------------------


def lying(mode: str) -> dict[str, Any]:
    """What a server might say, in every place that it might say it, to have an agent take up another mode."""
    words = {"mode": mode, "policy": {"mode": mode}, "verification_failure_behavior": "warn", "no_verification": True}
    return {**words, "decision": {"mode": mode, "proof": "seal"}, "settings": words, "refusal": None}


@pytest.mark.parametrize("asked", ["observe", "warn", "off", "enforce"])
def test_server_that_names_a_mode_changes_nothing(
    server: FakeServer, place: Place, tmp_path: Path, asked: str
) -> None:
    words = lying(asked)
    server.registration = {**ASKS, **words}
    server.registration["pipeseal_extensions"] = ["decisions", f"mode={asked}", asked]
    variables = {"PIPESEAL_MODE": asked, "PIPESEAL_AGENT_NO_VERIFICATION": "true"}
    honest, unproven = place.job("echo it ran", REPOSITORY), unsigned("echo it ran")
    with agent_process(server, tmp_path, *place.flags("--skip-checkout")):
        assert outcome(run(server, {**words, **honest}, "a", seconds=60)) == ("0", "", "")
        evil = {**words, **unproven, "env": {**unproven["env"], **variables}}
        job = run(server, evil, "b", seconds=60)
        assert outcome(job) == ("-1", "", "signature_rejected") and "it ran" not in job.text
        assert job.finish is not None and job.finish["decision"]["mode"] == "enforce"
        # And where the operator only observes, a server that wants jobs refused is heard no more.
        place.write("policy.toml", 'version = 1\nmode = "observe"\n')
        assert told(server, {**words, **unproven}, "c")["mode"] == "observe"

"""`pipeseal verify`: evidence of a build, checked outside of the server's pages; and nothing else gets through."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeseal.cli.exits import CANNOT_CHECK, CHECK_FAILED, EVIDENCE_MISSING, NOT_SIGNED, UNKNOWN_SIGNER
from pipeseal.cli.verify import verify
from pipeseal.errors import PipesealError, VerificationError
from pipeseal.pipeline.parse import parse_command_step
from pipeseal.signing.evidence import parse_evidence, verify_shown_job
from pipeseal.signing.fields import values_to_verify
from pipeseal.signing.payload import render_payload
from pipeseal.signing.sign import sign_step
from tests.signing.material import REPOSITORY, pair_of, signing_key, verification_keys

BUILD = {"id": "b-1", "number": 7, "commit": "a" * 40, "branch": "main", "tag": None, "pull_request": None}
BOUND = {
    "BUILDKITE_ORGANIZATION_SLUG": "acme",
    "BUILDKITE_PIPELINE_SLUG": "app",
    "BUILDKITE_BUILD_ID": "b-1",
    "BUILDKITE_COMMIT": "a" * 40,
    "BUILDKITE_BRANCH": "main",
    "BUILDKITE_TAG": "",
    "BUILDKITE_PULL_REQUEST": "false",
    "BUILDKITE_STEP_KEY": "test",
}


def make_file(**job: Any) -> dict[str, Any]:
    """Evidence of a build with one job, as a Trust tab saves it."""
    step = parse_command_step({"command": "make", "key": "test", "env": {"A": "1"}, "matrix": ["y"]})
    signed = sign_step(step, key=signing_key(), repository_url=REPOSITORY, pipeline_env=BOUND)
    assert signed.signature is not None
    fields = signed.signature.signed_fields
    values = values_to_verify(signed, fields, repository_url=REPOSITORY, environment=BOUND)
    return {
        "type": "pipeseal-evidence",
        "version": 1,
        "server": "https://ci.example.test",
        "organization": "acme",
        "slug": "app",
        "build": dict(BUILD),
        "jobs": [{"id": "j", "label": "Test", "command": "make", "step_key": "test", "matrix": {"": "y"}, **job}],
        "steps": [
            {
                "job_id": "j",
                "signature": {
                    "algorithm": "EdDSA",
                    "signed_fields": fields,
                    "value": signed.signature.value,
                },
                "payload": json.loads(render_payload("EdDSA", values)),
                "withheld": None,
                "problem": None,
            }
        ],
    }


def run(tmp_path: Path, evidence: Any, *, keys: str = "") -> tuple[int, Any]:
    (tmp_path / "evidence.json").write_text(json.dumps(evidence))
    (tmp_path / "keys.json").write_text(keys or pair_of("EdDSA").public_set)
    arguments = [str(tmp_path / "evidence.json"), "--jwks-file", str(tmp_path / "keys.json"), "-o", "json"]
    done = CliRunner().invoke(verify, arguments)
    try:
        return done.exit_code, json.loads(done.stdout)
    except ValueError:
        return done.exit_code, done.exception or done.output


def test_what_was_signed_is_verified(tmp_path: Path) -> None:
    status, said = run(tmp_path, make_file())
    assert (status, said["state"], said["subject"]) == (0, "verified", "acme/app#7")
    assert said["jobs"][0]["thumbprint"] == pair_of("EdDSA").key.thumbprint()


def changed(path: str, value: Any) -> dict[str, Any]:
    """Evidence with another value at a path."""
    evidence = make_file()
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    place: Any = evidence
    for parent in parents:
        place = place[parent]
    place[last] = value
    return evidence


@pytest.mark.parametrize(
    ("path", "value", "status", "code"),
    [
        ("steps.0.signature", None, NOT_SIGNED, "signature.missing"),
        ("steps.0.payload", None, EVIDENCE_MISSING, "evidence.missing"),
        ("steps", [], EVIDENCE_MISSING, "evidence.missing"),
        ("steps.0.payload.values.command", "evil", CHECK_FAILED, "signature.mismatch"),
        ("steps.0.payload.values.env", {"A": "2"}, CHECK_FAILED, "signature.mismatch"),
        ("jobs.0.command", "evil", CHECK_FAILED, "evidence.differs"),
        ("jobs.0.step_key", "deploy", CHECK_FAILED, "evidence.differs"),
        ("jobs.0.matrix", {"": "z"}, CHECK_FAILED, "matrix.permutation"),
        ("organization", "other", CHECK_FAILED, "evidence.differs"),
        ("slug", "other", CHECK_FAILED, "evidence.differs"),
        ("build.id", "b-2", CHECK_FAILED, "evidence.differs"),
        ("build.commit", "b" * 40, CHECK_FAILED, "evidence.differs"),
        ("build.branch", "release", CHECK_FAILED, "evidence.differs"),
        ("build.tag", "v1", CHECK_FAILED, "evidence.differs"),
        ("build.pull_request", {"id": "3"}, CHECK_FAILED, "evidence.differs"),
        ("jobs", [], CANNOT_CHECK, None),
    ],
)
def test_what_a_server_could_say_instead_is_found(
    tmp_path: Path, path: str, value: Any, status: int, code: str | None
) -> None:
    found, said = run(tmp_path, changed(path, value))
    assert found == status
    assert [job["code"] for job in said["jobs"]] == ([code] if code else [])


def test_fields_cannot_be_left_out_or_added(tmp_path: Path) -> None:
    evidence = make_file()
    step = evidence["steps"][0]
    step["signature"]["signed_fields"].remove("env")
    del step["payload"]["values"]["env"]
    assert run(tmp_path, evidence)[1]["jobs"][0]["code"] == "field.not_signed"
    evidence = make_file()
    evidence["steps"][0]["payload"]["values"]["env::MORE"] = "x"
    assert run(tmp_path, evidence)[1]["jobs"][0]["code"] == "signature.mismatch"


def test_another_key_is_an_unknown_signer(tmp_path: Path) -> None:
    status, said = run(tmp_path, make_file(), keys=pair_of("ES256").public_set)
    assert (status, said["state"]) == (UNKNOWN_SIGNER, "unknown_signer")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"type": "pipeseal-evidence", "version": 2}', '{"a": 1, "a": 2}'])
def test_other_files_are_no_evidence(tmp_path: Path, text: str) -> None:
    (tmp_path / "evidence.json").write_text(text)
    with pytest.raises(PipesealError):
        parse_evidence(text.encode(), source="evidence.json")


def test_evidence_of_another_version_is_named(tmp_path: Path) -> None:
    with pytest.raises(PipesealError) as caught:
        parse_evidence(json.dumps({**make_file(), "version": 2}).encode(), source="e")
    assert caught.value.code == "evidence.malformed"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)


@settings(max_examples=int(os.environ.get("N", "150")), deadline=None)
@given(data=st.data())
def test_whatever_stands_in_evidence_proves_nothing_and_breaks_nothing(data: st.DataObject) -> None:
    """Any one value of good evidence is replaced by any other: it is refused, or it was of no importance."""
    evidence = make_file()
    places = list(walk(evidence))
    parent, key = data.draw(st.sampled_from(places))
    before = copy.deepcopy(parent[key])
    parent[key] = data.draw(json_values)
    try:
        parsed = parse_evidence(json.dumps(evidence).encode(), source="evidence.json")
        for job in parsed.jobs:
            verify_shown_job(job, parsed, verification_keys())
    except VerificationError:
        return
    except PipesealError as error:
        assert error.code in ("evidence.malformed", "number.unsafe", "json.lost_text")  # one of several
        return
    unimportant = {"server", "label", "id", "number", "withheld", "problem", "jobs", "job_id", "type"}
    is_none = not parent[key] or (key == "pull_request" and not parent[key].get("id"))
    assert parent[key] == before or key in unimportant or is_none, (key, parent[key])


def walk(value: Any) -> Any:
    """Every place in a value, as its holder and its name there."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in items:
        yield value, key
        yield from walk(one)

"""`pipeseal verify` on sealed steps: what a server holds back, gives to other agents, or tells of another time."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pipeseal.cli.exits import CHECK_FAILED, EVIDENCE_MISSING
from pipeseal.cli.verify import verify
from pipeseal.pipeline.parse import parse_pipeline
from pipeseal.pipeline.steps import CommandStep
from pipeseal.signing.bindings import static_bindings
from pipeseal.signing.fields import values_to_verify
from pipeseal.signing.payload import render_payload
from pipeseal.signing.seal.envelope import BuildFacts
from pipeseal.signing.seal.make import Sealing
from pipeseal.signing.seal.parse import parse_seal
from pipeseal.signing.sign import sign_pipeline
from tests.signing.material import REPOSITORY, pair_of, signing_key

BUILD = {"id": "b-1", "number": 7, "commit": "a" * 40, "branch": "main", "tag": None, "pull_request": None}
BEGIN = 1_800_000_000
FILE = """
steps:
  - label: test
    key: test
    command: make test
    matrix: {setup: [a, b], adjustments: [{with: c}, {with: b, skip: true}]}
  - {label: shards, key: shards, command: make shard, parallelism: 3}
  - wait
  - label: deploy
    key: deploy
    command: make deploy
    agents: {queue: deploy}
    plugins: [{docker#v5: {image: alpine}}]
"""
UPLOAD = "steps: [{label: upload, key: up, command: buildkite-agent pipeline upload}]"


def sign(text: str, *, upload: str | None, parent: str | None = None) -> list[dict[str, Any]]:
    """The steps of a file as `signed-steps` shows them, each with its step and its seal's digest."""
    pipeline = parse_pipeline(text)
    inside = upload is not None
    sealing = Sealing(
        repository=REPOSITORY,
        organization="acme",
        pipeline="app",
        build=BuildFacts(id="b-1", commit="a" * 40, tree=None, branch="main", tag="", pull_request="false")
        if inside
        else None,
        upload=upload,
        parent=parent,
        positions=count(),
        not_before=BEGIN,
        expires=BEGIN + 3600 if inside else None,
    )
    signed = sign_pipeline(
        pipeline,
        key=signing_key(),
        repository_url=REPOSITORY,
        bindings=static_bindings(organization="acme", pipeline="app"),
        sealing=sealing,
    )
    found = []
    for step in signed.steps:
        if isinstance(step, CommandStep):
            assert step.signature is not None
            fields = step.signature.signed_fields
            environment = static_bindings(organization="acme", pipeline="app") | {"BUILDKITE_STEP_KEY": step.key}
            values = values_to_verify(step, fields, repository_url=REPOSITORY, environment=environment)
            signature = {"algorithm": "EdDSA", "signed_fields": fields, "value": step.signature.value}
            payload = json.loads(render_payload("EdDSA", values))
            shown = {"signature": signature, "payload": payload, "withheld": None, "problem": None, "keys": []}
            found.append({"step": step, "shown": shown, "seal": parse_seal(step.env["PIPESEAL_SEAL"]).digest})
    return found


def make_build() -> dict[str, Any]:
    """Evidence of a whole build: an upload step, and what it uploaded."""
    (up,) = sign(UPLOAD, upload=None)
    steps = [up, *sign(FILE, upload="u-1", parent=up["seal"])]
    places: dict[str, list[dict[str, Any]]] = {
        "test": [{"matrix": {"": "a"}}, {"matrix": {"": "c"}}],
        "shards": [{"parallel_group_index": index} for index in range(3)],
    }
    jobs: list[dict[str, Any]] = []
    shown: list[dict[str, Any]] = []
    for number, one in enumerate(steps):
        step = one["step"]
        for place in places.get(step.key, [{}]):
            job_id = f"j-{len(jobs)}"
            rules = ["queue=deploy"] if step.key == "deploy" else []
            jobs.append(
                {
                    "id": job_id,
                    "label": step.label,
                    "command": step.command,
                    "step_key": step.key,
                    "step": {"id": f"s-{number}"},
                    "started_at": "2027-01-15T08:30:00Z",
                    "agent_query_rules": rules,
                    **place,
                }
            )
            shown.append({"job_id": job_id, **one["shown"]})
    return {
        "type": "pipeseal-evidence",
        "version": 1,
        "server": "https://ci.example.test",
        "organization": "acme",
        "slug": "app",
        "build": BUILD,
        "jobs": jobs,
        "steps": shown,
    }


@pytest.fixture(scope="module")
def build() -> dict[str, Any]:
    return make_build()


@pytest.fixture
def run(build: dict[str, Any], tmp_path: Path) -> Any:
    """Changes a copy of the evidence, and says what comes of it: exit status and document."""

    def check(change: Any = None) -> tuple[int, dict[str, Any]]:
        evidence = json.loads(json.dumps(build))
        if change is not None:
            change(evidence)
        (tmp_path / "evidence.json").write_text(json.dumps(evidence))
        (tmp_path / "keys.json").write_text(pair_of("EdDSA").public_set)
        words = [str(tmp_path / "evidence.json"), "--jwks-file", str(tmp_path / "keys.json"), "-o", "json"]
        done = CliRunner().invoke(verify, words)
        return done.exit_code, json.loads(done.stdout)

    return check


def without(*keys: str, place: dict[str, Any] | None = None) -> Any:
    """Jobs of these steps, all or those of one place, are not shown."""

    def change(evidence: dict[str, Any]) -> None:
        wanted = place or {}
        evidence["jobs"] = [
            job
            for job in evidence["jobs"]
            if job["step_key"] not in keys or any(job.get(name) != value for name, value in wanted.items())
        ]

    return change


def with_job(key: str, **members: Any) -> Any:
    def change(evidence: dict[str, Any]) -> None:
        for job in evidence["jobs"]:
            if job["step_key"] == key:
                job.update(members)

    return change


def drop(key: str, *members: str) -> Any:
    """The server says nothing of these members of a job."""

    def change(evidence: dict[str, Any]) -> None:
        for job in evidence["jobs"]:
            if job["step_key"] == key:
                for name in members:
                    del job[name]

    return change


def withhold(key: str) -> Any:
    """What was signed of a step is kept from whoever asks."""

    def change(evidence: dict[str, Any]) -> None:
        jobs = {job["id"]: job["step_key"] for job in evidence["jobs"]}
        for step in evidence["steps"]:
            if jobs[step["job_id"]] == key:
                step.update(payload=None, withheld="the seal")

    return change


def test_a_build_with_everything_in_it_is_verified(run: Any) -> None:
    status, said = run()
    assert (status, said["left_out"]) == (0, []), said
    assert len(said["jobs"]) == 7


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (without("test", place={"matrix": {"": "c"}}), "test was signed as 2 jobs, and the server does not show 1"),
        (
            without("shards", place={"parallel_group_index": 1}),
            "shards was signed as 3 jobs, and the server does not",
        ),
        (without("test"), "an upload had another step, which the server does not show"),
        (without("test", "shards"), "an upload had 2 more steps, which the server does not show"),
        (without("up"), "test was uploaded by a step that the server does not show"),
    ],
    ids=["one of a matrix", "one of several", "a step", "two steps", "the upload"],
)
def test_what_the_server_holds_back_is_missed(run: Any, change: Any, says: str) -> None:
    status, said = run(change)
    assert (status, said["state"]) == (EVIDENCE_MISSING, "missing")
    assert any(sentence.startswith(says) for sentence in said["left_out"]), said["left_out"]


def test_the_end_of_an_upload_is_not_missed_and_that_is_said(run: Any) -> None:
    status, said = run(without("deploy"))
    assert (status, said["left_out"]) == (0, [])
    assert any("the last ones of an upload" in sentence for sentence in said["not_checked"])


def test_a_step_that_cannot_be_checked_may_be_the_one_that_seems_to_be_missing(run: Any) -> None:
    assert run(withhold("shards"))[1]["left_out"] == []


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (with_job("deploy", agent_query_rules=["queue=default"]), "seal.audience"),
        (with_job("deploy", agent_query_rules=None), "seal.audience"),
        (drop("deploy", "agent_query_rules"), "seal.audience"),
        (with_job("test", agent_query_rules=["os=windows"]), "seal.audience"),
        (with_job("deploy", started_at="2027-01-15T07:45:00Z"), "seal.early"),
        (with_job("deploy", started_at="2027-01-15T09:30:00Z"), "seal.expired"),
        (with_job("deploy", started_at="2027-01-15T08:30:00"), "seal.early"),
        (with_job("deploy", started_at="soon"), "seal.early"),
        (with_job("deploy", started_at=7), "seal.early"),
    ],
    ids=["queue", "no rules", "rules left out", "more rules", "before", "after", "no zone", "words", "number"],
)
def test_a_job_of_other_agents_or_another_time_is_found(run: Any, change: Any, code: str) -> None:
    status, said = run(change)
    assert status == CHECK_FAILED
    assert code in {job["code"] for job in said["jobs"]}


@pytest.mark.parametrize(
    "change",
    [
        with_job("deploy", agent_query_rules=["queue=deploy", "queue=deploy"]),
        with_job("test", agent_query_rules=["queue=default"]),
        with_job("deploy", started_at=None),
        with_job("deploy", started_at="2027-01-15T07:55:00+00:00"),
    ],
    ids=["twice", "the default queue", "not started", "clocks that differ"],
)
def test_what_says_the_same_is_verified(run: Any, change: Any) -> None:
    assert run(change)[0] == 0

"""Secrets kept by the control plane: set by people, sealed at rest, given to the jobs that may have them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeseal.controlplane.services.secrets import KEY_FILE
from tests.controlplane.job_side import command, running_jobs
from tests.controlplane.running import Answer, FakeJob, RunningServer, running_server

VALUE = "correct horse\nbattery é"


@pytest.fixture
def running(tmp_path: Path) -> Iterator[RunningServer]:
    with running_server(tmp_path / "data") as server:
        yield server


def put(running: RunningServer, key: str = "deploy_key", **body: Any) -> Answer:
    return running.api.rest("PUT", f"/secrets/{key}", {"value": VALUE, **body})


def get(job: FakeJob, key: str = "deploy_key") -> Answer:
    return job.call("GET", f"/secrets?key={key}")


def test_a_secret_is_set_given_replaced_and_removed(running: RunningServer) -> None:
    (job,) = running_jobs(running)
    assert get(job).status == 404
    answer = put(running, description="for deploys")
    assert answer.status == 200
    assert VALUE not in answer.body.decode()
    given = get(job).json
    assert (given["key"], given["value"], given["uuid"]) == ("deploy_key", VALUE, answer.json["id"])
    put(running, value="other")
    assert get(job).json["value"] == "other"
    (listed,) = running.api.rest("GET", "/secrets").json
    assert listed["key"] == "deploy_key"
    assert "value" not in listed
    assert running.api.rest("DELETE", "/secrets/deploy_key").status == 204
    assert running.api.rest("DELETE", "/secrets/deploy_key").status == 404
    assert get(job).status == 404


def test_the_database_holds_no_secret_in_clear(running: RunningServer) -> None:
    put(running)
    for path in running.folder.rglob("*"):
        if path.is_file():
            assert VALUE.encode() not in path.read_bytes(), path
    assert (running.folder / KEY_FILE).stat().st_mode & 0o077 == 0


def test_rows_cannot_be_exchanged_for_one_another(running: RunningServer) -> None:
    (job,) = running_jobs(running)
    put(running, "one")
    put(running, "two", value="2")

    def swap(tx: Any) -> None:
        tx.run("UPDATE secrets SET sealed = (SELECT sealed FROM secrets WHERE key = 'one') WHERE key = 'two'")

    running.plane.database.submit(swap).result()
    answer = get(job, "two")
    assert (answer.status, answer.json["code"]) == (503, "server.store")


def test_another_key_file_opens_nothing_and_is_never_replaced(running: RunningServer) -> None:
    (job,) = running_jobs(running)
    put(running)
    key = (running.folder / KEY_FILE).read_bytes()
    (running.folder / KEY_FILE).write_bytes(b"x" * 32)
    assert get(job).status == 503
    (running.folder / KEY_FILE).write_bytes(b"short")
    assert get(job).status >= 400
    assert put(running).status >= 400
    (running.folder / KEY_FILE).write_bytes(key)
    assert get(job).json["value"] == VALUE


def test_a_secret_for_some_pipelines(running: RunningServer) -> None:
    (job,) = running_jobs(running)
    put(running, pipelines=["other"])
    assert get(job).status == 404
    put(running, pipelines=["other", "demo"])
    assert get(job).json["value"] == VALUE
    assert running.api.rest("GET", "/secrets").json[0]["pipelines"] == ["demo", "other"]


@pytest.mark.parametrize(
    ("key", "body"),
    [
        ("1a", {}),
        ("a-b", {}),
        ("a" * 300, {}),
        ("a", {"value": ""}),
        ("a", {"value": "x" * 70_000}),
        ("a", {"value": 1}),
        ("a", {"pipelines": ["Not A Slug"]}),
        ("a", {"description": "d" * 2000}),
    ],
)
def test_what_cannot_be_set(running: RunningServer, key: str, body: dict[str, Any]) -> None:
    answer = put(running, key, **body)
    assert (answer.status, answer.json["code"]) == (422, "request.malformed")
    assert running.api.rest("GET", "/secrets").json == []


def test_only_a_running_job_gets_secrets(running: RunningServer) -> None:
    job, other = running_jobs(running, count=2)
    put(running)
    answer = job.api.agent_call("GET", f"/jobs/{job.id}/secrets?key=deploy_key", other.token)
    assert (answer.status, answer.json["code"]) == (403, "access.other_job")
    assert running.api.call("GET", "/v2/organizations/local/secrets").status == 401
    assert (
        running.api.call("GET", "/v2/organizations/local/secrets", authorization=f"Bearer {job.token}").status == 401
    )
    job.finish()
    assert get(job).json["code"] == "state.not_running"


def test_the_real_command(running: RunningServer) -> None:
    (job,) = running_jobs(running)
    put(running)
    done = command(job, "secret", "get", "deploy_key", "--skip-redaction")
    assert (done.status, done.out.decode()) == (0, VALUE + "\n"), done.err

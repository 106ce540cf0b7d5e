"""The Agent API over real HTTP: what is answered, and what is refused."""

from __future__ import annotations

import gzip
import json
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pipeseal.agentapi.routes import ROUTES, Route
from pipeseal.controlplane.domain.limits import Limits
from pipeseal.controlplane.http.agent_api import HANDLERS
from tests.controlplane.running import QUICK, FakeAgent, RunningServer, running_server

STEPS = "steps:\n  - command: echo hi\n    key: one\n    label: One\n"


@pytest.fixture
def running(tmp_path: Path) -> Iterator[RunningServer]:
    settings = replace(QUICK, ping_hold=0.3, limits=Limits(max_upload_bytes=64 * 1024, max_body_bytes=16 * 1024))
    with running_server(tmp_path / "data", settings) as server:
        yield server


def test_every_route_of_the_contract_has_a_handler() -> None:
    assert set(HANDLERS) == {route.name for route in ROUTES}


def test_registration_answers_what_an_agent_needs(running: RunningServer) -> None:
    agent = FakeAgent(running.api, "queue=default", "docker", "os=linux", name="%hostname-x")
    assert agent.name == "host-x"
    for interval in ("ping_interval", "job_status_interval", "heartbeat_interval"):
        assert isinstance(agent.registered[interval], int)
        assert agent.registered[interval] > 0
    assert set(agent.registered["meta_data"]) == {"queue=default", "docker=true", "os=linux"}
    echo = agent.heartbeat()
    assert echo.json["sent_at"] == "2026-01-01T00:00:00Z"
    assert echo.json["received_at"]


def test_a_registration_token_can_be_looked_at(running: RunningServer) -> None:
    api = running.api
    answer = api.agent_call("GET", "/token", api.registration_token)
    assert answer.json["organization_slug"] == "local"
    assert api.registration_token not in answer.body.decode()
    assert api.agent_call("GET", "/token", "wrong").status == 401


def test_session_and_job_tokens_can_be_looked_at(running: RunningServer) -> None:
    running.api.create_pipeline(STEPS)
    running.api.create_build()
    agent = FakeAgent(running.api)
    job = agent.take()
    for token, kind, what in ((agent.token, "session", agent.id), (job.token, "job", job.id)):
        answer = running.api.agent_call("GET", "/token", token)
        assert answer.json["token_type"] == kind
        assert what in answer.json["description"]
        assert token not in answer.body.decode()


def test_an_idle_ping_is_held_and_then_answered_with_json(running: RunningServer) -> None:
    agent = FakeAgent(running.api)
    begin = time.monotonic()
    action = agent.ping()
    assert action.get("job") is None
    assert time.monotonic() - begin >= 0.25


def test_a_job_carries_the_mandatory_variables_and_its_step_byte_for_byte(running: RunningServer) -> None:
    running.api.create_pipeline(STEPS)
    running.api.create_build(commit="0" * 40, branch="main", message="m", env={"FROM_BUILD": "b", "BOTH": "build"})
    agent = FakeAgent(running.api, "queue=default", "os=linux")
    uploader = agent.take()
    step = (
        '{"signature":{"algorithm":"EdDSA","signed_fields":["command"],"value":"e30..AA"},'
        '"command":"echo \\u00e9 é {{matrix}}", "n":12345678901234567890.50,"x":1E2,"plugins":[{"./p":{"a":1.0}}],'
        '"env":{"BOTH":"step","S":"{{matrix}}"},"key":"sig ned","matrix":["a","b"],"label":"L {{matrix}}",'
        '"artifact_paths":["x","y/**"]}'
    )
    answer = uploader.upload(f'{{"env":{{"BOTH":"pipeline","FROM_PIPELINE":"p"}},"steps":[{step}]}}')
    assert answer.status == 200, answer.json
    uploader.finish()
    answer = agent.api.agent_call("PUT", f"/jobs/{agent.next_job()}/accept", agent.token)
    assert step.encode() in answer.body
    env = answer.json["env"]
    for name in ("JOB_ID", "REPO", "COMMIT", "BRANCH", "AGENT_NAME", "ORGANIZATION_SLUG", "PIPELINE_SLUG"):
        assert env[f"BUILDKITE_{name}"], name
    assert env["BUILDKITE_PIPELINE_PROVIDER"] == "git"
    assert env["BUILDKITE"] == env["CI"] == "true"
    assert env["BUILDKITE_PULL_REQUEST"] == "false"
    assert env["BUILDKITE_TAG"] == ""
    assert env["BUILDKITE_STEP_KEY"] == "sig ned"
    assert env["BUILDKITE_LABEL"] == "L a"
    assert env["BUILDKITE_COMMAND"] == "echo é é a"
    assert json.loads(env["BUILDKITE_PLUGINS"]) == [{"./p": {"a": 1}}]
    assert env["BUILDKITE_ARTIFACT_PATHS"] == "x;y/**"
    assert env["BUILDKITE_AGENT_META_DATA_OS"] == "linux"
    assert (env["FROM_PIPELINE"], env["FROM_BUILD"], env["BOTH"], env["S"]) == ("p", "b", "step", "a")
    assert answer.json["matrix_permutation"] == {"": "a"}
    assert answer.json["chunks_max_size_bytes"] > 0
    assert answer.json["state"] == "accepted"


def test_standard_variables_cannot_be_overridden(running: RunningServer) -> None:
    steps = "env: {BUILDKITE_COMMAND: x, CI: no}\nsteps:\n  - command: real\n    env: {BUILDKITE_REPO: other}\n"
    running.api.create_pipeline(steps)
    running.api.create_build(env={"BUILDKITE_STEP_KEY": "forged", "BUILDKITE_PLUGINS": "[]"})
    env = FakeAgent(running.api).take().env
    assert env["BUILDKITE_COMMAND"] == "real"
    assert env["CI"] == "true"
    assert env["BUILDKITE_REPO"] == "https://git.example.test/r.git"
    assert "BUILDKITE_STEP_KEY" not in env
    assert "BUILDKITE_PLUGINS" not in env


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ("checkout: {skip: true}\nsteps: [{command: x}]", {"BUILDKITE_SKIP_CHECKOUT": "true"}),
        (
            "checkout: {depth: 5}\nsteps: [{command: x, checkout: {depth: 1, submodules: false}}]",
            {
                "BUILDKITE_GIT_CLONE_FLAGS": "--depth=1",
                "BUILDKITE_GIT_FETCH_FLAGS": "--depth=1",
                "BUILDKITE_GIT_SUBMODULES": "false",
            },
        ),
        (
            "steps: [{command: x, checkout: {lfs: true, flags: {clone: -v}, sparse: {paths: [a, b]}}}]",
            {
                "BUILDKITE_GIT_LFS_ENABLED": "true",
                "BUILDKITE_GIT_CLONE_FLAGS": "-v",
                "BUILDKITE_GIT_SPARSE_CHECKOUT_PATHS": "a,b",
            },
        ),
    ],
)
def test_checkout_settings_become_variables(running: RunningServer, steps: str, expected: dict[str, str]) -> None:
    running.api.create_pipeline(steps)
    running.api.create_build()
    env = FakeAgent(running.api).take().env
    assert {name: env.get(name) for name in expected} == expected


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: str(route.name))
def test_no_endpoint_answers_without_its_token(running: RunningServer, route: Route) -> None:
    api = running.api
    segments = dict.fromkeys(("job_id", "upload_id", "build_id", "step", "context"), str(uuid.uuid4()))
    path = "/v3" + route.path.format(**segments)
    body = b'{"exit_status":"0","uuid":"x","pipeline":{},"key":"k"}'
    path += "?sequence=1&offset=0&size=54" if route.name == "append_log" else ""
    missing = api.call(route.method, path, raw=body)
    assert missing.status == 401
    assert missing.json["code"] == "access.no_token"
    for authorization in ("Token wrong", f"Bearer {api.api_token}", f"Token {api.api_token}", "Token", "Basic eA=="):
        answer = api.call(route.method, path, raw=body, authorization=authorization)
        assert answer.status in (401, 422), (authorization, answer.json)
        assert answer.json["message"]
        if answer.status == 422:  # the body is looked at before the token where it decides what is asked
            assert answer.json["code"] == "request.malformed"


def test_tokens_open_only_what_they_are_for(running: RunningServer) -> None:
    api = running.api
    api.create_pipeline("steps:\n  - command: a\n  - command: b\n")
    api.create_build()
    one, two = FakeAgent(api), FakeAgent(api)
    job, other = one.take(), two.take()
    assert api.agent_call("GET", f"/jobs/{other.id}", job.token).json["code"] == "access.other_job"
    assert api.agent_call("PUT", f"/jobs/{other.id}/finish", job.token, {"exit_status": "0"}).status == 403
    assert api.agent_call("GET", "/ping", job.token).status == 401
    assert api.agent_call("POST", "/register", one.token, {}).status == 401
    assert api.agent_call("GET", f"/jobs/{job.id}", one.token).status == 401
    assert (
        api.call("GET", f"/v2/organizations/{'local'}/pipelines", authorization=f"Bearer {one.token}").status == 401
    )
    assert other.state().json["state"] == "running"
    job.finish()
    assert job.call("POST", "/data/set", {"key": "k", "value": "v"}).status == 422
    one.disconnect()
    assert api.agent_call("GET", "/ping", one.token).status == 401


def test_no_token_is_stored_in_clear(running: RunningServer) -> None:
    running.api.create_pipeline(STEPS)
    running.api.create_build()
    agent = FakeAgent(running.api)
    job = agent.take()
    running.plane.database.submit(lambda tx: tx.run("UPDATE settings SET value = value")).result()
    stored = b"".join(path.read_bytes() for path in running.folder.glob("control-plane.sqlite*"))
    for token in (running.api.registration_token, running.api.api_token, agent.token, job.token):
        assert token.encode() not in stored
    for name in ("agent-token", "api-token", "job-token-secret"):
        assert (running.folder / name).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("path", ["/agentedge.v1.AgentEdgeService/Other", "/", "/v3", "/v3/nothing", "/v2/x"])
def test_unknown_paths_are_404_at_once(running: RunningServer, path: str) -> None:
    answer = running.api.call("POST", path, raw=b"x" * 1000, authorization="Token x")
    assert answer.status == 404
    assert answer.json["message"]


def test_a_wrong_method_is_405_with_a_message(running: RunningServer) -> None:
    answer = running.api.call("DELETE", "/v3/ping")
    assert (answer.status, answer.json["code"]) == (405, "request.method")


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"[]", b"null", b'{"name":1}', b"\xff\xfe", b'{"meta_data":"x"}', b"[" * 5000, b'{"name":"\x00"}'],
)
def test_malformed_bodies_are_refused_with_a_message(running: RunningServer, raw: bytes) -> None:
    answer = running.api.call(
        "POST", "/v3/register", raw=raw, authorization=f"Token {running.api.registration_token}"
    )
    assert (answer.status, answer.json["code"]) == (422, "request.malformed")


def test_text_with_a_nul_is_refused_and_an_escaped_backslash_is_not(running: RunningServer) -> None:
    running.api.create_pipeline(STEPS)
    running.api.create_build()
    job = FakeAgent(running.api).take()
    job.start()
    answer = job.call("POST", "/data/set", {"key": "k", "value": "a\0b"})
    assert (answer.status, answer.json["code"]) == (422, "request.malformed")
    assert "NUL" in answer.json["message"]
    assert job.upload({"steps": [{"command": "echo", "env": {"A\0": "b"}}]}).status == 422
    assert job.call("POST", "/data/set", {"key": "k", "value": "a\\u0000b"}).status == 200


def test_bodies_over_their_limit_are_refused(running: RunningServer) -> None:
    token = f"Token {running.api.registration_token}"
    big = b'{"name":"' + b"x" * 20_000 + b'"}'
    assert running.api.call("POST", "/v3/register", raw=big, authorization=token).status == 413
    running.api.create_pipeline(STEPS)
    running.api.create_build()
    job = FakeAgent(running.api).take()
    answer = job.upload({"steps": [{"command": "x" * 70_000}]})
    assert (answer.status, answer.json["code"]) == (413, "request.too_large")
    assert "65536" in answer.json["message"]


def test_a_compressed_chunk_cannot_burst_the_server(tmp_path: Path) -> None:
    settings = replace(QUICK, limits=Limits(max_chunk_bytes=100_000))
    with running_server(tmp_path / "data", settings) as running:
        running.api.create_pipeline(STEPS)
        running.api.create_build()
        job = FakeAgent(running.api).take()
        answer = job.chunk(1, 0, bytes(200_000_000), size=200_000_000)
        assert (answer.status, answer.json["code"]) == (413, "request.too_large")
        assert job.chunk(1, 0, b"small").status == 200


@pytest.mark.parametrize(
    ("query", "raw"),
    [
        ("", b"x"),
        ("?sequence=-1&offset=0&size=1", gzip.compress(b"x", mtime=0)),
        ("?sequence=1&offset=zero&size=1", gzip.compress(b"x", mtime=0)),
        ("?sequence=1&offset=0&size=2", gzip.compress(b"x", mtime=0)),
        ("?sequence=1&offset=0&size=1", b"not gzip"),
        ("?sequence=1&offset=0&size=1", gzip.compress(b"x", mtime=0)[:-3]),
        ("?sequence=1&offset=0&size=1", gzip.compress(b"x", mtime=0) + b"more"),
        ("?sequence=1&offset=9999999999999999999&size=1", gzip.compress(b"x", mtime=0)),
    ],
)
def test_malformed_chunks_are_refused(running: RunningServer, query: str, raw: bytes) -> None:
    running.api.create_pipeline(STEPS)
    running.api.create_build()
    job = FakeAgent(running.api).take()
    answer = job.call("POST", f"/chunks{query}", raw=raw, headers={"Content-Encoding": "gzip"})
    assert (answer.status, answer.json["code"]) == (422, "request.malformed")


def test_meta_data_is_set_read_and_listed(running: RunningServer) -> None:
    running.api.create_pipeline(STEPS)
    running.api.create_build()
    job = FakeAgent(running.api).take()
    key = "buildkite:git:commit"
    assert job.call("POST", "/data/exists", {"key": key}).json == {"exists": False}
    assert job.call("POST", "/data/get", {"key": key}).status == 404
    assert job.call("POST", "/data/set", {"key": key, "value": "commit é"}).status == 200
    assert job.call("POST", "/data/set", {"key": "b", "value": ""}).status == 200
    assert job.call("POST", "/data/exists", {"key": key}).json == {"exists": True}
    assert job.call("POST", "/data/get", {"key": key}).json == {"key": key, "value": "commit é"}
    assert job.call("POST", "/data/keys").json == ["b", key]
    assert job.call("POST", "/data/set", {"key": " ", "value": "x"}).status == 422
    assert running.api.build()["meta_data"] == {"b": "", key: "commit é"}


def test_finish_keeps_status_signal_and_refusal_and_may_be_repeated(
    running: RunningServer, caplog: pytest.LogCaptureFixture
) -> None:
    running.api.create_pipeline(STEPS)
    running.api.create_build()
    job = FakeAgent(running.api).take()
    refusal = {
        "code": "command.differs",
        "message": "the command is not the one that was signed",
        "fields": ["command"],
        "evidence": {"signed": "sha256 aa", "received": "sha256 bb"},
    }
    more = {"signal_reason": "signature_rejected", "refusal": refusal}
    assert job.finish(-1, **more).status == 200
    assert job.finish(0).status == 200
    build = running.api.wait_build("failed")
    shown = build["jobs"][0]
    assert shown["state"] == "failed"
    assert shown["exit_status"] == -1
    assert shown["signal_reason"] == "signature_rejected"
    assert shown["refusal"] == refusal
    assert shown["reason"] == refusal["message"]
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(said) == 1
    assert "[command.differs]" in said[0]
    assert "differs: command" in said[0]
    assert "signed: sha256 aa" in said[0]


@pytest.mark.parametrize(("status", "stored"), [("", -1), ("abc", -1), ("-1", -1), ("255", 255), ("1" * 30, -1)])
def test_an_exit_status_that_is_none_counts_as_none(running: RunningServer, status: str, stored: int) -> None:
    running.api.create_pipeline(STEPS)
    running.api.create_build()
    FakeAgent(running.api).run(status)
    job = running.api.wait_build("failed")["jobs"][0]
    assert (job["state"], job["exit_status"]) == ("failed", stored)


def test_header_times_are_taken(running: RunningServer) -> None:
    running.api.create_pipeline(STEPS)
    running.api.create_build()
    job = FakeAgent(running.api).take()
    assert job.call("POST", "/header_times", {"header_times": {"0": "2026-01-01T00:00:00Z"}}).status == 200
    assert job.call("POST", "/header_times", {"header_times": {"x": "y"}}).status == 422

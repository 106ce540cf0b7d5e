"""OpenID Connect tokens, checked with another library against what the server publishes."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from pipeseal.controlplane.services.oidc import KEY_FILE
from pipeseal.controlplane.store.agents import set_setting
from tests.controlplane.job_side import command, running_jobs
from tests.controlplane.running import FakeAgent, FakeJob, RunningServer, running_server


@pytest.fixture
def running(tmp_path: Path) -> Iterator[RunningServer]:
    with running_server(tmp_path / "data") as server:
        yield server


def checked(running: RunningServer, token: str) -> dict[str, Any]:
    """The claims of a token, found and checked as a relying party does it."""
    published = running.api.call("GET", "/.well-known/openid-configuration").json
    assert published["issuer"] == running.api.url
    keys = running.api.call("GET", published["jwks_uri"].removeprefix(running.api.url)).json
    assert all(set(key) == {"kty", "n", "e", "kid", "alg", "use"} for key in keys["keys"]), "public members alone"
    decoded = jwt.decode(
        token, KeySet.import_key_set(keys), algorithms=published["id_token_signing_alg_values_supported"]
    )
    assert decoded.claims["iss"] == published["issuer"]
    claims: dict[str, Any] = decoded.claims
    return claims


def request(job: FakeJob, **body: Any) -> str:
    answer = job.call("POST", "/oidc/tokens", body)
    assert answer.status == 200, answer.json
    token: str = answer.json["token"]
    return token


def test_a_token_says_which_job_this_is(running: RunningServer) -> None:
    running.api.create_pipeline("steps: [{command: a, key: k}]")
    running.api.create_build(commit="a" * 40, branch="feature:x")
    job = FakeAgent(running.api).take()
    claims = checked(running, request(job))
    assert claims["sub"] == f"organization:local:pipeline:demo:ref:refs/heads/feature%3Ax:commit:{'a' * 40}:step:k"
    assert claims["aud"] == f"{running.api.url}/local"
    assert claims["job_id"] == job.id
    assert claims["agent_id"] == job.env["BUILDKITE_AGENT_ID"]
    assert (claims["organization_slug"], claims["pipeline_slug"], claims["build_number"]) == ("local", "demo", 1)
    assert (claims["build_branch"], claims["build_tag"], claims["step_key"]) == ("feature:x", None, "k")
    assert claims["runner_environment"] == "self-hosted"
    assert claims["exp"] - claims["iat"] == 300
    assert claims["nbf"] == claims["iat"]
    assert abs(claims["iat"] - time.time()) < 60
    assert "build_id" not in claims


def test_what_a_token_says_on_request(running: RunningServer) -> None:
    (job,) = running_jobs(running)
    token = request(
        job,
        audience="sts.example.test",
        lifetime=60,
        claims=["organization_id", "build_id"],
        aws_session_tags=["pipeline_slug", "build_number"],
        subject_claim="pipeline_id",
    )
    claims = checked(running, token)
    assert (claims["aud"], claims["exp"] - claims["iat"]) == ("sts.example.test", 60)
    assert claims["build_id"] == job.env["BUILDKITE_BUILD_ID"]
    assert claims["sub"] == job.env["BUILDKITE_PIPELINE_ID"]
    tags = claims["https://aws.amazon.com/tags"]["principal_tags"]
    assert tags == {"pipeline_slug": ["demo"], "build_number": ["1"]}


NOT_GIVEN: list[Any] = [
    {"lifetime": -1},
    {"lifetime": 100_000},
    {"lifetime": "60"},
    {"audience": "a" * 1001},
    {"claims": ["secret"]},
    {"claims": ["build_id"] * 51},
    {"aws_session_tags": ["zz"]},
    {"subject_claim": "zz"},
    {"subject_claim": "build_number"},
    {"subject_claim": "build_tag"},
    [],
]


def test_what_cannot_be_requested(running: RunningServer) -> None:
    (job,) = running_jobs(running)
    for body in NOT_GIVEN:
        answer = job.call("POST", "/oidc/tokens", body)
        assert (answer.status, answer.json["code"]) == (422, "request.malformed")


def test_only_a_running_job_gets_a_token(running: RunningServer) -> None:
    job, other = running_jobs(running, count=2)
    answer = job.api.agent_call("POST", f"/jobs/{job.id}/oidc/tokens", other.token, {})
    assert (answer.status, answer.json["code"]) == (403, "access.other_job")
    job.finish()
    assert job.call("POST", "/oidc/tokens", {}).json["code"] == "state.not_running"


def test_the_key_outlives_the_server(tmp_path: Path) -> None:
    with running_server(tmp_path / "data") as first:
        keys = first.api.call("GET", "/.well-known/jwks").json
    with running_server(tmp_path / "data") as second:
        assert second.api.call("GET", "/.well-known/jwks").json == keys
    assert (tmp_path / "data" / KEY_FILE).stat().st_mode & 0o077 == 0
    (tmp_path / "data" / KEY_FILE).write_bytes(b"no key")
    with running_server(tmp_path / "data") as third:
        answer = third.api.call("GET", "/.well-known/jwks")
        assert answer.json["code"] == "server.data"


def test_servers_that_share_a_database_publish_one_anothers_keys_while_they_are_used(running: RunningServer) -> None:
    (own,) = running.api.call("GET", "/.well-known/jwks").json["keys"]
    now = running.plane.now()

    def publish(kid: str, used_at: int) -> None:
        value = json.dumps({"key": {**own, "kid": kid}, "used_at": used_at})
        running.plane.database.submit(lambda tx: set_setting(tx, f"oidc-key/{kid}", value)).result()

    publish("other", now)
    publish("old", now - 25 * 3600 * 1_000_000)
    keys = running.api.call("GET", "/.well-known/jwks").json["keys"]
    assert [key["kid"] for key in keys] == [own["kid"], "other"]
    (job,) = running_jobs(running)
    assert checked(running, request(job))["job_id"] == job.id


def test_the_real_command(running: RunningServer) -> None:
    (job,) = running_jobs(running)
    done = command(job, "oidc", "request-token", "--audience", "x", "--skip-redaction")
    assert done.status == 0, done.err
    assert checked(running, done.out.decode().strip())["aud"] == "x"

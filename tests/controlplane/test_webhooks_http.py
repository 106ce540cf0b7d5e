"""Deliveries of providers over real HTTP: proven, wanted or not, built once, and what the builds know of them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeseal.controlplane.domain.webhooks import Provider
from tests.controlplane.running import QUICK, Answer, FakeAgent, RunningServer, running_server, server_process
from tests.controlplane.webhook_payloads import (
    COMMIT,
    NULL,
    SECRET,
    SIGNING_TOKEN,
    bitbucket_push,
    bitbucket_ref,
    encode,
    github_pull_request,
    github_push,
    gitlab_push,
    prove,
)

STEPS = "steps: [{command: a, key: a}]"


@pytest.fixture
def running(tmp_path: Path) -> Iterator[RunningServer]:
    settings = replace(QUICK, ping_hold=0.2, cancel_timeout=0.5, heartbeat_timeout=30)
    with running_server(tmp_path / "data", settings) as server:
        yield server


def make_pipeline(running: RunningServer, repository: str = "git@github.com:acme/api.git", **more: Any) -> None:
    body = {"name": "demo", "repository": repository, "configuration": STEPS, **more}
    answer = running.api.rest("POST", "/pipelines", body)
    assert answer.status == 201, answer.json


def make_webhook(running: RunningServer, provider: str = "github", secret: str = SECRET) -> dict[str, Any]:
    answer = running.api.rest("POST", "/pipelines/demo/webhooks", {"provider": provider, "secret": secret})
    assert answer.status == 201, answer.json
    made: dict[str, Any] = answer.json
    return made


def deliver(
    running: RunningServer,
    webhook: dict[str, Any],
    event: str,
    payload: Any,
    *,
    secret: str = SECRET,
    **headers: str,
) -> Answer:
    body = payload if isinstance(payload, bytes) else encode(payload)
    proof = prove(Provider(webhook["provider"]), event, body, secret, now=time.time())
    path = webhook["webhook_url"].removeprefix(running.api.url)
    return running.api.call("POST", path, raw=body, headers={**proof, **headers})


def builds(running: RunningServer) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = running.api.rest("GET", "/pipelines/demo/builds").json
    return found


def test_a_push_makes_a_build_of_its_commit(running: RunningServer) -> None:
    make_pipeline(running)
    webhook = make_webhook(running)
    answer = deliver(running, webhook, "push", github_push())
    assert answer.status == 200, answer.json
    (outcome,) = answer.json["outcomes"]
    assert outcome["build"]["number"] == 1
    build = running.api.build()
    assert (build["commit"], build["branch"], build["source"]) == (COMMIT, "main", "webhook")
    assert build["message"] == github_push()["head_commit"]["message"]
    assert build["pull_request"] is None


def test_a_delivery_counts_once_however_often_it_comes(running: RunningServer) -> None:
    make_pipeline(running)
    webhook = make_webhook(running)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: deliver(running, webhook, "push", github_push()), range(16)))
    assert {answer.status for answer in answers} == {200}
    assert sum(not answer.json["repeated"] for answer in answers) == 1
    assert {answer.json["outcomes"][0]["build"]["number"] for answer in answers} == {1}
    again = deliver(running, webhook, "push", github_push(), **{"X-GitHub-Delivery": "another id, another header"})
    assert again.json["repeated"] is True
    assert len(builds(running)) == 1


def test_a_delivery_counts_once_though_the_server_dies(tmp_path: Path) -> None:
    with server_process(tmp_path / "data") as process:
        api = process.start()
        body = {"name": "demo", "repository": "git@github.com:acme/api.git", "configuration": STEPS}
        assert api.rest("POST", "/pipelines", body).status == 201
        made = api.rest("POST", "/pipelines/demo/webhooks", {"provider": "github", "secret": SECRET}).json
        path = made["webhook_url"].removeprefix(api.url)
        push = encode(github_push())
        for _ in range(3):
            answer = api.call("POST", path, raw=push, headers=prove(Provider.GITHUB, "push", push))
            assert answer.status == 200, answer.json
            process.kill()
            api = process.start()
        assert len(api.rest("GET", "/pipelines/demo/builds").json) == 1


def test_what_is_not_proven_makes_nothing(running: RunningServer) -> None:
    make_pipeline(running)
    webhook = make_webhook(running)
    wrong = deliver(running, webhook, "push", github_push(), secret="another-secret-altogether")
    assert (wrong.status, wrong.json["code"]) == (401, "webhook.signature")
    path = webhook["webhook_url"].removeprefix(running.api.url)
    bare = running.api.call("POST", path, raw=encode(github_push()))
    assert (bare.status, bare.json["code"]) == (401, "webhook.unsigned")
    for elsewhere in ("/webhooks/github/pswh_unknown", path.replace("github", "gitlab"), path.replace("github", "x")):
        lost = running.api.call("POST", elsewhere, raw=b"{}")
        assert (lost.status, lost.json["code"]) == (404, "request.not_found")
    bad = deliver(running, webhook, "push", b"{")
    assert (bad.status, bad.json["code"]) == (422, "webhook.malformed")
    assert builds(running) == []


def test_secrets_are_changed_without_a_gap_and_webhooks_removed(running: RunningServer) -> None:
    make_pipeline(running)
    webhook = make_webhook(running)
    path = f"/pipelines/demo/webhooks/{webhook['id']}"
    fresh = running.api.rest("PUT", path + "/secret").json["secret"]
    assert deliver(running, webhook, "push", github_push(after="1" * 40), secret=SECRET).status == 200
    assert deliver(running, webhook, "push", github_push(after="2" * 40), secret=fresh).status == 200
    running.api.rest("PUT", path + "/secret", {"secret": "x" * 20})
    assert deliver(running, webhook, "push", github_push(after="3" * 40), secret=SECRET).status == 401
    listed = running.api.rest("GET", "/pipelines/demo/webhooks").json
    assert [(row["id"], row["provider"]) for row in listed] == [(webhook["id"], "github")]
    assert "secret" not in listed[0]
    assert running.api.rest("DELETE", path).status == 204
    assert deliver(running, webhook, "push", github_push(after="4" * 40), secret=fresh).status == 404
    assert running.api.rest("DELETE", path).status == 404
    assert running.api.rest("POST", "/pipelines/demo/webhooks", {"provider": "svn"}).status == 422
    assert running.api.rest("POST", "/pipelines/demo/webhooks", {"provider": "git", "secret": "short"}).status == 422


def test_secrets_and_urls_are_not_in_the_database(running: RunningServer) -> None:
    make_pipeline(running)
    webhook = make_webhook(running)
    token = webhook["webhook_url"].rpartition("/")[2]
    rows = running.plane.database.read_now(lambda tx: [dict(row) for row in tx.all("SELECT * FROM webhooks")])
    assert SECRET not in repr(rows)
    assert token not in repr(rows)


def test_a_pull_request_is_known_to_conditions_and_jobs(running: RunningServer) -> None:
    steps = """
steps:
  - {command: a, key: a, if: build.pull_request.id == "42"}
  - {command: b, key: b, if: build.pull_request.repository.fork == true}
  - {command: c, key: c, if: 'build.source_event == "pull_request" && build.source_action == "opened"'}
"""
    make_pipeline(running, configuration=steps, provider_settings={"build_pull_request_forks": True})
    webhook = make_webhook(running)
    payload = github_pull_request(fork=True)
    payload["number"] = payload["pull_request"]["number"] = 42
    answer = deliver(running, webhook, "pull_request", payload)
    assert "build" in answer.json["outcomes"][0], answer.json
    build = running.api.build()
    assert {job["step_key"]: job["state"] for job in build["jobs"]} == {
        "a": "scheduled",
        "b": "scheduled",
        "c": "scheduled",
    }
    assert build["pull_request"]["id"] == "42"
    assert build["branch"].startswith("mallory:")
    env = FakeAgent(running.api).take().env
    assert env["BUILDKITE_PULL_REQUEST"] == "42"
    assert env["BUILDKITE_PULL_REQUEST_BASE_BRANCH"] == "main"
    assert env["BUILDKITE_PULL_REQUEST_REPO"] == "https://github.com/mallory/api.git"
    assert env["BUILDKITE_PIPELINE_PROVIDER"] == "github"
    again = running.api.rest("PUT", "/pipelines/demo/builds/1/rebuild").json
    assert [job["state"] for job in again["jobs"]] == ["scheduled"] * 3, "a rebuild knows it too"


@pytest.mark.parametrize(
    ("settings", "event", "payload", "words"),
    [
        ({}, "push", github_push(ref="refs/tags/v1"), "does not build tags"),
        ({"branch_configuration": "release/*"}, "push", github_push(), "branch filter does not include 'main'"),
        ({}, "pull_request", github_pull_request(fork=True), "from other repositories"),
        (
            {"provider_settings": {"filter_enabled": True, "filter_condition": 'build.branch == "x"'}},
            "push",
            github_push(),
            "condition is false",
        ),
        ({"repository": "https://example.test/other.git"}, "push", github_push(), "another repository"),
        ({}, "push", github_push(after=NULL, deleted=True), "was deleted"),
        ({}, "ping", {"zen": "x"}, "pong"),
        (
            {"configuration": "steps: [{command: x, if: build.nothing}]"},
            "push",
            github_push(),
            "no build could be made",
        ),
    ],
)
def test_what_is_not_wanted_is_answered_with_the_reason(
    running: RunningServer, settings: dict[str, Any], event: str, payload: Any, words: str
) -> None:
    make_pipeline(running, **settings)
    webhook = make_webhook(running)
    answer = deliver(running, webhook, event, payload)
    assert answer.status == 200, answer.json
    assert words in answer.json["outcomes"][0]["ignored"]
    assert builds(running) == []


def test_the_other_providers_deliver_too(running: RunningServer) -> None:
    make_pipeline(running, repository="git@gitlab.com:acme/api.git")
    gitlab = make_webhook(running, "gitlab", SIGNING_TOKEN)
    answer = deliver(running, gitlab, "Push Hook", gitlab_push(), secret=SIGNING_TOKEN)
    assert answer.status == 200, answer.json
    bitbucket = make_webhook(running, "bitbucket")
    running.api.rest("PATCH", "/pipelines/demo", {"repository": "git@bitbucket.org:acme/api.git"})
    moved = [{"new": bitbucket_ref(), "old": None}, {"new": bitbucket_ref(name="dev"), "old": None}]
    answer = deliver(running, bitbucket, "repo:push", bitbucket_push(*moved))
    assert answer.status == 200, answer.json
    git = make_webhook(running, "git", "")
    lines = f"{NULL} {COMMIT} refs/heads/feature\n{NULL} {COMMIT} refs/heads/other\n".encode()
    answer = deliver(running, git, "", lines, secret=git["secret"])
    assert [outcome["build"]["number"] for outcome in answer.json["outcomes"]] == [
        number + len(builds(running)) - 1 for number in (0, 1)
    ]
    assert {build["branch"] for build in builds(running)} >= {"feature", "other"}
    assert [build["number"] for build in builds(running)] == list(range(len(builds(running)), 0, -1))


def test_builds_of_a_deleted_branch_are_cancelled_when_the_pipeline_says_so(running: RunningServer) -> None:
    make_pipeline(running)
    webhook = make_webhook(running)
    deliver(running, webhook, "push", github_push())
    deliver(running, webhook, "push", github_push(after=NULL, deleted=True))
    assert running.api.build()["state"] == "scheduled"
    changes = {"provider_settings": {"cancel_deleted_branch_builds": True}}
    assert running.api.rest("PATCH", "/pipelines/demo", changes).status == 200
    deliver(running, webhook, "push", github_push(after=NULL, deleted=True, created=None))
    assert running.api.build()["state"] == "canceled"

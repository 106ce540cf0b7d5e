"""Public pipelines: what a stranger sees is a closed list, read-only; the rest looks as if it did not exist."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from pipeseal.controlplane.http.app import all_routes
from pipeseal.controlplane.http.openapi.document import operation_keys
from pipeseal.controlplane.http.public import ITEMS
from pipeseal.controlplane.http.rest import ORGANIZATION, PREFIX
from tests.controlplane.job_side import upload
from tests.controlplane.running import QUICK, Answer, Api, FakeAgent, RunningServer, running_server

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "public-pipelines.md"
ROOT = "/v2/organizations/local"
STEPS = """
env:
  COLOUR: "green"
  DEPLOY_TOKEN: "tok-1234567890"
steps:
  - label: build
    key: build
    command: make secret-free
    env: {LEVEL: "2", PIPESEAL_SEAL: "sealed-names"}
    agents: {queue: hidden-queue}
    artifact_paths: "out/*"
"""
# Text that stands somewhere in the database and is nobody's business.
SECRETS = (
    "hidden-queue",
    "tok-1234567890",
    "sealed-names",
    "second line",
    "meta-value",
    "Ann",
    "build-env-value",
    "told-field",
)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[RunningServer]:
    with running_server(tmp_path / "data", QUICK) as server:
        yield server


def publish(api: Api, slug: str = "demo", **more: str) -> None:
    assert api.rest("PATCH", "", {"public_pipelines": True}).status == 200
    answer = api.rest("PATCH", f"/pipelines/{slug}", {"visibility": "public", **more})
    assert answer.status == 200, answer.json


def played(api: Api, slug: str = "demo") -> dict[str, Any]:
    """A build with one job that ran, printed, and left an artifact, an annotation and meta-data behind."""
    api.create_pipeline(STEPS, slug)
    build = api.create_build(
        slug,
        message="fix it\n\nsecond line",
        commit="a" * 40,
        branch="main",
        env={"EXTRA": "build-env-value"},
        author={"name": "Ann", "email": "ann@example.org"},
        meta_data={"release": "meta-value"},
    )
    job = FakeAgent(api, "queue=hidden-queue", name="builder-1").take()
    assert job.chunk(1, 0, b"one line\n").status == 200
    upload(job, "out/report.txt", b"the report", absolute_path="/home/agent/builds/out/report.txt")
    assert job.call("POST", "/annotations", {"body": "all **good**", "context": "c", "style": "info"}).status < 300
    findings = [{"code": "environment.unknown", "fields": ["told-field"]}]
    assert job.finish(0, decision={"mode": "observe", "proof": "none", "findings": findings}).status == 200
    return api.build(build["number"], slug)


def stranger(api: Api, path: str, method: str = "GET", body: Any = None) -> Answer:
    return api.call(method, path, body=body)


def paths(build: Mapping[str, Any], slug: str = "demo") -> dict[str, str]:
    """Every path segment that the REST API's routes have, as the played build has them."""
    return {
        "organization": "local",
        "slug": slug,
        "number": str(build["number"]),
        "job_id": build["jobs"][0]["id"],
        "agent_id": build["jobs"][0]["agent"]["id"],
    }


def members_of(value: Any, prefix: str = "") -> set[str]:
    """The dotted names of all members; what stands in a list counts as if it stood alone."""
    if isinstance(value, list):
        return set().union(*(members_of(one, prefix) for one in value)) if value else set()
    if not isinstance(value, dict):
        return {prefix.rstrip(".")}
    return set().union(*(members_of(one, f"{prefix}{name}.") for name, one in value.items()))


def allowed(view: Any, prefix: str = "") -> set[str]:
    """The dotted names that a view lets through; a trailing `*` where it lets through all that is below."""
    if not isinstance(view, dict):
        return {prefix.rstrip("."), prefix + "*"}
    return {prefix.rstrip(".")}.union(*(allowed(part, f"{prefix}{name}.") for name, part in view.items()))


def is_allowed(name: str, names: set[str]) -> bool:
    parts = name.split(".")
    return name in names or any(".".join([*parts[:count], "*"]) in names for count in range(len(parts)))


def test_walk_over_every_route_shows_a_stranger_the_closed_list_and_nothing_else(running: RunningServer) -> None:
    api = running.api
    build = played(api)
    publish(api, public_since="all")
    artifact = api.rest("GET", f"/pipelines/demo/builds/{build['number']}/artifacts").json[0]
    segments = {**paths(build), "artifact_id": artifact["id"]}
    listed = {endpoint: item for item in ITEMS for endpoint in item.endpoints}
    served = operation_keys(all_routes(running.plane))
    seen = set()
    for key in served:
        method, _, path = key.partition(" ")
        if not path.startswith(PREFIX):
            continue
        below = path.removeprefix(PREFIX + ORGANIZATION)
        row = f"{method} {below.replace('{number}', '{number:whole}')}" if path != below else ""
        filled = path
        for name in ("organization", "slug", "number", "job_id", "agent_id", "artifact_id"):
            filled = filled.replace(f"{{{name}}}", segments[name])
        filled = filled.replace("{", "").replace("}", "")
        answer = stranger(api, filled, method, {} if method != "GET" else None)
        if row not in listed:
            assert (answer.status, answer.json["code"]) == (401, "access.no_token"), key
            continue
        assert answer.status in (200, 302), (key, answer.status, answer.body[:300])
        seen.add(row)
        members = listed[row].members
        if members is not None:
            extra = {name for name in members_of(answer.json) if not is_allowed(name, allowed(members))}
            assert not extra, (key, extra)
            whole = api.call("GET", filled, authorization=f"Bearer {api.api_token}").json
            # A stranger is told nothing else than everybody else, only less.
            assert members_of(answer.json) <= members_of(whole), key
        for secret in SECRETS:
            assert secret.encode() not in answer.body, (key, secret)
    assert seen == set(listed)


def test_secrets_of_the_walk_are_there_to_be_found(running: RunningServer) -> None:
    build = played(running.api)
    number, job = build["number"], build["jobs"][0]["id"]
    shown = [
        running.api.rest("GET", f"/pipelines/demo/builds/{number}{path}").body
        for path in ("", "/artifacts", f"/jobs/{job}/env")
    ]
    everything = b"".join([*shown, running.api.rest("GET", "/agents").body, STEPS.encode()])
    assert [secret for secret in SECRETS if secret.encode() not in everything] == []


def test_stranger_reads_log_artifact_and_environment(running: RunningServer) -> None:
    api = running.api
    build = played(api)
    publish(api, public_since="all")
    job = f"{ROOT}/pipelines/demo/builds/1/jobs/{build['jobs'][0]['id']}"
    assert stranger(api, f"{job}/log.txt").body == b"one line\n"
    artifact = stranger(api, f"{job}/artifacts").json[0]
    link = stranger(api, artifact["download_url"].removeprefix(api.url)).headers["location"]
    assert stranger(api, link.removeprefix(api.url)).body == b"the report"
    assert stranger(api, f"{job}/env").json["env"] == {"COLOUR": "green", "DEPLOY_TOKEN": "[REDACTED]", "LEVEL": "2"}
    shown = stranger(api, f"{ROOT}/pipelines/demo/builds/1").json
    assert shown["message"] == "fix it"
    assert shown["jobs"][0]["agent"] == {"name": "builder-1", "version": "3.137.0"}


def test_private_pipeline_looks_as_if_it_did_not_exist(running: RunningServer) -> None:
    api = running.api
    build = played(api)
    api.create_pipeline(STEPS, "other")
    publish(api, "other")
    job = build["jobs"][0]["id"]
    for path in ("", "/builds", "/builds/1", f"/builds/1/jobs/{job}", f"/builds/1/jobs/{job}/log.txt"):
        private = stranger(api, f"{ROOT}/pipelines/demo{path}")
        missing = stranger(api, f"{ROOT}/pipelines/gone{path}")
        assert (private.status, private.body) == (missing.status, missing.body) == (401, missing.body)
    assert [row["slug"] for row in stranger(api, f"{ROOT}/pipelines").json] == ["other"]
    assert stranger(api, "/v2/organizations/elsewhere/pipelines/other").status == 401


def test_builds_from_before_stay_private_unless_asked_for(running: RunningServer) -> None:
    api = running.api
    played(api)
    publish(api)
    api.create_build("demo", message="after")
    builds = f"{ROOT}/pipelines/demo/builds"
    assert [build["number"] for build in stranger(api, builds).json] == [2]
    assert stranger(api, f"{builds}/1").status == stranger(api, f"{builds}/3").status == 404
    assert stranger(api, f"{builds}/1").body == stranger(api, f"{builds}/3").body
    publish(api, public_since="all")
    assert [build["number"] for build in stranger(api, builds).json] == [2, 1]
    publish(api)  # once more, for new builds: what was shown stays shown
    assert stranger(api, f"{builds}/1").status == 200


def test_nothing_is_public_without_the_organisation(running: RunningServer) -> None:
    api = running.api
    played(api)
    refused = api.rest("PATCH", "/pipelines/demo", {"visibility": "public"})
    assert (refused.status, refused.json["code"]) == (422, "pipeline.public")
    publish(api, public_since="all")
    path = f"{ROOT}/pipelines/demo/builds/1"
    assert stranger(api, path).status == 200
    assert api.rest("PATCH", "", {"public_pipelines": False}).json["public_pipelines"] is False
    assert stranger(api, path).status == 401
    assert api.rest("PATCH", "", {"public_pipelines": True}).status == 200
    assert stranger(api, path).status == 200
    assert api.rest("PATCH", "/pipelines/demo", {"visibility": "private"}).json["visibility"] == "private"
    assert stranger(api, path).status == 401
    assert api.rest("PATCH", "/pipelines/demo", {"visibility": "internal"}).status == 422


def test_strangers_cannot_search_by_what_they_cannot_see(running: RunningServer) -> None:
    api = running.api
    played(api)
    publish(api, public_since="all")
    builds = f"{ROOT}/pipelines/demo/builds"
    for query in ("creator=Ann", "creator=Nobody", "meta_data[release]=meta-value", "meta_data[release]=x"):
        assert len(stranger(api, f"{builds}?{query}").json) == 1, query


def test_the_page_names_every_entry_of_the_list() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for item in ITEMS:
        assert f"- {item.what}" in page

"""Jobs of a build over the REST API: found by page, run again all at once; and how lists lead to their last page."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pipeseal.signing.keys.generate import generate_key_pair
from tests.controlplane.running import QUICK, FakeAgent, RunningServer, running_server


@pytest.fixture
def running(tmp_path: Path) -> Iterator[RunningServer]:
    with running_server(tmp_path / "data") as server:
        yield server


def test_jobs_of_a_build_are_found_by_page(running: RunningServer) -> None:
    api = running.api
    api.create_pipeline(
        "steps: [{command: a, key: a}, {group: g, key: g, steps: [{command: b, key: b, parallelism: 2}]}, {wait: ~}]"
    )
    api.create_build()
    agent = FakeAgent(api)
    first = agent.run(1)
    again = api.rest("PUT", f"/pipelines/demo/builds/1/jobs/{first.id}/retry").json["id"]
    path = "/pipelines/demo/builds/1/jobs"

    def found(query: str) -> list[str]:
        answer = api.rest("GET", f"{path}?{query}")
        assert answer.status == 200, answer.json
        return [job["step_key"] or job["type"] for job in answer.json["items"]]

    assert found("") == ["a", "b", "b", "waiter"]
    assert api.rest("GET", path).json["items"][0]["id"] == again
    assert found("include_retried_jobs=true") == ["a", "a", "b", "b", "waiter"]
    assert found("state=failed") == []
    assert found("state[]=failed&state[]=waiting&include_retried_jobs=true") == ["a", "waiter"]
    assert found("step_key=b") == ["b", "b"] == found("group_key=g") == found("group_key[]=g&step_key[]=b")
    assert found("group_key=none") == []

    seen, answer = [], api.rest("GET", f"{path}?per_page=2&include_retried_jobs=true")
    assert answer.json["links"].keys() == {"next", "last"}
    assert answer.json["links"]["last"].startswith(f"{api.url}/v2/organizations/local{path}?page=3&per_page=2&")
    while True:
        seen += [job["id"] for job in answer.json["items"]]
        if answer.json["links"]["next"] is None:
            break
        assert f'<{answer.json["links"]["next"]}>; rel="next"' in answer.headers["link"]
        following = answer.json["links"]["next"].removeprefix(api.url)
        answer = api.call("GET", following, authorization=f"Bearer {api.api_token}")
    assert answer.json["links"].keys() == {"next", "first", "prev"}
    assert seen == [job["id"] for job in api.build()["jobs"]]
    assert api.rest("GET", "/pipelines/demo/builds/9/jobs").status == 404
    assert api.rest("GET", f"{path}?include_retried_jobs=2").status == 422


def test_all_that_failed_runs_again_at_once(running: RunningServer) -> None:
    api = running.api
    api.create_pipeline(
        "steps: [{command: hard, key: hard}, {command: soft, key: soft, soft_fail: true}, {command: good, key: good},"
        " {command: never, key: never, retry: {manual: false}}, {wait: ~}, {command: behind, key: behind}]"
    )
    api.create_build()
    agent = FakeAgent(api)
    for status in (1, 1, 0, 1):
        agent.run(status)
    assert api.build()["state"] == "failed"
    path = "/pipelines/demo/builds/1/retry_failed_jobs"
    assert api.rest("POST", path, {"states": ["canceled", "timed_out", "expired"]}).json == {"retried_jobs_count": 0}
    assert api.rest("POST", path, {"states": ["passed"]}).status == 422
    assert api.build()["state"] == "failed"
    assert api.rest("POST", path, {"states": ["soft_failed"]}).json == {"retried_jobs_count": 1}
    # `never` forbids it, `good` passed, and the one of `soft` has not ended.
    assert api.rest("POST", path).json == {"retried_jobs_count": 1}
    assert api.rest("POST", path).json == {"retried_jobs_count": 0}
    states = {job["step_key"]: job["state"] for job in api.build()["jobs"] if not job.get("retried")}
    assert (states["hard"], states["soft"], states["good"]) == ("scheduled", "scheduled", "passed")
    assert states["never"] == "failed"
    assert api.rest("POST", "/pipelines/demo/builds/9/retry_failed_jobs").status == 404


def test_at_its_limit_a_build_runs_none_of_its_failed_jobs_again(tmp_path: Path) -> None:
    settings = replace(QUICK, limits=replace(QUICK.limits, max_jobs_per_build=3))
    with running_server(tmp_path / "data", settings) as running:
        running.api.create_pipeline("steps: [{command: a}, {command: b}]")
        running.api.create_build()
        agent = FakeAgent(running.api)
        agent.run(1)
        agent.run(1)
        answer = running.api.rest("POST", "/pipelines/demo/builds/1/retry_failed_jobs")
        assert answer.status == 422 and "max_jobs_per_build" in answer.json["message"]
        assert [job["retried"] for job in running.api.build()["jobs"]] == [False, False]


@pytest.mark.parametrize("path", ["/pipelines", "/agents", "/changes", "/secrets", "/keys", "/signing"])
def test_every_list_leads_to_its_last_page(running: RunningServer, path: str) -> None:
    api = running.api
    for number in range(3):
        api.create_pipeline("steps: [{command: x}]", f"p{number}")
        api.rest("PUT", f"/secrets/S{number}", {"value": "x"})
        FakeAgent(api)
        api.rest("POST", "/keys", {"jwks": json.loads(generate_key_pair("EdDSA").public_set)})
    first = api.rest("GET", f"{path}?per_page=2")
    (last,) = re.findall(r'<([^>]*)>; rel="last"', first.headers["link"])
    answer = api.call("GET", last.removeprefix(api.url), authorization=f"Bearer {api.api_token}")
    assert answer.status == 200 and 1 <= len(answer.json) <= 2
    assert 'rel="first"' in answer.headers["link"] and 'rel="next"' not in answer.headers["link"]

"""The two GraphQL operations that signing tools need, and what is refused beside them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeseal.controlplane.http.graphql import GET_PIPELINE, PATH, UPDATE_PIPELINE
from tests.controlplane.running import Answer, RunningServer, running_server

YAML = "steps:\n  - command: make # why\n"


@pytest.fixture
def running(tmp_path: Path) -> Iterator[RunningServer]:
    with running_server(tmp_path / "data") as server:
        server.api.create_pipeline(YAML)
        yield server


def ask(running: RunningServer, query: Any, token: str = "", **variables: Any) -> Answer:
    body = {"query": query, "variables": variables, "operationName": "x"}
    return running.api.call("POST", PATH, body=body, authorization=f"Bearer {token or running.api.api_token}")


def errors(answer: Answer) -> str:
    assert (answer.status, answer.json["data"]) == (200, None)
    message: str = answer.json["errors"][0]["message"]
    return message


def test_a_pipeline_is_read_and_its_steps_are_replaced(running: RunningServer) -> None:
    found = ask(running, GET_PIPELINE, orgPipelineSlug="local/demo").json["data"]["pipeline"]
    assert found["repository"] == {"url": "https://git.example.test/r.git"}
    assert found["steps"] == {"yaml": YAML}
    written = "steps: [{command: other}]"
    answer = ask(running, UPDATE_PIPELINE, id=found["id"], yaml=written)
    assert answer.json["data"]["pipelineUpdate"]["pipeline"]["steps"] == {"yaml": written}
    assert running.api.rest("GET", "/pipelines/demo").json["configuration"] == written


def test_white_space_and_commas_do_not_matter(running: RunningServer) -> None:
    query = re.sub(r"\s+", "\t", GET_PIPELINE.replace("{", "{\n").replace("id\n", "id,\n"))
    assert ask(running, query, orgPipelineSlug="local/demo").json["data"]["pipeline"]


@pytest.mark.parametrize("slug", ["local/none", "other/demo", "demo", ""])
def test_a_pipeline_that_is_not_there_is_null(running: RunningServer, slug: str) -> None:
    assert ask(running, GET_PIPELINE, orgPipelineSlug=slug).json == {"data": {"pipeline": None}}


def test_what_is_refused(running: RunningServer) -> None:
    assert "no other" in errors(ask(running, "query { viewer { id } }"))
    assert "no other" in errors(ask(running, GET_PIPELINE + "query B { pipelines { id } }"))
    assert "$orgPipelineSlug" in errors(ask(running, GET_PIPELINE))
    assert "$yaml" in errors(ask(running, UPDATE_PIPELINE, id="x", yaml=1))
    assert "no such pipeline" in errors(ask(running, UPDATE_PIPELINE, id="x", yaml=YAML))
    found = ask(running, GET_PIPELINE, orgPipelineSlug="local/demo").json["data"]["pipeline"]
    errors(ask(running, UPDATE_PIPELINE, id=found["id"], yaml="steps: {"))
    assert running.api.rest("GET", "/pipelines/demo").json["configuration"] == YAML
    assert ask(running, 1).status == 422


def test_only_api_tokens_are_taken(running: RunningServer) -> None:
    for token in ("wrong", running.api.registration_token):
        assert ask(running, GET_PIPELINE, token, orgPipelineSlug="local/demo").status == 401
    assert running.api.call("POST", PATH, body={"query": GET_PIPELINE}).status == 401

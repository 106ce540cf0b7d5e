"""Requests made up from the OpenAPI description, sent to a real server: it keeps to what it says of itself."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from pipeseal.agentapi.ping_stream import STREAM_PATH
from pipeseal.controlplane.http.openapi.document import described_operations, make_document
from pipeseal.controlplane.http.openapi.operation import TEXT
from tests.controlplane.http_stage import Scene
from tests.controlplane.running import QUICK, RunningServer, running_server

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
# A stream of gRPC messages does not end, so nothing can look at it as a whole; its own tests do.
KEYS = [key for key in described_operations() if STREAM_PATH not in key]

# The server runs in a thread of this process and draws random numbers while a strategy does.
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    quick = replace(QUICK, ping_hold=0.0, ping_interval=1)
    with running_server(tmp_path_factory.mktemp("server") / "data", quick) as server:
        yield server


def strict(document: dict[str, Any]) -> dict[str, Any]:
    """The description in which no answer may hold a member that is not described."""
    document = copy.deepcopy(document)
    sent = {"PipelineUpload", "HeaderTimes"}
    for path in document["paths"].values():
        for operation in path.values():
            # Waiting for what does not come is tried elsewhere, and takes its time.
            operation["parameters"] = [one for one in operation.get("parameters", ()) if one["name"] != "wait"]
            body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            sent |= {str(body.get("schema", {}).get("$ref", "")).rpartition("/")[2]}
    for name, schema in document["components"]["schemas"].items():
        if name not in sent and "properties" in schema:
            schema["additionalProperties"] = False
    return document


@pytest.fixture(scope="module")
def schema() -> Any:
    loaded = schemathesis.openapi.from_dict(strict(make_document()))
    loaded.config.generation.update(with_security_parameters=False)
    return loaded


def can_be_wrong(key: str) -> bool:
    """Whether there is anything in a request that its description rules out: any text will do for most segments."""
    described = described_operations()[key]
    typed = any(parameter.schema != TEXT for parameter in described.parameters if not parameter.header)
    return described.body is not None or typed or any(f"{{{name}}}" in key for name in ("number", "part", "expires"))


CASES = [(key, GenerationMode.POSITIVE) for key in KEYS] + [
    (key, GenerationMode.NEGATIVE) for key in KEYS if can_be_wrong(key)
]


@pytest.mark.parametrize(("key", "mode"), CASES, ids=[f"{mode.value} {key}" for key, mode in CASES])
def test_answers_are_as_described(running: RunningServer, schema: Any, key: str, mode: GenerationMode) -> None:
    check_answers(running, schema, key, mode, examples=8)


_shared: dict[str, Scene] = {}


def scene_for(running: RunningServer, key: str) -> Scene:
    """A scene of its own for what changes something, a shared one for what only looks."""
    if not key.startswith("GET "):
        return Scene(running)
    if running.api.url not in _shared:
        _shared[running.api.url] = Scene(running)
    return _shared[running.api.url]


def check_answers(running: RunningServer, schema: Any, key: str, mode: GenerationMode, *, examples: int) -> None:
    """Send requests to an operation, half of them with segments that lead to something, and look at the answers."""
    method, _, path = key.partition(" ")
    operation, described = schema[path][method], described_operations()[key]
    scene = scene_for(running, key)
    authorization = scene.token(described.proof, key)
    headers = {"Authorization": authorization} if authorization else {}
    real = scene.segments(key)
    segments = {name: value for name, value in real.items() if f"{{{name}}}" in path}
    ways = [operation.as_strategy(mode, path_parameters=segments)]
    if segments:
        ways.append(operation.as_strategy(mode))
    checks = [*CHECKS, negative_data_rejection] if mode is GenerationMode.NEGATIVE else CHECKS
    statuses: set[int] = set()

    with requests.Session() as session:

        @seed(1)
        @settings(
            max_examples=examples,
            database=None,
            deadline=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=st.one_of(*ways))
        def try_it(case: Any) -> None:
            response = case.call(base_url=running.api.url, session=session, headers=headers)
            statuses.add(response.status_code)
            case.validate_response(response, checks=checks)

        try_it()
    assert statuses

"""The description of the HTTP API describes every route and nothing else, and is what a server serves."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest

from pipeseal.agentapi.ping_stream import STREAM_PATH
from pipeseal.controlplane.http.app import all_routes
from pipeseal.controlplane.http.openapi.document import described_operations, make_document, operation_keys
from pipeseal.controlplane.services.plane import Settings, open_plane
from tests.controlplane.running import running_server

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "openapi.json"


def test_every_route_is_described_and_nothing_else(tmp_path: Path) -> None:
    plane = open_plane(tmp_path / "data", Settings())
    try:
        assert sorted(operation_keys(all_routes(plane))) == sorted(described_operations())
    finally:
        plane.close()


def test_without_streaming_the_stream_alone_is_not_served(tmp_path: Path) -> None:
    plane = open_plane(tmp_path / "data", dataclasses.replace(Settings(), streaming_pings=False))
    try:
        keys = set(operation_keys(all_routes(plane)))
    finally:
        plane.close()
    assert set(described_operations()) - keys == {f"POST {STREAM_PATH}"}


def test_the_server_serves_the_description_of_the_reference(tmp_path: Path) -> None:
    with running_server(tmp_path / "data") as running:
        answer = running.api.call("GET", "/openapi.json")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json == make_document() == json.loads(PAGE.read_text(encoding="utf-8"))


def references(value: Any) -> set[str]:
    """Every `$ref` in a value."""
    if isinstance(value, dict):
        found = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return found.union(*map(references, value.values()))
    return set().union(*map(references, value)) if isinstance(value, list) else set()


def test_the_description_hangs_together() -> None:
    document = make_document()
    names = [one["operationId"] for path in document["paths"].values() for one in path.values()]
    assert len(names) == len(set(names))
    schemas = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert references(document["paths"]) <= schemas
    assert references(document["components"]) <= schemas
    # No name tells where in the code a type lies, and none is private.
    assert all(re.fullmatch(r"[A-Z][A-Za-z]+", name) for name in document["components"]["schemas"])
    used = {
        next(iter(need)) for path in document["paths"].values() for one in path.values() for need in one["security"]
    }
    assert used == set(document["components"]["securitySchemes"])


@pytest.mark.parametrize("key", sorted(described_operations()))
def test_each_operation_says_what_it_needs(key: str) -> None:
    method, _, path = key.partition(" ")
    operation = make_document()["paths"][path][method.lower()]
    in_path = {one["name"] for one in operation.get("parameters", ()) if one["in"] == "path"}
    assert in_path == set(re.findall(r"\{([a-z_]+)\}", path))
    assert operation["summary"].endswith(".")
    # A delivery is proven by its signature, which is no token.
    proven = bool(operation["security"]) or operation["operationId"] == "deliver_webhook"
    assert ("401" in operation["responses"]) == proven
    if "requestBody" in operation:
        assert "413" in operation["responses"]
    if "application/json" in operation.get("requestBody", {}).get("content", {}):
        assert "422" in operation["responses"]

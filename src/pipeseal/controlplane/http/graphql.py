"""The two GraphQL operations with which signing tools read a pipeline's steps and put signed ones in their place.

This is no GraphQL server: it knows these two documents, as text without its white space, and refuses every other.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from sqlite3 import Row
from typing import Any, TypeAlias

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeseal.controlplane.http.bodies import bearer, read_json
from pipeseal.controlplane.http.respond import render
from pipeseal.controlplane.services.accounts import verify_program
from pipeseal.controlplane.services.authenticate import not_found
from pipeseal.controlplane.services.changes import note_change
from pipeseal.controlplane.services.pipelines import update_pipeline
from pipeseal.controlplane.services.plane import ControlPlane
from pipeseal.controlplane.store import builds as build_store
from pipeseal.errors import MalformedInput

PATH = "/graphql/v1"
GET_PIPELINE = """
query GetPipeline($orgPipelineSlug: ID!) {
  pipeline(slug: $orgPipelineSlug) {
    id
    repository { url }
    steps { yaml }
  }
}
"""
UPDATE_PIPELINE = """
mutation UpdatePipeline($id: ID!, $yaml: String!) {
  pipelineUpdate(input: {id: $id, steps: {yaml: $yaml}}) {
    clientMutationId
    pipeline { steps { yaml } }
  }
}
"""

_Operation: TypeAlias = Callable[[ControlPlane, dict[str, Any]], Awaitable[dict[str, Any]]]


class GraphqlRequest(msgspec.Struct):
    """An operation and its variables."""

    query: str
    variables: dict[str, Any] = {}


def graphql_routes(plane: ControlPlane) -> list[Route]:
    """The endpoint; it takes the API token, as `Authorization: Bearer ...`."""

    async def execute(request: Request) -> Response:
        reader = await verify_program(plane, bearer(request, "Bearer"))
        asked = await read_json(request, GraphqlRequest, plane.settings.limits.max_upload_bytes)
        operation = _OPERATIONS.get(_squeeze(asked.query))
        if operation is None:
            return _failed("this server knows two GraphQL operations, GetPipeline and UpdatePipeline, and no other")
        reader.need("read_pipelines" if operation is _get_pipeline else "write_pipelines")
        try:
            data = await operation(plane, asked.variables)
            if operation is _update_pipeline:
                await note_change(
                    plane, reader, "POST", f"/graphql {asked.variables.get('id')}", {"configuration": ""}
                )
            return render({"data": data})
        except MalformedInput as error:
            return _failed(error.message)

    return [Route(PATH, execute, methods=["POST"])]


def _failed(message: str) -> Response:
    # GraphQL tells errors in the body of a successful answer.
    return render({"data": None, "errors": [{"message": message}]})


def _squeeze(query: str) -> str:
    """A document without white space and commas, which mean nothing in one (GraphQL 2.1.6): alike for all writers."""
    return re.sub(r"[\s,]+", "", query)


def _text(variables: dict[str, Any], name: str) -> str:
    value = variables.get(name)
    if not isinstance(value, str):
        raise MalformedInput("request.malformed", f"the variable ${name} is missing, or is no text")
    return value


async def _get_pipeline(plane: ControlPlane, variables: dict[str, Any]) -> dict[str, Any]:
    organization, _, slug = _text(variables, "orgPipelineSlug").partition("/")
    row = None
    if organization == plane.settings.organization:
        row = await plane.database.read(lambda tx: build_store.find_pipeline(tx, slug))
    if row is None:
        return {"pipeline": None}
    steps = {"yaml": row["configuration"]}
    return {"pipeline": {"id": row["id"], "repository": {"url": row["repository"]}, "steps": steps}}


async def _update_pipeline(plane: ControlPlane, variables: dict[str, Any]) -> dict[str, Any]:
    pipeline_id, yaml = _text(variables, "id"), _text(variables, "yaml")

    def look(tx: Any) -> Row:
        row: Row | None = tx.one("SELECT * FROM pipelines WHERE id = :id", id=pipeline_id)
        if row is None:
            raise not_found("such pipeline")
        return row

    row = await plane.database.read(look)
    await update_pipeline(plane, row["slug"], {"configuration": yaml})
    return {"pipelineUpdate": {"clientMutationId": None, "pipeline": {"steps": {"yaml": yaml}}}}


_OPERATIONS: dict[str, _Operation] = {
    _squeeze(GET_PIPELINE): _get_pipeline,
    _squeeze(UPDATE_PIPELINE): _update_pipeline,
}

"""The whole description: OpenAPI 3.1 from the routes that are served, their descriptions and the message types.

https://spec.openapis.org/oas/v3.1.0
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from starlette.routing import Route

from pipeseal import __version__
from pipeseal.agentapi.messages import ErrorMessage
from pipeseal.agentapi.routes import ROUTES
from pipeseal.controlplane.http import agent_api, rest
from pipeseal.controlplane.http.openapi.agent_api import AGENT_OPERATIONS
from pipeseal.controlplane.http.openapi.operation import TEXT, Answer, Operation, Parameter, Proof, whole
from pipeseal.controlplane.http.openapi.others import OTHER_OPERATIONS
from pipeseal.controlplane.http.openapi.rest import REST_OPERATIONS

_REFERENCES = "#/components/schemas/{name}"
_SCHEMES = {
    Proof.REGISTRATION: ("Token", "The token that agents register with, in the file `agent-token`."),
    Proof.SESSION: ("Token", "The `access_token` of an agent's registration."),
    Proof.JOB: ("Token", "The `token` of a job that an agent has accepted."),
    Proof.ANY_AGENT: ("Token", "Any token of the Agent API."),
    Proof.API: ("Bearer", "The token for people and tools, in the file `api-token`."),
}
_REFUSALS = {
    401: "There is no token, or one that opens nothing here.",
    403: "The token belongs to something else, or may not do this.",
    404: "There is no such thing.",
    409: "Something else is the case by now.",
    410: "It worked once, and does no more.",
    413: "It is larger than the limit.",
    416: "There are no such bytes.",
    422: "What is asked makes no sense, or not in this state.",
    423: "Not yet; ask again after `Retry-After` seconds.",
    429: "Too many failed attempts; ask again after `Retry-After` seconds.",
    503: "The database or the object store cannot be reached; ask again.",
}
_NAMES = {
    "organization": "Slug of the organisation.",
    "slug": "Slug of the pipeline.",
    "number": "Number of the build in its pipeline.",
    "job_id": "Id of the job.",
    "build_id": "Id of the build.",
    "agent_id": "Id of the agent.",
    "upload_id": "The `uuid` of the upload.",
    "artifact_id": "Id of the artifact.",
    "annotation_id": "Id of the annotation.",
    "pipeline_id": "Id of the pipeline.",
    "schedule_id": "Id of the schedule.",
    "webhook_id": "Id of the webhook.",
    "member_id": "Id of the member.",
    "session_id": "Id of the browser's session.",
    "token_id": "Id of the token, the beginning of its digest.",
    "key_id": "Thumbprint of the key (RFC 7638).",
    "context": "Context of the annotation.",
    "step": "Id or key of the step.",
    "key": "Name of the secret.",
    "provider": "Kind of the provider.",
    "token": "What the webhook's URL ends with.",
    "part": "Number of the part.",
    "expires": "Until when the address works, in seconds since 1970.",
    "mac": "What proves that the server made the address.",
}
_NUMBERS = ("number", "part", "expires")
_LARGEST_SEGMENT = 10**15 - 1  # 15 digits
_PARAMETER = re.compile(r"\{([a-z_]+)(?::[a-z]+)?\}")


def described_operations() -> dict[str, Operation]:
    """Every description, by method and path as the routes have them, without the kinds of their segments."""
    agent = {f"{route.method} {agent_api.PREFIX}{route.path}": AGENT_OPERATIONS[route.name] for route in ROUTES}
    agent[f"GET {agent_api.PREFIX}{agent_api.TOKEN_PATH}"] = AGENT_OPERATIONS["describe_token"]
    below = {
        f"{key.partition(' ')[0]} {rest.PREFIX}{key.partition(' ')[2]}": operation
        for key, operation in REST_OPERATIONS.items()
    }
    return {**agent, **below, **OTHER_OPERATIONS}


def operation_keys(routes: Iterable[Route]) -> list[str]:
    """Method and path of each route, as `described_operations` has them. HEAD goes with GET."""
    return [
        f"{method} {_PARAMETER.sub(_without_kind, route.path)}"
        for route in routes
        for method in sorted((route.methods or set()) - {"HEAD"})
    ]


def _without_kind(segment: re.Match[str]) -> str:
    return f"{{{segment[1]}}}"


def make_document(server_url: str = "/") -> dict[str, Any]:
    """The description, ready to be written as JSON.

    Parameters:
        server_url: where the server is reached; `/` means where the description itself came from.
    """
    operations = described_operations()
    types = [ErrorMessage, *_types(operations.values())]
    schemas, components = msgspec.json.schema_components(types, ref_template=_REFERENCES)
    found = {id(type_): schema for type_, schema in zip(types, schemas, strict=True)}
    paths: dict[str, dict[str, Any]] = {}
    for key, operation in operations.items():
        method, _, path = key.partition(" ")
        paths.setdefault(path, {})[method.lower()] = _operation(path, operation, found)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Pipeseal control plane",
            "version": __version__,
            "description": "What `pipeseal server` serves: the Agent API below `/v3`, the REST API below `/v2`, and "
            "what other programs need. Nothing that a control plane says is believed by the agents. "
            "Whoever asks the REST API too often is answered 429 with `Retry-After`. "
            "Whatever is not served is answered 404, other methods 405, an address with a NUL character 422, and one "
            "connection too many 503.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": server_url}],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(components.items())),
            "securitySchemes": {
                proof.value: _scheme(word, description) for proof, (word, description) in _SCHEMES.items()
            },
        },
    }


def _types(operations: Iterable[Operation]) -> list[Any]:
    found: list[Any] = []
    for operation in operations:
        found += [operation.body, *(answer.type for answer in operation.answers.values())]
    return [type_ for type_ in found if type_ is not None]


def _scheme(word: str, description: str) -> dict[str, Any]:
    if word == "Bearer":
        return {"type": "http", "scheme": "bearer", "description": description}
    # `Token` is no scheme that HTTP knows (RFC 9110 16.4.1), so the whole header is the key.
    return {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": f"{description} Sent as `Authorization: {word} ...`.",
    }


def _operation(path: str, operation: Operation, schemas: Mapping[int, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [_tag(path)],
        "security": [{operation.proof.value: []}] if operation.proof.value else [],
    }
    parameters = [_segment(name) for name in _PARAMETER.findall(path)] + [
        _parameter(parameter) for parameter in operation.parameters
    ]
    if parameters:
        shown["parameters"] = parameters
    if operation.body is not None:
        content = {"application/json": {"schema": schemas[id(operation.body)]}}
        shown["requestBody"] = {"required": not operation.optional_body, "content": content}
    elif operation.form is not None:
        media_type, schema = operation.form
        shown["requestBody"] = {"required": True, "content": {media_type: {"schema": schema}}}
    answers = {str(status): _answer(answer, schemas) for status, answer in operation.answers.items()}
    error = {"application/json": {"schema": schemas[id(ErrorMessage)]}}
    for status in sorted(set(operation.refusals)):
        answers[str(status)] = {"description": _REFUSALS[status], "content": error}
        if status == 416:  # says in `Content-Range` how many there are
            del answers[str(status)]["content"]
    shown["responses"] = dict(sorted(answers.items()))
    return shown


def _tag(path: str) -> str:
    for prefix, tag in ((agent_api.PREFIX, "Agent API"), (rest.PREFIX, "REST API"), ("/artifacts", "Artifacts")):
        if path.startswith(f"{prefix}/"):
            return tag
    return "Other"


def _segment(name: str) -> dict[str, Any]:
    schema = whole(_LARGEST_SEGMENT) if name in _NUMBERS else {**TEXT, "minLength": 1}
    return {"name": name, "in": "path", "required": True, "description": _NAMES[name], "schema": schema}


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": "header" if parameter.header else "query",
        "required": parameter.required,
        "description": parameter.description,
        "schema": parameter.schema,
    }


def _answer(answer: Answer, schemas: Mapping[int, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = {"description": answer.description}
    if answer.type is not None:
        shown["content"] = {"application/json": {"schema": schemas[id(answer.type)]}}
    elif answer.media_type:
        shown["content"] = {answer.media_type: {"schema": {}}}
    if answer.headers:
        shown["headers"] = {
            name: {"description": description, "schema": TEXT} for name, description in answer.headers.items()
        }
    return shown

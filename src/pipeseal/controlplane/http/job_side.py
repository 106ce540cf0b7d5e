"""What commands inside a job call: one handler for each such row of `agentapi.routes.ROUTES`."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from pipeseal.agentapi.job_messages import (
    AgentPause,
    AgentStop,
    Annotation,
    ArtifactBatch,
    ArtifactStates,
    OidcTokenRequest,
    PromisedFailure,
    StepCancel,
    StepExport,
    StepUpdate,
)
from pipeseal.controlplane.http.bodies import bearer, read_json
from pipeseal.controlplane.http.respond import render
from pipeseal.controlplane.services import agent_control, artifacts, steps
from pipeseal.controlplane.services import annotations as notes
from pipeseal.controlplane.services.create_build import cancel_build_by_job
from pipeseal.controlplane.services.oidc import request_oidc_token
from pipeseal.controlplane.services.plane import ControlPlane
from pipeseal.controlplane.services.secrets import get_secret
from pipeseal.errors import MalformedInput

_SCHEME = "Token"
# JSON writes a byte as at most six characters (RFC 8259 7).
_ESCAPED = 6


def _limit(plane: ControlPlane) -> int:
    return plane.settings.limits.max_body_bytes


async def stop_agent(plane: ControlPlane, request: Request) -> Response:
    """`POST stop`."""
    token = bearer(request, _SCHEME)
    message = await read_json(request, AgentStop, _limit(plane), empty=AgentStop())
    await agent_control.stop_own_agent(plane, token, message)
    return render({})


async def pause_agent(plane: ControlPlane, request: Request) -> Response:
    """`POST pause`."""
    token = bearer(request, _SCHEME)
    message = await read_json(request, AgentPause, _limit(plane), empty=AgentPause())
    await agent_control.pause_own_agent(plane, token, message)
    return render({})


async def resume_agent(plane: ControlPlane, request: Request) -> Response:
    """`POST resume`."""
    await agent_control.resume_own_agent(plane, bearer(request, _SCHEME))
    return render({})


async def update_job(plane: ControlPlane, request: Request) -> Response:
    """`PUT jobs/:id`."""
    token, job_id = bearer(request, _SCHEME), request.path_params["job_id"]
    changes = await read_json(request, dict[str, str | int], _limit(plane))
    await agent_control.update_job(plane, job_id, token, changes)
    return render({"id": job_id})


async def promise_failure(plane: ControlPlane, request: Request) -> Response:
    """`PUT jobs/:id/promise_failure`."""
    token = bearer(request, _SCHEME)
    promise = await read_json(request, PromisedFailure, _limit(plane))
    await agent_control.promise_failure(plane, request.path_params["job_id"], token, promise)
    return Response(status_code=204)


async def annotate(plane: ControlPlane, request: Request) -> Response:
    """`POST jobs/:id/annotations`."""
    token = bearer(request, _SCHEME)
    most = _ESCAPED * plane.settings.limits.max_annotation_bytes + _limit(plane)
    message = await read_json(request, Annotation, most)
    await notes.annotate(plane, request.path_params["job_id"], token, message)
    return render({})


async def remove_annotation(plane: ControlPlane, request: Request) -> Response:
    """`DELETE jobs/:id/annotations/:context`."""
    token, found = bearer(request, _SCHEME), request.path_params
    scope = request.query_params.get("scope", "")
    await notes.remove_annotation(plane, found["job_id"], token, found["context"], scope)
    return render({})


async def get_job_secret(plane: ControlPlane, request: Request) -> Response:
    """`GET jobs/:id/secrets`."""
    token, key = bearer(request, _SCHEME), request.query_params.get("key", "")
    return render(await get_secret(plane, request.path_params["job_id"], token, key))


async def request_token(plane: ControlPlane, request: Request) -> Response:
    """`POST jobs/:id/oidc/tokens`."""
    token = bearer(request, _SCHEME)
    message = await read_json(request, OidcTokenRequest, _limit(plane), empty=OidcTokenRequest())
    return render({"token": await request_oidc_token(plane, request.path_params["job_id"], token, message)})


async def export_step(plane: ControlPlane, request: Request) -> Response:
    """`POST steps/:idOrKey/export`."""
    token = bearer(request, _SCHEME)
    message = await read_json(request, StepExport, _limit(plane), empty=StepExport())
    return render({"output": await steps.export_step(plane, token, request.path_params["step"], message)})


async def update_step(plane: ControlPlane, request: Request) -> Response:
    """`PUT steps/:idOrKey`."""
    token = bearer(request, _SCHEME)
    message = await read_json(request, StepUpdate, _limit(plane))
    await steps.update_step(plane, token, request.path_params["step"], message)
    return render({})


async def cancel_step(plane: ControlPlane, request: Request) -> Response:
    """`POST steps/:idOrKey/cancel`."""
    token = bearer(request, _SCHEME)
    message = await read_json(request, StepCancel, _limit(plane))
    return render({"uuid": await steps.cancel_step(plane, token, request.path_params["step"], message)})


async def cancel_build(plane: ControlPlane, request: Request) -> Response:
    """`POST builds/:id/cancel`."""
    token, build_id = bearer(request, _SCHEME), request.path_params["build_id"]
    await cancel_build_by_job(plane, build_id, token)
    return render({"uuid": build_id})


async def create_artifacts(plane: ControlPlane, request: Request) -> Response:
    """`POST jobs/:id/artifacts`."""
    token = bearer(request, _SCHEME)
    batch = await read_json(request, ArtifactBatch, _limit(plane))
    return render(await artifacts.create_artifacts(plane, request.path_params["job_id"], token, batch), 201)


async def update_artifacts(plane: ControlPlane, request: Request) -> Response:
    """`PUT jobs/:id/artifacts`."""
    token = bearer(request, _SCHEME)
    # One artifact of many parts has a tag for each.
    states = await read_json(request, ArtifactStates, plane.settings.limits.max_upload_bytes)
    await artifacts.update_artifacts(plane, request.path_params["job_id"], token, states)
    return render({})


async def search_artifacts(plane: ControlPlane, request: Request) -> Response:
    """`GET builds/:id/artifacts/search`."""
    token, asked = bearer(request, _SCHEME), request.query_params
    state = asked.get("state", "")
    if state not in ("", "new", "finished", "error"):
        raise MalformedInput("request.malformed", f"artifacts are new, finished or error, not {state[:80]!r}")
    found = await artifacts.search_artifacts(
        plane,
        request.path_params["build_id"],
        token,
        query=asked.get("query", ""),
        scope=asked.get("scope", ""),
        state=state,
        include_retried_jobs=artifacts.query_flag(asked.get("include_retried_jobs")),
        include_duplicates=artifacts.query_flag(asked.get("include_duplicates")),
    )
    return render(found)

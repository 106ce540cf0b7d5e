"""`GET /metrics` for Prometheus: with an API token that may see the organisation, or for all when it is opened."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeseal.controlplane.http.bodies import bearer
from pipeseal.controlplane.services.accounts import verify_program
from pipeseal.controlplane.services.metrics import CONTENT_TYPE
from pipeseal.controlplane.services.plane import ControlPlane

SCOPE = "read_organizations"


def metrics_routes(plane: ControlPlane) -> list[Route]:
    """The endpoint. `Settings.open_metrics` says whether it asks for a token."""

    async def show(request: Request) -> Response:
        if not plane.settings.open_metrics:
            reader = await verify_program(plane, bearer(request, "Bearer"))
            reader.need(SCOPE)
        return Response(await plane.metrics.render(), headers={"Content-Type": CONTENT_TYPE})

    return [Route("/metrics", show, methods=["GET"])]

"""Where providers deliver webhooks: `POST /webhooks/{provider}/{token}`.

The token in the URL says which webhook it is, so that nothing has to be read before the right secret is known. It
proves nothing: only the signature does.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeseal.controlplane.http.bodies import read_body
from pipeseal.controlplane.http.respond import render
from pipeseal.controlplane.services.plane import ControlPlane
from pipeseal.controlplane.services.webhooks import find_receiver, receive

_MAX_TOKEN = 200


def webhook_routes(plane: ControlPlane) -> list[Route]:
    """The endpoint for deliveries of all providers."""

    async def deliver(request: Request) -> Response:
        provider, token = request.path_params["provider"], request.path_params["token"]
        webhook = await find_receiver(plane, provider, token[:_MAX_TOKEN])
        body = await read_body(request, plane.settings.limits.max_upload_bytes)
        return render(await receive(plane, webhook, request.headers, body))

    return [Route("/webhooks/{provider}/{token}", deliver, methods=["POST"])]

"""What services that check OpenID Connect tokens read from this server."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeseal.controlplane.http.respond import render
from pipeseal.controlplane.services import oidc
from pipeseal.controlplane.services.plane import ControlPlane

_FRESH = {"Cache-Control": "public, max-age=300"}


def oidc_routes(plane: ControlPlane) -> list[Route]:
    """The two documents, for everybody."""

    async def configuration(_request: Request) -> Response:
        return render(oidc.configuration(plane), headers=_FRESH)

    async def keys(_request: Request) -> Response:
        return render(await oidc.public_keys(plane), headers=_FRESH)

    return [Route("/.well-known/openid-configuration", configuration), Route(oidc.JWKS_PATH, keys)]

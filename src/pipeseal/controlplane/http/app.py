"""The whole server as one ASGI application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeseal import __version__
from pipeseal.controlplane.http.agent_api import agent_routes
from pipeseal.controlplane.http.annotations import annotation_routes
from pipeseal.controlplane.http.artifacts import artifact_routes
from pipeseal.controlplane.http.badges import badge_routes
from pipeseal.controlplane.http.door import Application, Door
from pipeseal.controlplane.http.graphql import graphql_routes
from pipeseal.controlplane.http.metrics import metrics_routes
from pipeseal.controlplane.http.oidc import oidc_routes
from pipeseal.controlplane.http.openapi.routes import openapi_routes
from pipeseal.controlplane.http.pages import page_routes
from pipeseal.controlplane.http.ping_stream import ping_stream_routes
from pipeseal.controlplane.http.respond import render, render_http, render_known, render_unexpected
from pipeseal.controlplane.http.rest import rest_routes
from pipeseal.controlplane.http.sessions import session_routes
from pipeseal.controlplane.http.sign_in import sign_in_routes
from pipeseal.controlplane.http.webhooks import webhook_routes
from pipeseal.controlplane.services.chores import do_chores
from pipeseal.controlplane.services.plane import ControlPlane
from pipeseal.controlplane.services.sweep import sweep_forever
from pipeseal.errors import PipesealError


def all_routes(plane: ControlPlane) -> list[Route]:
    """Every route that is served to programs; the web pages come after them."""

    async def healthz(_request: Request) -> Response:
        await plane.database.read(lambda tx: tx.one("SELECT 1 AS one"))
        return render({"status": "ok", "version": __version__})

    return [
        *agent_routes(plane),
        *ping_stream_routes(plane),
        *artifact_routes(plane),
        *annotation_routes(plane),
        *oidc_routes(plane),
        *graphql_routes(plane),
        *rest_routes(plane),
        *webhook_routes(plane),
        *session_routes(plane),
        *sign_in_routes(plane),
        *badge_routes(plane),
        *metrics_routes(plane),
        *openapi_routes(),
        Route("/healthz", healthz),
    ]


def make_app(plane: ControlPlane) -> Application:
    """The application of a control plane. It takes up its work when it starts and closes the plane when it ends.

    Every path that no row serves is answered with 404 at once: agents probe for other protocols, and would wait.
    """

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        plane.start()
        workers = [asyncio.create_task(sweep_forever(plane)), asyncio.create_task(do_chores(plane))]
        try:
            yield
        finally:
            for worker in workers:
                worker.cancel()
                with suppress(asyncio.CancelledError):
                    await worker
            await asyncio.to_thread(plane.close)

    programs = all_routes(plane)
    inner = Starlette(
        routes=[*programs, *page_routes(programs)],
        lifespan=lifespan,
        exception_handlers={
            PipesealError: render_known,
            HTTPException: render_http,
            Exception: render_unexpected,
        },
    )
    # A redirect would tell the address as this process sees it, not as a proxy in front is called.
    inner.router.redirect_slashes = False
    door = Door(inner, secure=plane.url.startswith("https://"), count=plane.metrics.count)
    if plane.tracing is None:
        return door
    from pipeseal.controlplane.http.tracing import TracedRequests

    traced = TracedRequests(plane.tracing, door, database="postgresql" if plane.database.is_shared else "sqlite")
    plane.database.watch = traced.watch
    return traced

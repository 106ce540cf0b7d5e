"""A control plane that lies: stands before a real one and changes what agents are told.

To an agent it is the control plane. Everything passes through unchanged except the answer to `accept`, the job,
which a `Lie` may rewrite. With no lie set it is an honest twin, so that a refusal proves something.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

Job: TypeAlias = dict[str, Any]
Lie: TypeAlias = Callable[[Job], Job]

# Longer than the longest time for which a server holds a ping open.
UPSTREAM_TIMEOUT_SECONDS = 90
HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "te", "upgrade", "host", "content-length"})


class LyingServer:
    """Serves the Agent API on a loopback port of its own, in a thread, until closed.

    Parameters:
        upstream: URL of the honest control plane, such as `http://127.0.0.1:8080`.

    Attributes:
        url: where agents are to be pointed, without the `/v3`.
        lie: what to do to each job an agent accepts; None tells the truth.
    """

    def __init__(self, upstream: str) -> None:
        self._upstream = urlsplit(upstream)
        self._threads = ThreadPoolExecutor(max_workers=32, thread_name_prefix="lying-server")
        self.lie: Lie | None = None
        routes = [Route("/{path:path}", self._forward, methods=["GET", "POST", "PUT", "DELETE", "PATCH"])]
        config = uvicorn.Config(
            Starlette(routes=routes), host="127.0.0.1", port=0, log_level="critical", lifespan="off"
        )
        self._server = uvicorn.Server(config)
        self._socket = config.bind_socket()
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name="lying-server", daemon=True
        )
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def __enter__(self) -> LyingServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._server.force_exit = True
        self._thread.join(timeout=10)
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _forward(self, request: Request) -> Response:
        body = await request.body()
        target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        headers = {name: value for name, value in request.headers.items() if name not in HOP_BY_HOP}
        loop = asyncio.get_running_loop()
        try:
            status, answer_headers, answer = await loop.run_in_executor(
                self._threads, self._ask_upstream, request.method, target, headers, body
            )
        except OSError as error:
            return Response(json.dumps({"message": f"upstream: {error}"}), 502, media_type="application/json")
        if self.lie is not None and status == 200 and request.url.path.endswith("/accept"):
            answer = json.dumps(self.lie(json.loads(answer))).encode()
        return Response(answer, status, headers=answer_headers)

    def _ask_upstream(
        self, method: str, target: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        assert self._upstream.hostname is not None
        connection = http.client.HTTPConnection(
            self._upstream.hostname, self._upstream.port, timeout=UPSTREAM_TIMEOUT_SECONDS
        )
        try:
            connection.request(method, target, body, headers)
            answer = connection.getresponse()
            kept = {name: value for name, value in answer.getheaders() if name.lower() not in HOP_BY_HOP}
            return answer.status, kept, answer.read()
        finally:
            connection.close()

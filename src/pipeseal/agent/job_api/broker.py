"""The broker: commands inside a job reach the control plane through their agent, which keeps the job's own token.

A job gets a loopback address and a token of its own making, good until the job ends. Calls that commands inside a job
make are passed on; what is the agent's own business, such as saying how the job ended, is refused. What a server
answers has gone through the agent's client, with its limits, before a job sees it.
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Callable
from typing import Final
from urllib.parse import urlencode

from pipeseal.agent.connection import TIMEOUT_SECONDS, Answer, Transport
from pipeseal.agent.job_api.socket_server import RawReply, Reply, Request, SocketServer
from pipeseal.agentapi.routes import Route, find_route, route_path
from pipeseal.errors import MalformedInput, PipesealError, escape_control

ENDPOINT_VARIABLE: Final = "BUILDKITE_AGENT_ENDPOINT"
TOKEN_VARIABLE: Final = "BUILDKITE_AGENT_ACCESS_TOKEN"  # noqa: S105  (a variable's name)
BASE: Final = "/v3"
# Pipelines and lists of artifacts are the longest requests, searches for artifacts the longest answers.
MAX_REQUEST_BYTES: Final = 64 << 20
MAX_ANSWER_BYTES: Final = 128 << 20
# What a job's commands look at; nothing else of a server's or a caller's headers crosses.
_REQUEST_HEADERS: Final = ("content-type", "content-encoding", "x-buildkite-backoff-sequence")
_ANSWER_HEADERS: Final = ("content-type", "location", "retry-after")
_PLAIN: Final = re.compile(r"[\x21-\x7e][\x20-\x7e]{0,499}")
_TOLD: Final = 20
_REFUSED: Final = "broker.call"


class Broker:
    """Passes on the calls of one job's commands.

    Parameters:
        job_id: the job.
        token: the job's token, which stays here.
        transport: makes the calls.
        tell: is told of each call that was refused, in words for people; at most a few times.
    """

    def __init__(self, job_id: str, token: str, *, transport: Transport, tell: Callable[[str], None]) -> None:
        self._job_id = job_id
        self._job_token = token
        self._transport = transport
        self._tell = tell
        self._told = 0
        self._local_token = secrets.token_urlsafe(32)
        self._server = SocketServer(None, self._handle, max_body_bytes=MAX_REQUEST_BYTES)

    def start(self) -> None:
        """Begin to serve.

        Raises:
            ConfigurationError: there is no port to be had (code `socket.path`).
        """
        self._server.start()

    def close(self) -> None:
        """Serve nothing more: whatever the job left running can ask nothing."""
        self._server.close()

    @property
    def endpoint(self) -> str:
        """The URL that is the Agent API for this job."""
        return f"http://127.0.0.1:{self._server.port}{BASE}"

    @property
    def token(self) -> str:
        """What the job's commands show here; of no use anywhere else, or later."""
        return self._local_token

    def _handle(self, request: Request) -> Reply | RawReply:
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        if kind not in ("Token", "Bearer") or not hmac.compare_digest(token.encode(), self._local_token.encode()):
            return _no(401, "this is not the token of the job that runs here")
        path = request.path.removeprefix(BASE) if request.path.startswith(BASE + "/") else ""
        found = find_route(request.method, path)
        if found is None:
            return _no(404, "the Agent API has no such call")
        route, segments = found
        if not route.inside:
            return self._refuse(request, f"{route.name} is what the agent says, not the job")
        if segments.get("job_id", self._job_id) != self._job_id:
            return self._refuse(request, "it is about another job")
        return self._pass_on(request, route, segments)

    def _refuse(self, request: Request, why: str) -> Reply:
        what = escape_control(f"{request.method} {request.path[:200]}")
        if self._told < _TOLD:
            self._told += 1
            self._tell(f"A command in the job called {what}, which was refused: {why} ({_REFUSED})")
        return _no(403, f"refused by the agent: {why} ({_REFUSED})")

    def _pass_on(self, request: Request, route: Route, segments: dict[str, str]) -> Reply | RawReply:
        # Written anew from what was understood, so that both ends of the call mean the same.
        path = route_path(route.name, **segments)
        if request.parameters:
            path += "?" + urlencode(request.parameters)
        headers = {name.title(): request.headers[name] for name in _REQUEST_HEADERS if name in request.headers}
        if not all(_PLAIN.fullmatch(value) for value in headers.values()):
            return _no(400, "the request's headers cannot be passed on")
        try:
            answer = self._transport.request(
                route.method,
                path,
                token=self._job_token,
                body=request.body if request.body or "content-length" in request.headers else None,
                headers=headers,
                timeout_seconds=TIMEOUT_SECONDS,
                max_bytes=MAX_ANSWER_BYTES,
            )
        except MalformedInput as error:
            return _no(502, _words(error))
        except PipesealError as error:
            return _no(503, _words(error))
        return _answer(answer)


def _answer(answer: Answer) -> Reply | RawReply:
    if not 200 <= answer.status < 600 or 300 <= answer.status < 400:
        return _no(502, f"the server answered with status {answer.status}, which is not followed")
    headers = {name.title(): answer.headers[name] for name in _ANSWER_HEADERS if name in answer.headers}
    sound = {name: value for name, value in headers.items() if _PLAIN.fullmatch(value)}
    return RawReply(answer.status, sound, answer.body)


def _no(status: int, message: str) -> Reply:
    """A reply that says no, in the form that the Agent API has for it."""
    return Reply(status, {"message": message})


def _words(error: PipesealError) -> str:
    return f"{error.message} ({error.code})"

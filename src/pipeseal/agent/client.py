"""The one client of the Agent API: typed calls, over connections that expect a hostile server.

Used from threads by the agent and directly by commands inside a job. Answers are read into the types of
`agentapi.messages`; what a server wrote is escaped wherever it is shown. The endpoint is what the operator
configured: `endpoint`, `request_headers` and redirects in answers are ignored.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from pipeseal import __version__
from pipeseal.agent.connection import MAX_ANSWER_BYTES, TIMEOUT_SECONDS, Answer, Transport, open_transport
from pipeseal.agent.retries import RETRIES, with_retries
from pipeseal.agentapi.routes import BY_NAME, route_path
from pipeseal.errors import ConfigurationError, MalformedInput, PipesealError, Unavailable, escape_control

if TYPE_CHECKING:
    from pipeseal.agentapi.messages import (
        FinishRequest,
        Heartbeat,
        JobState,
        PingResponse,
        RegisterRequest,
        RegisterResponse,
    )

Body = TypeVar("Body")

# What a server calls a job, an agent or an upload: enough for UUIDs and other names, nothing that can leave a path.
_IDENTIFIER = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")
_MAX_MESSAGE = 500
# Waiting for a job that cannot be had yet ends after so long.
ACQUIRE_SECONDS = 330.0


def check_identifier(value: str, what: str) -> str:
    """`value`, if it can be an identifier.

    Raises:
        MalformedInput: it cannot (code `api.answer`).
    """
    if not _IDENTIFIER.fullmatch(value):
        raise MalformedInput(
            "api.answer", f"{what} {escape_control(value[:80])!r} in the server's answer is no identifier"
        )
    return value


def user_agent() -> str:
    """The `User-Agent` of our calls."""
    system = os.uname()
    return f"pipeseal-agent/{__version__} ({system.sysname.lower()}; {system.machine})"


def _retry_after(error: PipesealError) -> float | None:
    asked = error.evidence.get("retry-after", "") if isinstance(error, Unavailable) else ""
    return float(asked) if _SECONDS.fullmatch(asked) else None


class AgentClient:
    """Calls of the Agent API with one token.

    Parameters:
        endpoint: URL such as `https://ci.example.org/v3`.
        token: registration, session or job token.
        transport: what makes the calls; by default what suits a command inside a job.
        stop: when set, waiting between attempts ends and the last failure is raised.
        on_failure: told of each failure that will be tried again: endpoint name, error, delay in seconds.

    Raises:
        ConfigurationError: an endpoint or token that cannot be one (codes `endpoint.invalid`, `token.unreadable`).
    """

    def __init__(
        self,
        endpoint: str,
        token: str,
        *,
        transport: Transport | None = None,
        stop: threading.Event | None = None,
        on_failure: Callable[[str, PipesealError, float], None] | None = None,
    ) -> None:
        if not _is_token(token):
            raise ConfigurationError(
                "token.unreadable", "the token for the Agent API has characters that no token has"
            )
        self.endpoint = endpoint.rstrip("/")
        self.token = token
        self.transport = transport or open_transport(endpoint, user_agent=user_agent())
        self.stop = stop or threading.Event()
        self._on_failure = on_failure

    def with_token(
        self, token: str, *, stop: threading.Event | None = None, transport: Transport | None = None
    ) -> AgentClient:
        """A client of the same endpoint with another token.

        Parameters:
            stop: its own stop event; this client's by default.
            transport: its own, so that `close` ends this client's calls alone; this client's by default.
        """
        return AgentClient(
            self.endpoint,
            token,
            transport=transport or self.transport,
            stop=stop or self.stop,
            on_failure=self._on_failure,
        )

    def close(self) -> None:
        """Close the connections; calls in progress end with `api.unreachable`."""
        self.transport.close()

    # --- life of an agent ---------------------------------------------------------------------------------------

    def register(self, request: RegisterRequest) -> RegisterResponse:
        """Introduce an agent. Intervals out of range are brought into range: a server cannot make us spin or sleep.

        Raises:
            Unavailable, MalformedInput: as every call here.
        """
        from pipeseal.agentapi.messages import RegisterResponse

        answer = self._typed("register", RegisterResponse, body=_encode(request))
        check_identifier(answer.id, "the agent's id")
        _check_token(answer.access_token)
        answer.ping_interval = min(max(answer.ping_interval, 1), 60)
        answer.job_status_interval = min(max(answer.job_status_interval, 1), 60)
        answer.heartbeat_interval = min(max(answer.heartbeat_interval, 1), 300)
        return answer

    def connect(self) -> None:
        """Say that this agent is ready for work."""
        self._call("connect")

    def disconnect(self) -> None:
        """Say goodbye."""
        self._call("disconnect")

    def ping(self, timeout_seconds: float = TIMEOUT_SECONDS) -> PingResponse:
        """Ask what to do. The server may hold the question until there is something; one attempt, no retry."""
        from pipeseal.agentapi.messages import PingResponse

        answer = self._typed("ping", PingResponse, timeout_seconds=timeout_seconds)
        if answer.job is not None:
            check_identifier(answer.job.id, "the job's id")
        return answer

    def heartbeat(self, sent_at: str) -> Heartbeat:
        """Give a sign of life."""
        from pipeseal.agentapi.messages import Heartbeat

        return self._typed("heartbeat", Heartbeat, body=b'{"sent_at":"%s"}\n' % sent_at.encode())

    # --- a job, as its agent sees it ----------------------------------------------------------------------------

    def accept_job(self, job_id: str) -> bytes:
        """Accept a job; the answer's bytes are the job, for `agentapi.job.parse_job`."""
        return self._call("accept_job", segments={"job_id": job_id}).body

    def acquire_job(self, job_id: str) -> bytes:
        """Take this job, which was not offered; patient while the server says that something is still to be waited
        for (423). The answer's bytes are the job.

        Raises:
            Unavailable: as every call here; status 422 when the server does not let this agent have it, 423 when it
                could not be had in time.
        """
        path = route_path("acquire_job", job_id=job_id)
        deadline = time.monotonic() + ACQUIRE_SECONDS

        def attempt_once(attempt: int) -> bytes:
            headers = {"X-Buildkite-Lock-Acquire-Job": "1", "X-Buildkite-Backoff-Sequence": str(attempt)}
            return self._once(BY_NAME["acquire_job"].method, path, headers=headers).body

        def failed(error: PipesealError, delay: float) -> None:
            if self._on_failure is not None:
                self._on_failure("acquire_job", error, delay)

        return with_retries(
            RETRIES["acquire_job"],
            attempt_once,
            wait=lambda seconds: time.monotonic() + seconds > deadline or self.stop.wait(seconds),
            on_failure=failed,
            retry_after=_retry_after,
        )

    def start_job(self, job_id: str, started_at: str) -> None:
        """Say that the job begins."""
        body = b'{"started_at":"%s"}\n' % started_at.encode()
        self._call("start_job", segments={"job_id": job_id}, body=body)

    def job_state(self, job_id: str) -> JobState:
        """What the server thinks of a job; one attempt."""
        from pipeseal.agentapi.messages import JobState

        return self._typed("job_state", JobState, segments={"job_id": job_id})

    def finish_job(self, job_id: str, request: FinishRequest) -> None:
        """Say how the job ended."""
        self._call("finish_job", segments={"job_id": job_id}, body=_encode(request))

    def append_log(self, job_id: str, sequence: int, offset: int, size: int, compressed: bytes) -> None:
        """Send one chunk of the job's log.

        Parameters:
            sequence: number of the chunk, from 1.
            offset, size: where its bytes are in the log, uncompressed.
            compressed: the bytes, gzip.
        """
        self._call(
            "append_log",
            segments={"job_id": job_id},
            query=f"?sequence={sequence}&offset={offset}&size={size}",
            body=compressed,
            headers={"Content-Type": "text/plain", "Content-Encoding": "gzip"},
        )

    # --- a job, as commands inside it see it --------------------------------------------------------------------

    def has_meta_data(self, job_id: str, key: str) -> bool:
        """Whether the build's meta-data has `key`."""
        from pipeseal.agentapi.messages import MetaDataExists, MetaDataItem

        body = _encode(MetaDataItem(key=key))
        return self._typed("has_meta_data", MetaDataExists, segments={"job_id": job_id}, body=body).exists

    def set_meta_data(self, job_id: str, key: str, value: str) -> None:
        """Set `key` in the build's meta-data."""
        from pipeseal.agentapi.messages import MetaDataItem

        self._call("set_meta_data", segments={"job_id": job_id}, body=_encode(MetaDataItem(key=key, value=value)))

    def upload_pipeline(self, job_id: str, body: bytes) -> Answer:
        """Upload a pipeline.

        Parameters:
            body: JSON of `messages.PipelineUpload`; its `uuid` makes repeating harmless.

        Returns:
            The server's answer, any 2xx.
        """
        return self._call(
            "upload_pipeline", segments={"job_id": job_id}, query="?async=true", body=body, counted=True
        )

    def upload_state(self, job_id: str, upload_id: str) -> Answer:
        """The state of an upload that the server works on by itself."""
        return self._call("upload_state", segments={"job_id": job_id, "upload_id": upload_id}, counted=True)

    # --- how a call is made -------------------------------------------------------------------------------------

    def _typed(self, name: str, kind: type[Body], **call: Any) -> Body:
        import msgspec

        return self._retrying(name, lambda answer: _decode(answer.body, kind, name, msgspec), **call)

    def _call(self, name: str, **call: Any) -> Answer:
        return self._retrying(name, lambda answer: answer, **call)

    def _retrying(
        self,
        name: str,
        read: Callable[[Answer], Body],
        *,
        segments: Mapping[str, str] | None = None,
        query: str = "",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        counted: bool = False,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> Body:
        """One row of the tables of endpoints and retries; `counted` calls carry the attempt number in a header."""
        path = route_path(name, **(segments or {})) + query
        method = BY_NAME[name].method

        def attempt_once(attempt: int) -> Body:
            sent = dict(headers or {})
            if counted:
                sent["X-Buildkite-Backoff-Sequence"] = str(attempt)
            return read(self._once(method, path, body=body, headers=sent, timeout_seconds=timeout_seconds))

        def failed(error: PipesealError, delay: float) -> None:
            if self._on_failure is not None:
                self._on_failure(name, error, delay)

        return with_retries(
            RETRIES[name],
            attempt_once,
            wait=self.stop.wait,
            on_failure=failed,
            retry_after=_retry_after if counted else lambda _error: None,
        )

    def _once(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        max_bytes: int = MAX_ANSWER_BYTES,
    ) -> Answer:
        answer = self.transport.request(
            method,
            path,
            token=self.token,
            body=body,
            headers=headers,
            timeout_seconds=timeout_seconds,
            max_bytes=max_bytes,
        )
        if 200 <= answer.status < 300:
            return answer
        raise _status_error(method, path.partition("?")[0], answer)


def _encode(message: object) -> bytes:
    import msgspec

    return msgspec.json.encode(message) + b"\n"


def _decode(body: bytes, kind: type[Body], name: str, msgspec: Any) -> Body:
    try:
        decoded: Body = msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise MalformedInput(
            "api.answer", f"the server's answer to {name} is not what it should be: {str(error)[:200]}"
        ) from error
    return decoded


def _is_token(token: str) -> bool:
    # It goes into a header: printable ASCII without spaces, and not endless.
    return 0 < len(token) <= 4096 and all("!" <= character <= "~" for character in token)


def _check_token(token: str) -> None:
    if not _is_token(token):
        raise MalformedInput("api.answer", "the server's answer to register has no usable access token")


def _status_error(method: str, path: str, answer: Answer) -> Unavailable:
    evidence = {}
    if 300 <= answer.status < 400:
        return Unavailable(
            "api.redirect",
            f"the server wants to redirect {method} {path}; redirects are not followed",
            status=answer.status,
            help="set --endpoint to the address the server itself has",
        )
    if "retry-after" in answer.headers:
        evidence["retry-after"] = answer.headers["retry-after"][:40]
    message = ""
    if len(answer.body) <= 65_536:
        import json

        try:
            content = json.loads(answer.body)
        except (ValueError, RecursionError):
            content = None
        if isinstance(content, dict) and isinstance(content.get("message"), str):
            message = f": {escape_control(content['message'][:_MAX_MESSAGE])}"
    return Unavailable(
        "api.status", f"{method} {path} answered {answer.status}{message}", status=answer.status, evidence=evidence
    )

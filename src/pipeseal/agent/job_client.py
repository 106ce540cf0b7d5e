"""The calls of the Agent API that commands inside a job make; on the one client, and without its slower imports.

A command in a job lives for a few milliseconds: bodies are written and read with `json`, and every member that is
used is checked here. Wire types are in `agentapi.job_messages`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlencode

from pipeseal.agent.client import AgentClient
from pipeseal.agent.connection import MAX_ANSWER_BYTES, TIMEOUT_SECONDS, Answer
from pipeseal.agent.retries import After, Retry, constant, doubling, growing, with_retries
from pipeseal.agentapi.routes import BY_NAME, route_path
from pipeseal.errors import MalformedInput, PipesealError, Unavailable

if TYPE_CHECKING:
    from pipeseal.agentapi.job_messages import (
        AgentPause,
        Annotation,
        ArtifactBatch,
        ArtifactState,
        OidcTokenRequest,
        StepCancel,
        StepExport,
        StepUpdate,
    )

Body = TypeVar("Body")

# A build may have thousands of artifacts, each with a long signed URL.
MAX_SEARCH_BYTES = 128 << 20
# The first attempts to create artifacts are short, for fast feedback; later ones give a slow server its time.
CREATE_TIMEOUT_SECONDS = 10.0
QUICK_ATTEMPTS = 4

RETRIES: dict[str, Retry] = {
    "stop_agent": Retry(5, constant(1), jitter_seconds=1),
    "pause_agent": Retry(5, constant(1), jitter_seconds=1),
    "resume_agent": Retry(5, constant(1), jitter_seconds=1),
    "update_job": Retry(10, growing(2000)),
    "promise_failure": Retry(10, growing(2000)),
    "set_meta_data": Retry(10, growing(2000)),
    "set_meta_data_batch": Retry(10, growing(2000)),
    "get_meta_data": Retry(10, constant(5)),
    "has_meta_data": Retry(10, constant(5)),
    "list_meta_data": Retry(10, constant(5)),
    "get_build_meta_data": Retry(10, constant(5)),
    "has_build_meta_data": Retry(10, constant(5)),
    "list_build_meta_data": Retry(10, constant(5)),
    "annotate": Retry(5, constant(1), jitter_seconds=1),
    "remove_annotation": Retry(5, constant(1), jitter_seconds=1),
    "get_secret": Retry(3, doubling(), jitter_seconds=5),
    "request_oidc_token": Retry(5, doubling()),
    "export_step": Retry(10, constant(5)),
    "update_step": Retry(10, constant(5)),
    "cancel_step": Retry(10, constant(5)),
    "cancel_build": Retry(5, constant(1), jitter_seconds=1),
    "create_artifacts": Retry(10, growing(500)),
    "update_artifacts": Retry(10, growing(500), after=After.ANYTHING),
    "search_artifacts": Retry(10, constant(5)),
}


def new_uuid() -> str:
    """A random UUID (RFC 9562 section 5.4)."""
    from uuid import uuid4

    return str(uuid4())


class JobClient(AgentClient):
    """The calls of commands inside a job. Every call raises what `AgentClient`'s do:

    Unavailable: no answer (code `api.unreachable`), or one that says no (codes `api.status`, `api.redirect`).
    MalformedInput: an answer that is not what it should be (codes `api.answer`, `api.too_long`).
    """

    # --- meta-data ----------------------------------------------------------------------------------------------

    def set_meta_data(self, job_id: str, key: str, value: str) -> None:
        """Set `key` in the meta-data of the job's build."""
        self._send("set_meta_data", {"job_id": job_id}, {"key": key, "value": value})

    def set_meta_data_batch(self, job_id: str, items: Sequence[tuple[str, str]]) -> None:
        """Set several keys, or none if one cannot be set."""
        message = {"items": [{"key": key, "value": value} for key, value in items]}
        self._send("set_meta_data_batch", {"job_id": job_id}, message)

    def get_meta_data(self, scope: Mapping[str, str], key: str) -> str:
        """The value of `key`; status 404 when there is none.

        Parameters:
            scope: `{"job_id": ...}` for the job's build, or `{"build_id": ...}` for another one.
        """
        return self._ask(_scoped("get_meta_data", scope), scope, {"key": key}, lambda body: text_of(body, "value"))

    def has_meta_data_in(self, scope: Mapping[str, str], key: str) -> bool:
        """Whether `key` is set; for `scope` see `get_meta_data`."""
        return self._ask(_scoped("has_meta_data", scope), scope, {"key": key}, lambda body: flag_of(body, "exists"))

    def list_meta_data(self, scope: Mapping[str, str]) -> list[str]:
        """All keys; for `scope` see `get_meta_data`."""
        return self._ask(_scoped("list_meta_data", scope), scope, None, _texts)

    # --- annotations --------------------------------------------------------------------------------------------

    def annotate(self, job_id: str, annotation: Annotation) -> None:
        """Write, replace or extend an annotation."""
        self._send("annotate", {"job_id": job_id}, annotation)

    def remove_annotation(self, job_id: str, context: str, scope: str) -> None:
        """Remove an annotation."""
        query = "?" + urlencode({"scope": scope})
        self._send("remove_annotation", {"job_id": job_id, "context": context}, None, query=query)

    # --- steps, jobs, builds, agents ----------------------------------------------------------------------------

    def export_step(self, step: str, export: StepExport) -> str:
        """A step, or one of its attributes, as text."""
        return self._ask("export_step", {"step": step}, export, lambda body: text_of(body, "output"))

    def update_step(self, step: str, update: StepUpdate) -> None:
        """Change one attribute of a step."""
        self._send("update_step", {"step": step}, update)

    def cancel_step(self, step: str, cancel: StepCancel) -> str:
        """End the unfinished jobs of a step; gives its id."""
        return self._ask("cancel_step", {"step": step}, cancel, lambda body: text_of(body, "uuid"))

    def cancel_build(self, build_id: str) -> str:
        """Cancel a build; gives its id."""
        return self._ask("cancel_build", {"build_id": build_id}, None, lambda body: text_of(body, "uuid"))

    def update_job(self, job_id: str, attribute: str, value: str) -> None:
        """Change one attribute of a job."""
        self._ask("update_job", {"job_id": job_id}, {attribute: value}, lambda body: text_of(body, "id"))

    def promise_failure(self, job_id: str, exit_status: int, reason: str) -> None:
        """Promise that the job will fail with at least this exit status; status 409 or 422 when that is refused."""
        message: dict[str, object] = {"exit_status": exit_status}
        if reason:
            message["reason"] = reason
        self._send("promise_failure", {"job_id": job_id}, message)

    def stop_agent(self, *, force: bool) -> None:
        """End the agent that runs this job."""
        self._send("stop_agent", {}, {"force": True} if force else {})

    def pause_agent(self, pause: AgentPause) -> None:
        """Let the agent that runs this job take no further ones."""
        self._send("pause_agent", {}, pause)

    def resume_agent(self) -> None:
        """Let it take jobs again."""
        self._send("resume_agent", {}, None)

    # --- secrets and tokens -------------------------------------------------------------------------------------

    def get_secret(self, job_id: str, key: str) -> str:
        """The value of a secret."""
        query = "?" + urlencode({"key": key})
        return self._ask("get_secret", {"job_id": job_id}, None, lambda body: text_of(body, "value"), query=query)

    def request_oidc_token(self, job_id: str, request: OidcTokenRequest) -> str:
        """An OpenID Connect token for the job."""
        return self._ask("request_oidc_token", {"job_id": job_id}, request, lambda body: text_of(body, "token"))

    # --- artifacts ----------------------------------------------------------------------------------------------

    def create_artifacts(self, job_id: str, batch: ArtifactBatch, read: Callable[[bytes], Body]) -> Body:
        """Announce artifacts.

        Parameters:
            read: makes the answer's bytes into something, or raises `MalformedInput`.
        """
        return self._retried(
            "create_artifacts",
            {"job_id": job_id},
            batch,
            lambda answer: read(answer.body),
            quick_timeout_seconds=CREATE_TIMEOUT_SECONDS,
        )

    def update_artifacts(self, job_id: str, states: Sequence[ArtifactState]) -> None:
        """Say what became of artifacts."""
        self._send("update_artifacts", {"job_id": job_id}, {"artifacts": list(states)})

    def search_artifacts(self, build_id: str, query: Mapping[str, str], read: Callable[[bytes], Body]) -> Body:
        """Finished artifacts of a build.

        Parameters:
            query: query, scope, state, include_retried_jobs, include_duplicates; empty ones are not sent.
            read: as for `create_artifacts`.
        """
        asked = "?" + urlencode({name: value for name, value in query.items() if value})
        return self._retried(
            "search_artifacts",
            {"build_id": build_id},
            None,
            lambda answer: read(answer.body),
            query=asked,
            max_bytes=MAX_SEARCH_BYTES,
        )

    # --- how a call is made -------------------------------------------------------------------------------------

    def _send(self, name: str, segments: Mapping[str, str], message: object, *, query: str = "") -> None:
        self._retried(name, segments, message, lambda _answer: None, query=query)

    def _ask(
        self,
        name: str,
        segments: Mapping[str, str],
        message: object,
        read: Callable[[Any], Body],
        *,
        query: str = "",
    ) -> Body:
        return self._retried(name, segments, message, lambda answer: read(parse_json(answer.body, name)), query=query)

    def _retried(
        self,
        name: str,
        segments: Mapping[str, str],
        message: object,
        read: Callable[[Answer], Body],
        *,
        query: str = "",
        quick_timeout_seconds: float = TIMEOUT_SECONDS,
        max_bytes: int = MAX_ANSWER_BYTES,
    ) -> Body:
        path = route_path(name, **segments) + query
        body = None if message is None else json.dumps(message, separators=(",", ":")).encode() + b"\n"

        def attempt_once(attempt: int) -> Body:
            timeout = quick_timeout_seconds if attempt < QUICK_ATTEMPTS else TIMEOUT_SECONDS
            method = BY_NAME[name].method
            return read(self._once(method, path, body=body, timeout_seconds=timeout, max_bytes=max_bytes))

        def failed(error: PipesealError, delay: float) -> None:
            if self._on_failure is not None:
                self._on_failure(name, error, delay)

        return with_retries(RETRIES[name], attempt_once, wait=self.stop.wait, on_failure=failed)


def _scoped(name: str, scope: Mapping[str, str]) -> str:
    return name.replace("_meta_data", "_build_meta_data") if "build_id" in scope else name


def parse_json(body: bytes, what: str) -> Any:
    """The JSON in an answer.

    Raises:
        MalformedInput: it is none (code `api.answer`).
    """
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise MalformedInput("api.answer", f"the server's answer to {what} is not JSON") from error


def text_of(body: object, member: str) -> str:
    """The text `member` of an answer.

    Raises:
        MalformedInput: there is none (code `api.answer`).
    """
    value = body.get(member) if isinstance(body, dict) else None
    if not isinstance(value, str):
        raise MalformedInput("api.answer", f"the server's answer has no text {member!r}")
    return value


def flag_of(body: object, member: str) -> bool:
    """The true or false `member` of an answer.

    Raises:
        MalformedInput: there is none (code `api.answer`).
    """
    value = body.get(member) if isinstance(body, dict) else None
    if not isinstance(value, bool):
        raise MalformedInput("api.answer", f"the server's answer has no true or false {member!r}")
    return value


def _texts(body: object) -> list[str]:
    if not isinstance(body, list) or not all(isinstance(item, str) for item in body):
        raise MalformedInput("api.answer", "the server's answer is not a list of texts")
    return body


def clean_text(text: str) -> str:
    """`text` as JSON can carry it: bytes of a command line that are not UTF-8 become U+FFFD, as Go writes them."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def is_absent(error: PipesealError) -> bool:
    """Whether the server says that there is no such thing."""
    return isinstance(error, Unavailable) and error.status == 404

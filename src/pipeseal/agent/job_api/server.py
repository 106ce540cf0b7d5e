"""The Job API: what a job may ask of its agent, over a socket that only this job has the token of.

The job changes its own later phases: variables, working directory, what is hidden in its log. It can do nothing here
that a hook could not do. Names that the agent keeps to itself are refused.
"""

from __future__ import annotations

import hmac
import json
import os
import secrets
import threading
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from pipeseal.agent.environment import is_protected
from pipeseal.agent.job_api.promises import PromiseBook
from pipeseal.agent.job_api.socket_server import Reply, Request, SocketServer, prepare_socket_folder, refuse

BASE = "/api/current-job/v0"
SOCKET_VARIABLE = "BUILDKITE_AGENT_JOB_API_SOCKET"
TOKEN_VARIABLE = "BUILDKITE_AGENT_JOB_API_TOKEN"  # noqa: S105  (a variable's name)
# Linux refuses to start a program with a longer variable (MAX_ARG_STRLEN).
MAX_VARIABLE_BYTES = 131_000


class JobControl(Protocol):
    """What the job's runner lets its job do. Calls come from other threads than the runner's, one at a time for the
    environment; changes are for the phases and hooks that begin later."""

    def environment(self) -> Mapping[str, str]:
        """The job's variables as they are now."""
        ...

    def change_environment(self, values: Mapping[str, str], removed: Collection[str]) -> None:
        """Set `values`, and remove the names in `removed`."""
        ...

    def set_directory(self, directory: str) -> None:
        """Run what follows in this absolute directory; whether it exists is found out then."""
        ...

    def redact(self, value: str) -> None:
        """Hide `value` in the job's log from now on."""
        ...

    def promise_failure(self, exit_status: int, reason: str) -> None:
        """Tell the control plane that the job will end with at least this exit status.

        Raises:
            PipesealError: it was not accepted.
        """
        ...


class JobApi:
    """The socket of one job.

    Parameters:
        control: what requests act on.
        sockets_path: the agent's folder for sockets.
        protected: whether the job may not change a variable.
    """

    def __init__(
        self,
        control: JobControl,
        sockets_path: Path,
        *,
        protected: Callable[[str], bool] = is_protected,
    ) -> None:
        self._control = control
        self._protected = protected
        self._folder = sockets_path / "job-api"
        self._token = secrets.token_urlsafe(32)
        self._promises = PromiseBook(control.promise_failure)
        self._environment_lock = threading.Lock()
        self._path = self._folder / f"{os.getpid()}-{secrets.token_hex(4)}.sock"
        self._server = SocketServer(self._path, self._handle)

    def start(self) -> None:
        """Begin to serve.

        Raises:
            ConfigurationError: the socket cannot be made (code `socket.path`).
        """
        prepare_socket_folder(self._folder)
        self._server.start()

    def close(self) -> None:
        """Serve nothing more, and remove the socket."""
        self._server.close()

    def __enter__(self) -> JobApi:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which the job finds the socket, and shows that it may use it."""
        return {SOCKET_VARIABLE: str(self._path), TOKEN_VARIABLE: self._token}

    # --- requests -----------------------------------------------------------------------------------------------

    def _handle(self, request: Request) -> Reply:
        problem = self._check_token(request.headers.get("authorization", ""))
        if problem:
            return refuse(401, problem)
        handlers: dict[tuple[str, str], Callable[[Any], Reply]] = {
            ("GET", "/env"): self._get_environment,
            ("PATCH", "/env"): self._patch_environment,
            ("DELETE", "/env"): self._delete_environment,
            ("PUT", "/workdir"): self._put_directory,
            ("POST", "/redactions"): self._post_redaction,
            ("POST", "/promise-failure"): self._post_promise,
        }
        path = request.path.removeprefix(BASE) if request.path.startswith(BASE + "/") else ""
        handler = handlers.get((request.method, path))
        if handler is None:
            known = any(path == known_path for _, known_path in handlers)
            return refuse(405, "method not allowed") if known else refuse(404, "not found")
        if request.method == "GET":
            return handler(None)
        try:
            content = json.loads(request.body)
        except (ValueError, RecursionError):
            return refuse(400, "the body is not JSON")
        if not isinstance(content, dict):
            return refuse(400, "the body is not an object")
        return handler(content)

    def _check_token(self, authorization: str) -> str:
        """What is wrong with the header; empty when it holds this job's token."""
        if not authorization:
            return "authorization header is required"
        kind, _, token = authorization.partition(" ")
        if kind != "Bearer":
            return "the authorization header must be: Bearer TOKEN"
        if not hmac.compare_digest(token.encode(), self._token.encode()):
            return "invalid authorization token"
        return ""

    def _get_environment(self, _content: None) -> Reply:
        with self._environment_lock:
            return Reply(200, {"env": dict(self._control.environment())})

    def _patch_environment(self, content: dict[str, Any]) -> Reply:
        values = content.get("env", {})
        if not isinstance(values, dict):
            return refuse(400, "env is not an object")
        refusal = self._refuse_names(values)
        if refusal:
            return refusal
        removed = sorted(name for name, value in values.items() if value is None)
        if removed:
            return refuse(422, f"variables cannot be removed by setting them to null: {', '.join(removed)}")
        for name, value in values.items():
            if not isinstance(value, str):
                return refuse(400, f"the value of {name} is not a string")
            if not _can_be_given(value):
                return refuse(422, f"the value of {name} cannot be given to a program")
        with self._environment_lock:
            before = set(self._control.environment())
            self._control.change_environment(values, ())
        return Reply(200, {"added": sorted(set(values) - before), "updated": sorted(before & set(values))})

    def _delete_environment(self, content: dict[str, Any]) -> Reply:
        names = content.get("keys", [])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            return refuse(400, "keys is not a list of strings")
        refusal = self._refuse_names(names)
        if refusal:
            return refusal
        with self._environment_lock:
            deleted = sorted(set(names) & set(self._control.environment()))
            self._control.change_environment({}, deleted)
        return Reply(200, {"deleted": deleted})

    def _refuse_names(self, names: Collection[str]) -> Reply | None:
        protected = sorted(name for name in names if self._protected(name))
        if protected:
            return refuse(422, f"these variables are protected and cannot be changed: {', '.join(protected)}")
        impossible = sorted(name for name in names if not name or "=" in name or not _can_be_given(name))
        if impossible:
            return refuse(422, f"no variable can have such a name: {', '.join(map(repr, impossible))}")
        return None

    def _put_directory(self, content: dict[str, Any]) -> Reply:
        directory = content.get("workdir", "")
        if not isinstance(directory, str):
            return refuse(400, "workdir is not a string")
        if not directory.startswith("/") or "\0" in directory:
            return refuse(422, f"workdir must be an absolute path, not {directory!r}")
        self._control.set_directory(directory)
        return Reply(200, {"workdir": directory})

    def _post_redaction(self, content: dict[str, Any]) -> Reply:
        value = content.get("redact", "")
        if not isinstance(value, str):
            return refuse(400, "redact is not a string")
        self._control.redact(value)
        return Reply(201, {"redacted": value})

    def _post_promise(self, content: dict[str, Any]) -> Reply:
        exit_status, reason = content.get("exit_status"), content.get("reason", "")
        if not isinstance(exit_status, int) or isinstance(exit_status, bool) or exit_status <= 0:
            return refuse(400, "exit_status must be a positive integer")
        if not isinstance(reason, str):
            return refuse(400, "reason is not a string")
        promised = self._promises.promise(exit_status, reason)
        outcome = "declared" if promised.by_this_call else "debounced"
        return Reply(
            200,
            {
                "outcome": outcome,
                "accepted": promised.accepted,
                "upstream_status": promised.status,
                "error": promised.error,
            },
        )


def _can_be_given(text: str) -> bool:
    """Whether a program can be started with `text` in its environment."""
    try:
        return "\0" not in text and len(os.fsencode(text)) <= MAX_VARIABLE_BYTES
    except UnicodeEncodeError:
        return False

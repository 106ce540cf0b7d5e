"""The callers' side of the agent's sockets: the Job API of the current job, and the locks of this machine."""

from __future__ import annotations

import http.client
import json
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

from pipeseal.errors import MalformedInput, Unavailable, VerificationError, escape_control

JOB_BASE = "/api/current-job/v0"
LOCK_BASE = "/api/leader/v0"
TIMEOUT_SECONDS = 60.0
# The agent asks the control plane, patiently.
PROMISE_TIMEOUT_SECONDS = 900.0
MAX_ANSWER_BYTES = 32 << 20
# Asking a socket on the same machine again costs next to nothing, and a person does not notice the wait.
POLL_SECONDS = 0.1


class _SocketConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path, timeout_seconds: float) -> None:
        super().__init__("job", timeout=timeout_seconds)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class SocketClient:
    """Calls over a Unix socket, on one connection.

    Parameters:
        path: the socket.
        code: the code of the error when nobody answers there.
        hint: what to do then.
        token: goes into `Authorization: Bearer ...` when there is one.
    """

    def __init__(self, path: Path, *, code: str, hint: str, token: str = "") -> None:
        self._path = path
        self._code = code
        self._hint = hint
        self._token = token
        self._connection: _SocketConnection | None = None

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def call(
        self, method: str, path: str, content: object = None, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> Mapping[str, Any]:
        """Make one call.

        Returns:
            The answer's object.

        Raises:
            Unavailable: nobody answers (the client's code), or the answer is no (code `job_api.refused`, with its
                status).
            MalformedInput: an answer that is not what it should be (code `job_api.answer`).
        """
        body = None if content is None else json.dumps(content).encode()
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        if body is not None:
            headers["Content-Type"] = "application/json"
        connection = self._connection or _SocketConnection(self._path, timeout_seconds)
        self._connection = None
        if connection.sock is not None:
            connection.sock.settimeout(timeout_seconds)
        try:
            connection.request(method, path, body=body, headers=headers)
            response = connection.getresponse()
            answer = response.read(MAX_ANSWER_BYTES + 1)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            reason = (error.strerror if isinstance(error, OSError) else "") or str(error) or type(error).__name__
            raise Unavailable(self._code, f"no answer from {self._path}: {reason}", help=self._hint) from error
        if response.will_close or len(answer) > MAX_ANSWER_BYTES:
            connection.close()
        else:
            self._connection = connection
        return _read(answer, response.status)


def _read(answer: bytes, status: int) -> Mapping[str, Any]:
    try:
        content = json.loads(answer)
    except (ValueError, RecursionError):
        content = None
    if status >= 300:
        problem = content.get("error") if isinstance(content, dict) else None
        reason = escape_control(problem[:1_000]) if isinstance(problem, str) else f"it answered {status}"
        raise Unavailable("job_api.refused", f"the agent refuses this: {reason}", status=status)
    if not isinstance(content, dict):
        raise MalformedInput("job_api.answer", "the agent's answer is not a JSON object")
    return content


def _typed(content: Mapping[str, Any], member: str, kind: type) -> Any:
    value = content.get(member)
    if not isinstance(value, kind):
        raise MalformedInput("job_api.answer", f"the agent's answer has no usable {member!r}")
    return value


def _texts(content: Mapping[str, Any], member: str) -> list[str]:
    values = _typed(content, member, list)
    if not all(isinstance(value, str) for value in values):
        raise MalformedInput("job_api.answer", f"the agent's answer has no usable {member!r}")
    return sorted(values)


class PromiseOutcome(NamedTuple):
    """What came of promising a failure: see `promises.Promised`."""

    by_this_call: bool
    accepted: bool
    status: int
    error: str


class JobApiClient:
    """The Job API of the current job. Every call raises what `SocketClient.call` does, with code
    `job_api.unavailable` when nobody answers.

    Parameters:
        path, token: from the job's environment, see `open_job_api`.
    """

    def __init__(self, path: Path, token: str) -> None:
        hint = "this works in hooks, plugins and commands of a job whose agent offers the Job API"
        self._client = SocketClient(path, code="job_api.unavailable", hint=hint, token=token)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def environment(self) -> dict[str, str]:
        """The job's variables, as later phases will see them."""
        values = _typed(self._client.call("GET", f"{JOB_BASE}/env"), "env", dict)
        if not all(isinstance(value, str) for value in values.values()):
            raise MalformedInput("job_api.answer", "the agent's answer has no usable 'env'")
        return dict(values)

    def set_variables(self, values: Mapping[str, str]) -> tuple[list[str], list[str]]:
        """Set variables for later phases; the names that are new, and those that changed."""
        answer = self._client.call("PATCH", f"{JOB_BASE}/env", {"env": dict(values)})
        return _texts(answer, "added"), _texts(answer, "updated")

    def unset_variables(self, names: Sequence[str]) -> list[str]:
        """Remove variables from later phases; the names that were there."""
        return _texts(self._client.call("DELETE", f"{JOB_BASE}/env", {"keys": list(names)}), "deleted")

    def set_directory(self, directory: str) -> str:
        """Run later phases in this absolute directory."""
        answer = self._client.call("PUT", f"{JOB_BASE}/workdir", {"workdir": directory})
        return str(_typed(answer, "workdir", str))

    def redact(self, value: str) -> None:
        """Hide `value` in the job's log from now on."""
        self._client.call("POST", f"{JOB_BASE}/redactions", {"redact": value})

    def promise_failure(self, exit_status: int, reason: str) -> PromiseOutcome:
        """Promise that the job will fail; waits until the control plane has answered."""
        content = {"exit_status": exit_status, "reason": reason}
        path = f"{JOB_BASE}/promise-failure"
        answer = self._client.call("POST", path, content, timeout_seconds=PROMISE_TIMEOUT_SECONDS)
        return PromiseOutcome(
            answer.get("outcome") == "declared",
            bool(_typed(answer, "accepted", bool)),
            int(answer["upstream_status"]) if isinstance(answer.get("upstream_status"), int) else 0,
            escape_control(str(answer.get("error") or "")[:1_000]),
        )


def open_job_api(environment: Mapping[str, str]) -> JobApiClient:
    """The Job API of the job that this process runs in.

    Parameters:
        environment: the process's.

    Raises:
        Unavailable: it does not run in such a job (code `job_api.unavailable`).
    """
    path = environment.get("BUILDKITE_AGENT_JOB_API_SOCKET", "")
    token = environment.get("BUILDKITE_AGENT_JOB_API_TOKEN", "")
    if not path or not token:
        missing = "BUILDKITE_AGENT_JOB_API_TOKEN" if path else "BUILDKITE_AGENT_JOB_API_SOCKET"
        raise Unavailable(
            "job_api.unavailable",
            f"the Job API cannot be used here: {missing} is not set",
            help="this works in hooks, plugins and commands of a job whose agent offers the Job API",
        )
    return JobApiClient(Path(path), token)


class LockClient:
    """The locks of this machine. Every call raises what `SocketClient.call` does, with code `lock.unavailable` when
    no agent keeps locks.

    Parameters:
        sockets_path: the agents' folder for sockets.
        wait: sleeps for so many seconds.
        now: seconds of a clock that never goes back.
    """

    def __init__(
        self,
        sockets_path: Path,
        *,
        wait: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        hint = "locks are kept by an agent on this machine; see --sockets-path and BUILDKITE_SOCKETS_PATH"
        self._client = SocketClient(sockets_path / "agent-leader", code="lock.unavailable", hint=hint)
        self._wait = wait
        self._now = now

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def ping(self) -> None:
        """Ask for a sign of life."""
        self._client.call("GET", f"{LOCK_BASE}/ping", timeout_seconds=5)

    def get(self, key: str) -> str:
        """The state of a lock; empty when nobody has it."""
        return str(_typed(self._client.call("GET", self._path(key)), "value", str))

    def acquire(self, key: str, timeout_seconds: float | None) -> str:
        """Wait for a lock and take it; gives the token that releases it.

        Parameters:
            timeout_seconds: how long to wait; None for as long as it takes.

        Raises:
            Unavailable: not in time (code `lock.timeout`).
        """
        token = f"acquired(pid={os.getpid()},otp={os.urandom(16).hex()})"
        deadline = self._deadline(timeout_seconds)
        while not self._swap(key, "", token)[1]:
            self._wait_until(deadline, key)
        return token

    def release(self, key: str, token: str) -> None:
        """Give a lock back.

        Raises:
            VerificationError: the token is not of the one who has it (code `lock.not_held`).
        """
        value, swapped = self._swap(key, token, "")
        if not swapped:
            state = "nobody has it" if not value else f"its state is {escape_control(value)!r}"
            raise VerificationError(
                "lock.not_held", f"the token does not hold the lock {escape_control(key)!r}: {state}"
            )

    def begin_once(self, key: str, timeout_seconds: float | None) -> bool:
        """Begin work that is to be done once: True for the one who does it; for others, False when it is done.

        Raises:
            Unavailable: not done in time (code `lock.timeout`).
            VerificationError: the key is in use for something else (code `lock.state`).
        """
        deadline = self._deadline(timeout_seconds)
        state = self.get(key)
        while True:
            if state == "done":
                return False
            if state not in ("", "doing"):
                raise _odd_state(key, state)
            if not state:
                state, swapped = self._swap(key, "", "doing")
                if swapped:
                    return True
                continue
            self._wait_until(deadline, key)
            state = self.get(key)

    def end_once(self, key: str) -> None:
        """Say that the work is done.

        Raises:
            VerificationError: nobody was doing it (code `lock.state`).
        """
        state, swapped = self._swap(key, "doing", "done")
        if not swapped:
            raise _odd_state(key, state)

    def _swap(self, key: str, old: str, new: str) -> tuple[str, bool]:
        answer = self._client.call("PATCH", self._path(key), {"old": old, "new": new})
        return str(_typed(answer, "value", str)), bool(_typed(answer, "swapped", bool))

    def _path(self, key: str) -> str:
        return f"{LOCK_BASE}/lock/?{urlencode({'key': key})}"

    def _deadline(self, timeout_seconds: float | None) -> float | None:
        return None if timeout_seconds is None else self._now() + timeout_seconds

    def _wait_until(self, deadline: float | None, key: str) -> None:
        if deadline is not None and self._now() + POLL_SECONDS > deadline:
            raise Unavailable("lock.timeout", f"the lock {escape_control(key)!r} was not free in time")
        self._wait(POLL_SECONDS)


def _odd_state(key: str, state: str) -> VerificationError:
    shown = escape_control(state) if state else "nothing"
    return VerificationError(
        "lock.state", f"the lock {escape_control(key)!r} is not in the state for this: {shown!r}"
    )

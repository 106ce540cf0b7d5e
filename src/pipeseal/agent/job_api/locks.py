"""Locks between the jobs of one machine: kept in memory by one agent, the leader, that all agents agree on.

Every agent listens on a socket of its own, `agent-PID`; `agent-leader` is a symbolic link to the leader's. When the
leader is gone, another agent takes its place, and the locks that the leader kept are forgotten with it. Whoever can
open the socket, and that is this user alone, can take and release locks.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeseal.agent.job_api.socket_server import Reply, Request, SocketServer, prepare_socket_folder, refuse
from pipeseal.clock import Clock, SystemClock, render_timestamp
from pipeseal.errors import PipesealError

BASE = "/api/leader/v0"
LEADER = "agent-leader"
MAX_KEY_LENGTH = 4_096
MAX_VALUE_LENGTH = 4_096
MAX_KEYS = 10_000
CHECK_SECONDS = 2.0


class LockTable:
    """Keys and their values; a key that nobody has set has the empty value."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: dict[str, str] = {}

    def get(self, key: str) -> str:
        """The value of `key`."""
        with self._lock:
            return self._values.get(key, "")

    def swap(self, key: str, old: str, new: str) -> tuple[str, bool] | None:
        """Set `key` to `new` if it is `old`; its value afterwards, and whether that happened. None: no room."""
        with self._lock:
            value = self._values.get(key, "")
            if value != old:
                return value, False
            if not new:
                self._values.pop(key, None)
            elif key not in self._values and len(self._values) >= MAX_KEYS:
                return None
            else:
                self._values[key] = new
            return new, True


class LockApi:
    """The socket of one agent, and its part in having a leader.

    Parameters:
        sockets_path: the folder for sockets that all agents of this user share.
        check_seconds: how often to see whether the leader is alive.
        clock: for answers to `ping`.
        say: told when this agent becomes the leader.
        warn: told when it cannot see who leads.
    """

    def __init__(
        self,
        sockets_path: Path,
        *,
        check_seconds: float = CHECK_SECONDS,
        clock: Clock | None = None,
        say: Callable[[str], None] = lambda _text: None,
        warn: Callable[[str], None] = lambda _text: None,
    ) -> None:
        self._folder = sockets_path
        self._check_seconds = check_seconds
        self._clock = clock or SystemClock()
        self._say = say
        self._warn = warn
        self._table = LockTable()
        self._name = f"agent-{os.getpid()}-{secrets.token_hex(2)}"
        self._server = SocketServer(sockets_path / self._name, self._handle)
        self._ended = threading.Event()

    def start(self) -> None:
        """Begin to serve, and lead if nobody does.

        Raises:
            ConfigurationError: the socket cannot be made (code `socket.path`).
        """
        prepare_socket_folder(self._folder)
        self._server.start()
        self.lead_if_nobody_does()
        threading.Thread(target=self._watch, name="lock-leader", daemon=True).start()

    def close(self) -> None:
        """Stop serving; let another agent lead."""
        self._ended.set()
        with self._election():
            if self._leads():
                (self._folder / LEADER).unlink(missing_ok=True)
        self._server.close()

    def lead_if_nobody_does(self) -> bool:
        """Become the leader unless a living one is there; whether this agent leads now."""
        from pipeseal.agent.job_api.client import LockClient

        if self._leads():
            return True
        with self._election():
            client = LockClient(self._folder)
            try:
                client.ping()
            except PipesealError:
                self._remove_dead_leader()
            else:
                return False
            finally:
                client.close()
            link = self._folder / f".{LEADER}-{secrets.token_hex(4)}"
            link.symlink_to(self._name)
            link.replace(self._folder / LEADER)
        self._say("This agent keeps the locks of this machine now")
        return True

    def _remove_dead_leader(self) -> None:
        """What a killed leader left behind."""
        link = self._folder / LEADER
        if link.is_symlink() and link.is_socket():
            left_behind = link.resolve()
            if left_behind.parent == self._folder.resolve() and left_behind.name.startswith("agent-"):
                left_behind.unlink(missing_ok=True)

    def _leads(self) -> bool:
        try:
            return os.readlink(self._folder / LEADER) == self._name  # noqa: PTH115  (as text)
        except OSError:
            return False

    @contextmanager
    def _election(self) -> Iterator[None]:
        """One agent at a time looks who leads and changes it."""
        with (self._folder / f".{LEADER}.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _watch(self) -> None:
        while not self._ended.wait(self._check_seconds):
            try:
                self.lead_if_nobody_does()
            except OSError as error:
                self._warn(f"Cannot see who keeps the locks of this machine: {error.strerror}")

    def _handle(self, request: Request) -> Reply:
        path = request.path.removeprefix(BASE).rstrip("/") if request.path.startswith(BASE + "/") else ""
        if (request.method, path) == ("GET", "/ping"):
            return Reply(200, {"now": render_timestamp(self._clock.now())})
        if path != "/lock":
            return refuse(404, "not found")
        key = request.query.get("key", "")
        if not key:
            return refuse(404, "key missing")
        if len(key) > MAX_KEY_LENGTH:
            return refuse(422, f"a key may have {MAX_KEY_LENGTH} characters")
        if request.method == "GET":
            return Reply(200, {"value": self._table.get(key)})
        if request.method != "PATCH":
            return refuse(405, "method not allowed")
        try:
            content = json.loads(request.body)
        except (ValueError, RecursionError):
            return refuse(400, "the body is not JSON")
        old, new = (content.get("old", ""), content.get("new", "")) if isinstance(content, dict) else (None, None)
        if not isinstance(old, str) or not isinstance(new, str):
            return refuse(400, "old and new must be strings")
        if len(new) > MAX_VALUE_LENGTH:
            return refuse(422, f"a value may have {MAX_VALUE_LENGTH} characters")
        swapped = self._table.swap(key, old, new)
        if swapped is None:
            return refuse(507, f"there are {MAX_KEYS} locks already")
        return Reply(200, {"value": swapped[0], "swapped": swapped[1]})

"""A small HTTP/1.1 server on a Unix socket: JSON in, JSON out, for a few callers on the same machine.

One thread accepts, one more for each connection. Heads, bodies, connections and waiting are limited: what runs in a
job may be broken, and its agent has other things to do.
"""

from __future__ import annotations

import http
import json
import os
import socket
import stat
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from pipeseal.errors import ConfigurationError

MAX_HEAD_BYTES = 32 << 10
MAX_BODY_BYTES = 16 << 20
MAX_CONNECTIONS = 64
IDLE_SECONDS = 60.0
# Of `sun_path` in `struct sockaddr_un`, with its final NUL (Linux: unix(7)).
MAX_PATH_BYTES = 108


class Request(NamedTuple):
    """One request: method, path, the first value of each query parameter, headers by lower-case name, and body."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


class Reply(NamedTuple):
    """A status, and what the body's JSON says."""

    status: int
    content: object


Handler = Callable[[Request], Reply]


def refuse(status: int, problem: str) -> Reply:
    """A reply that says no, and why."""
    return Reply(status, {"error": problem})


def prepare_socket_folder(folder: Path) -> None:
    """Make a folder for sockets that nobody else on the machine can use.

    Raises:
        ConfigurationError: it cannot be made, or is somebody else's (code `socket.path`).
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        facts = folder.stat()
        if facts.st_uid != os.geteuid():
            raise ConfigurationError(
                "socket.path",
                f"the folder for sockets, {folder}, belongs to another user",
                help="name a folder of your own with --sockets-path or BUILDKITE_SOCKETS_PATH",
            )
        if stat.S_IMODE(facts.st_mode) != 0o700:
            folder.chmod(0o700)
    except OSError as error:
        raise ConfigurationError(
            "socket.path", f"cannot make the folder for sockets, {folder}: {error.strerror}"
        ) from error


class SocketServer:
    """Serves one Unix socket until it is closed.

    Parameters:
        path: where the socket is made; its folder is there already.
        handle: answers a request; is called from several threads.
    """

    def __init__(self, path: Path, handle: Handler) -> None:
        self.path = path
        self._handle = handle
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        self._free = threading.Semaphore(MAX_CONNECTIONS)
        self._closed = False
        self._listener: socket.socket | None = None

    def start(self) -> None:
        """Begin to serve.

        Raises:
            ConfigurationError: the socket cannot be made there (code `socket.path`).
        """
        if len(os.fsencode(self.path)) >= MAX_PATH_BYTES:
            raise ConfigurationError(
                "socket.path",
                f"{self.path} is too long for a socket: {MAX_PATH_BYTES - 1} bytes are the most",
                help="name a shorter folder with --sockets-path or BUILDKITE_SOCKETS_PATH",
            )
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(str(self.path))
            self.path.chmod(0o600)
            listener.listen(MAX_CONNECTIONS)
        except OSError as error:
            listener.close()
            raise ConfigurationError(
                "socket.path", f"cannot make the socket {self.path}: {error.strerror}"
            ) from error
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), name="socket-server", daemon=True).start()

    def close(self) -> None:
        """Serve nothing more; requests in progress are cut off."""
        with self._lock:
            if self._closed or self._listener is None:
                self._closed = True
                return
            self._closed = True
            connections = list(self._connections)
        # The socket's name goes first: who comes later finds nobody, not a closed door.
        self.path.unlink(missing_ok=True)
        for open_socket in (self._listener, *connections):
            try:
                open_socket.shutdown(socket.SHUT_RDWR)  # wakes whoever waits for it
            except OSError:
                pass  # it has ended by itself
        self._listener.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            self._free.acquire()
            try:
                connection, _ = listener.accept()
            except OSError:
                return  # closed
            with self._lock:
                if self._closed:
                    connection.close()
                    return
                self._connections.add(connection)
            threading.Thread(target=self._serve, args=(connection,), name="socket-request", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            connection.settimeout(IDLE_SECONDS)
            with connection.makefile("rb") as reader:
                while self._serve_one(connection, reader):
                    pass
        except OSError:
            pass  # the caller went away, or said nothing for too long
        finally:
            with self._lock:
                self._connections.discard(connection)
            connection.close()
            self._free.release()

    def _serve_one(self, connection: socket.socket, reader: Any) -> bool:
        """Answer one request; whether another may follow on the connection."""
        head = _read_head(reader)
        if head is None:
            return False
        if isinstance(head, Reply):
            _send(connection, head, keep=False)
            return False
        method, target, headers = head
        length = headers.get("content-length", "0")
        if "transfer-encoding" in headers or not length.isascii() or not length.isdigit() or len(length) > 12:
            _send(connection, refuse(411, "the body needs a Content-Length"), keep=False)
            return False
        if int(length) > MAX_BODY_BYTES:
            _send(connection, refuse(413, f"a body may have {MAX_BODY_BYTES} bytes"), keep=False)
            return False
        if headers.get("expect", "").lower() == "100-continue":
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = reader.read(int(length))
        if len(body) < int(length):
            return False
        parts = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        try:
            reply = self._handle(Request(method, parts.path, query, headers, body))
        except Exception as error:
            # Whatever it is, the caller gets an answer and the server goes on.
            reply = refuse(500, f"the agent could not do this: {type(error).__name__}")
        keep = headers.get("connection", "").lower() != "close"
        _send(connection, reply, keep=keep)
        return keep


def _read_head(reader: Any) -> tuple[str, str, dict[str, str]] | Reply | None:
    """Method, target and headers of the next request (RFC 9112 sections 3 and 5); None when there is none."""
    total = 0
    lines: list[str] = []
    while True:
        line = reader.readline(MAX_HEAD_BYTES - total + 1)
        total += len(line)
        if not line:
            return None
        if total > MAX_HEAD_BYTES:
            return refuse(431, "the request's head is too long")
        text = line.decode("latin-1").rstrip("\r\n")
        if not text:
            break
        lines.append(text)
    words = lines[0].split(" ") if lines else []
    if len(words) != 3 or not words[2].startswith("HTTP/1.") or not words[1].startswith(("/", "http://")):
        return refuse(400, "this is not an HTTP/1.1 request")
    headers: dict[str, str] = {}
    for text in lines[1:]:
        name, colon, value = text.partition(":")
        if not colon or not name or name != name.strip() or name.lower() in headers:
            return refuse(400, "the request's headers cannot be read")
        headers[name.lower()] = value.strip()
    return words[0], words[1], headers


def _send(connection: socket.socket, reply: Reply, *, keep: bool) -> None:
    body = json.dumps(reply.content).encode() + b"\n"
    head = (
        f"HTTP/1.1 {reply.status} {http.HTTPStatus(reply.status).phrase}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: {'keep-alive' if keep else 'close'}\r\n\r\n"
    )
    connection.sendall(head.encode("latin-1") + body)

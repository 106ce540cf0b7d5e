"""A small HTTP/1.1 server on a Unix socket or a loopback port, for a few callers on the same machine.

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
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from pipeseal.errors import ConfigurationError

MAX_HEAD_BYTES = 32 << 10
MAX_BODY_BYTES = 16 << 20
MAX_CONNECTIONS = 64
IDLE_SECONDS = 60.0
# Of `sun_path` in `struct sockaddr_un`, with its final NUL (Linux: unix(7)).
MAX_PATH_BYTES = 108


class Request(NamedTuple):
    """One request: method, path, query parameters in order, headers by lower-case name, and body."""

    method: str
    path: str
    parameters: Sequence[tuple[str, str]]
    headers: Mapping[str, str]
    body: bytes

    @property
    def query(self) -> dict[str, str]:
        """The first value of each query parameter."""
        return dict(reversed(self.parameters))


class Reply(NamedTuple):
    """A status, and what the body's JSON says."""

    status: int
    content: object


class RawReply(NamedTuple):
    """A status, headers besides the length, and the body as it is."""

    status: int
    headers: Mapping[str, str]
    body: bytes


Handler = Callable[[Request], Reply | RawReply]


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
    """Serves one socket until it is closed.

    Parameters:
        path: where a Unix socket is made, in a folder that is there already; None for a loopback port that is free.
        handle: answers a request; is called from several threads.
        max_body_bytes: how long the body of a request may be.
    """

    def __init__(self, path: Path | None, handle: Handler, *, max_body_bytes: int = MAX_BODY_BYTES) -> None:
        self.path = path
        self._handle = handle
        self._max_body_bytes = max_body_bytes
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
        if self.path is not None and len(os.fsencode(self.path)) >= MAX_PATH_BYTES:
            raise ConfigurationError(
                "socket.path",
                f"{self.path} is too long for a socket: {MAX_PATH_BYTES - 1} bytes are the most",
                help="name a shorter folder with --sockets-path or BUILDKITE_SOCKETS_PATH",
            )
        listener = socket.socket(socket.AF_INET if self.path is None else socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            if self.path is None:
                listener.bind(("127.0.0.1", 0))
            else:
                listener.bind(str(self.path))
                self.path.chmod(0o600)
            listener.listen(MAX_CONNECTIONS)
        except OSError as error:
            listener.close()
            where = self.path or "on a loopback port"
            raise ConfigurationError("socket.path", f"cannot make the socket {where}: {error.strerror}") from error
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), name="socket-server", daemon=True).start()

    @property
    def port(self) -> int:
        """The loopback port it is on, once it serves one."""
        assert self.path is None and self._listener is not None
        port: int = self._listener.getsockname()[1]
        return port

    def close(self) -> None:
        """Serve nothing more; requests in progress are cut off."""
        with self._lock:
            if self._closed or self._listener is None:
                self._closed = True
                return
            self._closed = True
            connections = list(self._connections)
        # The socket's name goes first: who comes later finds nobody, not a closed door.
        if self.path is not None:
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
        method, target, version, headers = head
        length = headers.get("content-length", "0")
        if "transfer-encoding" in headers or not length.isascii() or not length.isdigit() or len(length) > 12:
            _send(connection, refuse(411, "the body needs a Content-Length"), keep=False)
            return False
        if int(length) > self._max_body_bytes:
            _send(connection, refuse(413, f"a body may have {self._max_body_bytes} bytes"), keep=False)
            return False
        if headers.get("expect", "").lower() == "100-continue":
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = reader.read(int(length))
        if len(body) < int(length):
            return False
        parts = urlsplit(target)
        reply: Reply | RawReply
        try:
            parameters = parse_qsl(parts.query, keep_blank_values=True)
            reply = self._handle(Request(method, parts.path, parameters, headers, body))
        except Exception as error:
            # Whatever it is, the caller gets an answer and the server goes on.
            reply = refuse(500, f"the agent could not do this: {type(error).__name__}")
        wish = headers.get("connection", "").lower()
        # RFC 9112 section 9.3: a caller of before HTTP/1.1 waits for the end of the connection.
        keep = wish == "keep-alive" if version == "HTTP/1.0" else wish != "close"
        _send(connection, reply, keep=keep)
        return keep


def _read_head(reader: Any) -> tuple[str, str, str, dict[str, str]] | Reply | None:
    """Method, target, version and headers of the next request (RFC 9112 sections 3 and 5), or None."""
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
    return words[0], words[1], words[2], headers


def _send(connection: socket.socket, reply: Reply | RawReply, *, keep: bool) -> None:
    if isinstance(reply, Reply):
        body = json.dumps(reply.content).encode() + b"\n"
        reply = RawReply(reply.status, {"Content-Type": "application/json"}, body)
    lines = [
        f"HTTP/1.1 {reply.status} {_phrase(reply.status)}",
        *(f"{name}: {value}" for name, value in reply.headers.items()),
        f"Content-Length: {len(reply.body)}",
        f"Connection: {'keep-alive' if keep else 'close'}",
    ]
    connection.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + reply.body)


def _phrase(status: int) -> str:
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"

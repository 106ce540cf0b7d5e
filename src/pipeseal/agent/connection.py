"""One call to a server that is not trusted: deadlines, limits, no redirects.

`OneShot` is for commands that live for milliseconds: a connection for each call, HTTP/1.0, and no imports that cost
more than the call (`http.client` takes longer to import than such a command takes in all). A program that lives long,
and every https endpoint, uses `pool.ConnectionPool`.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

from pipeseal.errors import ConfigurationError, MalformedInput, Unavailable, escape_control

# One answer may be this long. A job, the largest answer, is far below.
MAX_ANSWER_BYTES = 4 << 20
MAX_HEADER_BYTES = 65_536
MAX_HEADERS = 100
TIMEOUT_SECONDS = 60.0
# What a job has the Agent API's own URL in, as it reaches it through its agent: that host may keep artifacts.
CONTROL_PLANE_VARIABLE = "PIPESEAL_CONTROL_PLANE"


class Endpoint(NamedTuple):
    """Where the Agent API lives: scheme, host, port, and the path all calls start with (no slash at its end)."""

    scheme: str
    host: str
    port: int
    path: str


class Answer(NamedTuple):
    """What a server answered: status, headers, and the whole body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def parse_endpoint(url: str) -> Endpoint:
    """The parts of an endpoint URL such as `https://ci.example.org/v3`.

    Raises:
        ConfigurationError: not an absolute http or https URL, or one with a user, query or fragment
            (code `endpoint.invalid`).
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc or parts.query:
        raise ConfigurationError(
            "endpoint.invalid",
            f"{url!r} is not the URL of an Agent API",
            help="give an address such as https://ci.example.org/v3 with --endpoint or BUILDKITE_AGENT_ENDPOINT",
        )
    return Endpoint(
        parts.scheme, parts.hostname, port or (443 if parts.scheme == "https" else 80), parts.path.rstrip("/")
    )


class Transport(Protocol):
    """Something that makes calls to one endpoint."""

    def request(
        self,
        method: str,
        path: str,
        *,
        token: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        max_bytes: int = MAX_ANSWER_BYTES,
    ) -> Answer:
        """Send one request and read its whole answer, whatever its status.

        Parameters:
            method, path: what to call; the path starts with `/` and is below the endpoint's.
            token: goes into `Authorization: Token ...`.
            body: request body; JSON unless `headers` say otherwise.
            headers: further request headers.
            timeout_seconds: for the whole call, connecting included.
            max_bytes: how long the answer's body may be.

        Raises:
            Unavailable: no connection, or no whole answer in time (code `api.unreachable`).
            MalformedInput: not HTTP (code `api.answer`), or longer than `max_bytes` (code `api.too_long`).
        """
        ...

    def close(self) -> None:
        """Close what is open."""
        ...


def open_transport(url: str, *, user_agent: str) -> Transport:
    """What a command inside a job makes its calls with.

    Raises:
        ConfigurationError: as `parse_endpoint`.
    """
    endpoint = parse_endpoint(url)
    if endpoint.scheme == "http":
        return OneShot(endpoint, user_agent=user_agent)
    from pipeseal.agent.pool import ConnectionPool

    return ConnectionPool(endpoint, user_agent=user_agent)


def unreachable(endpoint: Endpoint, error: OSError) -> Unavailable:
    """The error for a call that got no answer."""
    reason = error.strerror or str(error) or type(error).__name__
    where = f"{endpoint.scheme}://{endpoint.host}:{endpoint.port}"
    return Unavailable("api.unreachable", f"no answer from {where}: {escape_control(reason)}")


class OneShot:
    """A connection for each call, without TLS.

    Parameters:
        endpoint: where; never changed by anything a server says.
        user_agent: value of the `User-Agent` header.
    """

    def __init__(self, endpoint: Endpoint, *, user_agent: str) -> None:
        self.endpoint = endpoint
        self._user_agent = user_agent

    def close(self) -> None:
        """Nothing stays open between calls."""

    def request(
        self,
        method: str,
        path: str,
        *,
        token: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        max_bytes: int = MAX_ANSWER_BYTES,
    ) -> Answer:
        """As `Transport.request` says."""
        endpoint = self.endpoint
        host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
        sent = {"Host": f"{host}:{endpoint.port}", "Authorization": f"Token {token}", "User-Agent": self._user_agent}
        if body is not None:
            sent |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
        sent |= headers or {}
        # RFC 1945: the server answers, without chunks, and closes the connection.
        lines = [f"{method} {endpoint.path}{path} HTTP/1.0", *(f"{name}: {value}" for name, value in sent.items())]
        request = "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")
        deadline = time.monotonic() + timeout_seconds
        try:
            # As bytes, because looking up a text imports the machinery of international names first.
            name = endpoint.host.encode() if endpoint.host.isascii() else endpoint.host
            address: tuple[str, int] = (name, endpoint.port)  # type: ignore[assignment]  # bytes are as good
            with socket.create_connection(address, timeout_seconds) as connection:
                connection.sendall(request)
                data = _read_to_end(connection, deadline, MAX_HEADER_BYTES + max_bytes + 1)
        except OSError as error:
            raise unreachable(endpoint, error) from error
        return self._parse(data, method, path, max_bytes)

    def _parse(self, data: bytes, method: str, path: str, max_bytes: int) -> Answer:
        if not data:
            raise Unavailable("api.unreachable", f"no answer to {method} {path}: the connection was closed")
        head, separator, content = data.partition(b"\r\n\r\n")
        if not separator and len(data) <= MAX_HEADER_BYTES and data[:7] == b"HTTP/1."[: len(data)]:
            raise Unavailable("api.unreachable", f"the answer to {method} {path} ended early")
        lines = head.decode("latin-1").split("\r\n")
        words = lines[0].split(" ", 2)
        sound = (
            separator and len(head) <= MAX_HEADER_BYTES and len(words) > 1 and words[0] in ("HTTP/1.0", "HTTP/1.1")
        )
        sound = sound and len(lines) <= MAX_HEADERS
        if not sound or len(words[1]) != 3 or not words[1].isdecimal() or not words[1].isascii():
            raise MalformedInput("api.answer", f"the server's answer to {method} {path} is not HTTP")
        headers = {}
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            if not colon or not name or name != name.strip() or name.lower() == "transfer-encoding":
                raise MalformedInput(
                    "api.answer", f"the server's answer to {method} {path} has headers that make no sense"
                )
            headers[name.lower()] = value.strip()
        length = headers.get("content-length")
        if length is not None:
            if not length.isdecimal() or len(length) > 15:
                raise MalformedInput("api.answer", f"the server's answer to {method} {path} has no usable length")
            if len(content) < int(length) <= max_bytes:
                raise Unavailable("api.unreachable", f"the answer to {method} {path} ended early")
            if int(length) <= max_bytes:
                content = content[: int(length)]
        if len(content) > max_bytes or (length is not None and int(length) > max_bytes):
            raise MalformedInput("api.too_long", f"the answer to {method} {path} has more than {max_bytes} bytes")
        return Answer(int(words[1]), headers, content)


def _read_to_end(connection: socket.socket, deadline: float, limit: int) -> bytes:
    """All bytes until the other side closes, at most `limit`, and not beyond the deadline."""
    blocks = []
    size = 0
    while size < limit:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer took too long")
        connection.settimeout(left)
        block = connection.recv(65_536)
        if not block:
            break
        blocks.append(block)
        size += len(block)
    return b"".join(blocks)

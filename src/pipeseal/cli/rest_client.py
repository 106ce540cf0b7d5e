"""The REST API of a control plane from the command line: one connection, JSON in and out, no dependency to load.

What a server says is not believed, only shown: answers are bounded in size, checked for their type, never followed to
other places, and their text is escaped before it reaches a terminal.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from pipeseal.errors import ConfigurationError, MalformedInput, Unavailable

DEFAULT_SERVER = "http://127.0.0.1:8080"
DEFAULT_ORGANIZATION = "local"
# Query of a build: also the jobs that were retried.
ALL_JOBS: Mapping[str, str | int] = {"include_retried_jobs": "true"}
_MAX_ANSWER = 64 * 1024 * 1024
_TIMEOUT_SECONDS = 60.0


class LogPart(NamedTuple):
    """Bytes of a log, and whether nothing follows them."""

    data: bytes
    ended: bool


class RestClient:
    """A client of one server.

    Parameters:
        server: URL, such as `http://127.0.0.1:8080`.
        token: API token; empty to ask as a stranger, who may read public pipelines.
        organization: its slug.

    Raises:
        ConfigurationError: `client.server`, the URL cannot be used.
    """

    def __init__(self, server: str, token: str, organization: str = DEFAULT_ORGANIZATION) -> None:
        parts = urlsplit(server)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ConfigurationError(
                "client.server", f"{server!r} is no server's URL", help=f"write it as {DEFAULT_SERVER} (--server)"
            )
        self.server = server.rstrip("/")
        self._organization = organization
        self._prefix = f"{parts.path.rstrip('/')}/v2/organizations/{quote(organization, safe='')}"
        self._token = token
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        self._connection = kind(parts.hostname, parts.port, timeout=_TIMEOUT_SECONDS)

    def get(self, *segments: str | int, query: Mapping[str, str | int] | None = None) -> Any:
        """GET below the organisation; the decoded JSON."""
        return self._json(self._send("GET", segments, query=query))

    def post(self, *segments: str | int, body: Any) -> Any:
        """POST JSON; the decoded answer."""
        return self._json(self._send("POST", segments, body=body))

    def patch(self, *segments: str | int, body: Any) -> Any:
        """PATCH JSON; the decoded answer."""
        return self._json(self._send("PATCH", segments, body=body))

    def put(self, *segments: str | int, body: Any = None) -> Any:
        """PUT JSON; the decoded answer."""
        return self._json(self._send("PUT", segments, body=body))

    def watch(
        self, *segments: str | int, seen: str, wait_seconds: int, query: Mapping[str, str | int] | None = None
    ) -> tuple[Any, str] | None:
        """GET that waits until the thing differs from what `seen`, its tag, stood for.

        Returns:
            The decoded JSON and its tag; None when nothing changed in time.
        """
        headers = {"If-None-Match": seen} if seen else {}
        response, data = self._send("GET", segments, query={**(query or {}), "wait": wait_seconds}, headers=headers)
        if response.status == 304:
            return None
        return self._json((response, data)), response.getheader("ETag", "")

    def read_log(self, *segments: str | int, offset: int, wait_seconds: int) -> LogPart:
        """What a log holds from `offset` on, waiting for it if there is nothing yet."""
        response, data = self._send("GET", segments, query={"offset": offset, "wait": wait_seconds})
        return LogPart(data, response.getheader("X-Log-Ended") == "true")

    def clone(self) -> RestClient:
        """Another client of the same server, with a connection of its own."""
        return RestClient(self.server, self._token, self._organization)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _send(
        self,
        method: str,
        segments: tuple[str | int, ...],
        *,
        query: Mapping[str, str | int] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[HTTPResponse, bytes]:
        path = self._prefix + "".join(f"/{quote(str(segment), safe='')}" for segment in segments)
        if query:
            path += "?" + "&".join(f"{name}={quote(str(value), safe='')}" for name, value in query.items())
        content = None if body is None else json.dumps(body).encode()
        sent = {**({"Authorization": f"Bearer {self._token}"} if self._token else {}), **(headers or {})}
        if content is not None:
            sent["Content-Type"] = "application/json"
        try:
            try:
                response, data = self._exchange(method, path, content, sent)
            except (ConnectionError, HTTPException):
                # A kept connection that the server closed meanwhile says so only when it is used again.
                if method != "GET":
                    raise
                self._connection.close()
                response, data = self._exchange(method, path, content, sent)
        except (OSError, HTTPException) as error:
            self._connection.close()
            raise Unavailable(
                "client.unreachable",
                f"cannot reach the control plane {self.server}: {error or type(error).__name__}",
                help="start it with `pipeseal server`, or name another with --server",
            ) from error
        if response.status >= 400 or response.status in (301, 302, 303, 307, 308):
            raise _refused(response, data)
        return response, data

    def _exchange(
        self, method: str, path: str, content: bytes | None, headers: dict[str, str]
    ) -> tuple[HTTPResponse, bytes]:
        self._connection.request(method, path, content, headers)
        response = self._connection.getresponse()
        data = response.read(_MAX_ANSWER + 1)
        if len(data) > _MAX_ANSWER:
            self._connection.close()
            raise _nonsense("its answer is larger than 64 MiB")
        return response, data

    def _json(self, answer: tuple[HTTPResponse, bytes]) -> Any:
        try:
            return json.loads(answer[1])
        except (ValueError, RecursionError) as error:
            raise _nonsense("its answer is not JSON") from error


def _refused(response: HTTPResponse, data: bytes) -> Unavailable:
    """The error for an answer that is none of success."""
    message, code = "", ""
    try:
        document = json.loads(data[:65_536])
        if isinstance(document, dict):
            message, code = str(document.get("message", "")), str(document.get("code", ""))
    except (ValueError, RecursionError):
        pass
    evidence = {"server code": code} if code else {}
    text = message or f"it answered {response.status} {response.reason}"
    helps = {
        401: "give the token of this server: --token-file, PIPESEAL_TOKEN_FILE or PIPESEAL_TOKEN",
        404: "see `pipeseal pipeline list` for what there is",
    }
    return Unavailable(
        "client.refused",
        f"the control plane refused: {text}",
        help=helps.get(response.status, ""),
        evidence=evidence,
        status=response.status,
    )


def _nonsense(why: str) -> MalformedInput:
    return MalformedInput("client.answer", f"the control plane cannot be understood: {why}")


def members(value: Any) -> dict[str, Any]:
    """`value`, when it is a JSON object.

    Raises:
        MalformedInput: `client.answer`.
    """
    if not isinstance(value, dict):
        raise _nonsense("an object is missing from its answer")
    return value


def items(value: Any) -> list[dict[str, Any]]:
    """`value`, when it is a JSON list of objects.

    Raises:
        MalformedInput: `client.answer`.
    """
    if not isinstance(value, list):
        raise _nonsense("a list is missing from its answer")
    return [members(item) for item in value]


def whole(value: Any) -> int:
    """`value`, when it is a whole number.

    Raises:
        MalformedInput: `client.answer`.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise _nonsense("a number is missing from its answer")
    return value


def text(value: Any) -> str:
    """`value` as text safe for a terminal; empty for null."""
    from pipeseal.errors import escape_control

    return "" if value is None else escape_control(str(value))


def open_client(server: str, token_file: Path | None, organization: str) -> RestClient:
    """A client with the token that is meant.

    Parameters:
        server: URL.
        token_file: file with the API token; None: `PIPESEAL_TOKEN`, else the file of the default data folder.
        organization: its slug.

    Raises:
        ConfigurationError: `client.token`, there is none; `client.server`.
    """
    if token_file is None:
        token = os.environ.get("PIPESEAL_TOKEN", "")
        if token:
            return RestClient(server, token, organization)
        from pipeseal.cli.server import default_data_folder

        token_file = default_data_folder() / "api-token"
    try:
        token = token_file.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise ConfigurationError(
            "client.token",
            f"no API token: cannot read {token_file}: {reason}",
            help="name the file that the server made: --token-file DATA/api-token, or set PIPESEAL_TOKEN",
        ) from error
    if not token or any(character.isspace() for character in token):
        raise ConfigurationError("client.token", f"{token_file} does not hold one token")
    return RestClient(server, token, organization)

"""Asking a key service over HTTP: JSON both ways, one time limit, answers of a bounded size, no redirects."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from ipaddress import ip_address
from typing import Any
from urllib.parse import quote, urlsplit

from pipeseal.errors import ConfigurationError, Unavailable, escape_control

TIMEOUT_SECONDS = 20.0
MAX_ANSWER_BYTES = 1 << 20


class KeyService:
    """A key service.

    Parameters:
        name: as messages call it.
        address: its URL, `https`, or `http` on this machine alone: who listens in would get the credentials.
        headers: sent with each call; their values are secret.
        timeout_seconds: for a whole call.

    Raises:
        ConfigurationError: `key.home`: the address is not one.
    """

    def __init__(
        self, name: str, address: str, headers: Mapping[str, str], *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> None:
        self.name = name
        self._headers = dict(headers)
        self._timeout = timeout_seconds
        try:
            parts = urlsplit(address)
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        host = parts.hostname or ""
        if parts.scheme not in {"http", "https"} or not host or "@" in parts.netloc or parts.query or parts.fragment:
            raise ConfigurationError(
                "key.home",
                f"{address!r} is not the address of {name}",
                help="give one such as https://kms.example.org",
            )
        if parts.scheme == "http" and not _is_this_machine(host):
            raise ConfigurationError(
                "key.home",
                f"{address} would carry the credentials for {name} in the clear",
                help="use https; http is for a service on this machine alone (127.0.0.1)",
            )
        self._secure = parts.scheme == "https"
        self._host, self._port, self._path = host, port, parts.path.rstrip("/")

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """What the service answers.

        Parameters:
            path: below its address; its parts are quoted here, slashes are kept.
            body: sent as JSON.

        Raises:
            Unavailable: `key.service`: no answer, another status than 200, or an answer that is no JSON object.
        """
        deadline = time.monotonic() + self._timeout
        kind = HTTPSConnection if self._secure else HTTPConnection
        connection = kind(self._host, self._port, timeout=self._timeout)
        try:
            content = None if body is None else json.dumps(body).encode()
            headers = {**self._headers, "Accept": "application/json"}
            if content is not None:
                headers["Content-Type"] = "application/json"
            connection.request(method, self._path + quote(path, safe="/:?=&"), content, headers)
            answer = connection.getresponse()
            with answer:
                data = b""
                while len(data) <= MAX_ANSWER_BYTES:
                    if time.monotonic() > deadline:
                        raise TimeoutError("timed out")
                    piece = answer.read1(65_536)
                    if not piece:
                        break
                    data += piece
            status = answer.status
        except (OSError, HTTPException, ValueError) as error:
            raise Unavailable(
                "key.service",
                f"{self.name} did not answer: {escape_control(str(error)[:300]) or type(error).__name__}",
                help="check its address and the network, and try again",
            ) from None
        finally:
            connection.close()
        document = _parse(data)
        if status != 200:
            raise Unavailable(
                "key.service",
                f"{self.name} refused: {escape_control(_reason(document)[:300]) or f'status {status}'}",
                help="check the key's name, and that these credentials may see and use it",
                status=status,
            )
        if document is None:
            raise Unavailable("key.service", f"{self.name} answered with something that is not a JSON object")
        return document


def member(document: Mapping[str, Any], name: str, service: str) -> str:
    """A text that has to be in an answer.

    Raises:
        Unavailable: `key.service`: it is not.
    """
    value = document.get(name)
    if not isinstance(value, str) or not value:
        raise Unavailable("key.service", f"{service} answered without {name!r}")
    return value


def _parse(data: bytes) -> dict[str, Any] | None:
    if len(data) > MAX_ANSWER_BYTES:
        return None
    try:
        document = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _reason(document: Mapping[str, Any] | None) -> str:
    """What a refusal says of itself, in the forms that key services have."""
    match document:
        case {"error": {"message": str(message)}}:
            return message
        case {"errors": [*messages]}:
            return "; ".join(str(message) for message in messages)
        case _:
            return ""


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

"""Headers that every answer has: what browsers may do with it, and that nobody keeps what is private."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Final, TypeAlias

Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]

# Set unless the answer has its own.
_ALWAYS: Final = (
    (b"x-content-type-options", b"nosniff"),
    # Addresses of private builds are told to nobody else; pages of ours may know which of ours they were asked from.
    (b"referrer-policy", b"same-origin"),
    # What is no page shows nothing, runs nothing and stands in nobody's frame.
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    # RFC 9111 5.2.2.5
    (b"cache-control", b"no-store"),
)
_SHARED: Final = (b"cross-origin-resource-policy", b"cross-origin")
_OWN: Final = (b"cross-origin-resource-policy", b"same-origin")
# RFC 6797 6.1; only where the server is reached with TLS.
_SECURE: Final = (b"strict-transport-security", b"max-age=31536000")


def missing_headers(headers: Iterable[tuple[bytes, bytes]], *, secure: bool) -> list[tuple[bytes, bytes]]:
    """What an answer with these headers lacks.

    Parameters:
        secure: people reach the server with TLS.
    """
    names = {name.lower() for name, _ in headers}
    missing = [pair for pair in _ALWAYS if pair[0] not in names]
    if _OWN[0] not in names:
        missing.append(_SHARED if b"access-control-allow-origin" in names else _OWN)
    if secure:
        missing.append(_SECURE)
    return missing


def with_headers(send: Send, *, secure: bool) -> Send:
    """`send`, adding to the head of an answer what it lacks.

    Parameters:
        secure: people reach the server with TLS.
    """

    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            headers = list(message.get("headers", ()))
            message["headers"] = headers + missing_headers(headers, secure=secure)
        await send(message)

    return sending

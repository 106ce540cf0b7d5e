"""Reading requests: bodies never larger than their limit, JSON checked against its type, tokens and numbers."""

from __future__ import annotations

import zlib
from typing import Final, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request

from pipeseal.controlplane.services.authenticate import missing_token
from pipeseal.errors import MalformedInput

T = TypeVar("T")
_SENT: Final = "pipeseal.sent"  # of a request's scope: the body that was read as JSON


def bearer(request: Request, scheme: str) -> str:
    """The token of a request.

    Parameters:
        scheme: `Token` for the Agent API, `Bearer` for the REST API.

    Raises:
        VerificationError: `access.no_token`.
    """
    given, _, token = request.headers.get("authorization", "").partition(" ")
    token = token.strip()
    if given.lower() != scheme.lower() or not token or len(token) > 512:
        raise missing_token(scheme)
    return token


async def read_body(request: Request, max_bytes: int) -> bytes:
    """The whole body.

    Raises:
        MalformedInput: `request.too_large`, before more than the limit was kept; `request.malformed`, it broke off.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > max_bytes:
        raise _too_large(max_bytes)
    pieces: list[bytes] = []
    size = 0
    try:
        async for piece in request.stream():
            size += len(piece)
            if size > max_bytes:
                raise _too_large(max_bytes)
            pieces.append(piece)
    except ClientDisconnect as error:
        raise MalformedInput("request.malformed", "the request broke off") from error
    return b"".join(pieces)


async def hang_up(request: Request) -> None:
    """Returns when the client has closed its connection; for requests whose body is read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _too_large(max_bytes: int) -> MalformedInput:
    return MalformedInput("request.too_large", f"the body is larger than the limit of {max_bytes} bytes")


async def read_json(request: Request, type_: type[T], max_bytes: int, *, empty: T | None = None) -> T:
    """The body as a value of `type_`.

    Parameters:
        empty: the value of an empty body; None when there must be one.

    Raises:
        MalformedInput: `request.malformed`, `request.too_large`.
    """
    body = await read_body(request, max_bytes)
    if not body.strip() and empty is not None:
        return empty
    value = decode_json(body, type_)
    request.scope[_SENT] = body
    return value


def sent_members(request: Request) -> dict[str, object]:
    """The members of the JSON object that `read_json` has read, for whoever writes down what was changed."""
    sent = msgspec.json.decode(request.scope.get(_SENT, b"{}"))
    return sent if isinstance(sent, dict) else {}


def decode_json(body: bytes, type_: type[T]) -> T:
    """JSON text as a value of `type_`.

    Raises:
        MalformedInput: `request.malformed`; also for text with a NUL character, which neither a process environment
            nor every database can hold.
    """
    try:
        if not body.isascii():
            body.decode("utf-8")  # RFC 8259 8.1: all of it; members that nobody reads are skipped by the decoder
        value = msgspec.json.decode(body, type=type_)
        holds_nul = b"\\u0000" in body and _holds_nul(msgspec.json.decode(body))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedInput("request.malformed", f"the body is not the JSON that is wanted here: {error}") from error
    if holds_nul:
        raise MalformedInput("request.malformed", "a text in the body holds a NUL character, which cannot be kept")
    return value


def _holds_nul(value: object) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any(_holds_nul(key) or _holds_nul(member) for key, member in value.items())
    return isinstance(value, list) and any(map(_holds_nul, value))


def read_number(request: Request, name: str, default: int | None = None, *, most: int = 2**53) -> int:
    """A whole number of the query, 0 or more.

    Raises:
        MalformedInput: `request.malformed`, it is missing, no number or too large.
    """
    text = request.query_params.get(name)
    if text is None and default is not None:
        return default
    if text is None or not text.isascii() or not text.isdecimal() or len(text) > 16 or int(text) > most:
        raise MalformedInput("request.malformed", f"the query needs `{name}`, a whole number up to {most}")
    return int(text)


def inflate(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """A body without its compression, which may not hide more than the limit.

    Parameters:
        encoding: of the `Content-Encoding` header: `gzip`, `identity` or empty.

    Raises:
        MalformedInput: `request.malformed`, `request.too_large`.
    """
    match encoding.strip().lower():
        case "" | "identity":
            data = body
        case "gzip":
            inflater = zlib.decompressobj(wbits=31)  # RFC 1952
            try:
                data = inflater.decompress(body, max_bytes + 1)
            except zlib.error as error:
                raise MalformedInput("request.malformed", f"the body is not gzip data: {error}") from error
            if len(data) <= max_bytes and (not inflater.eof or inflater.unused_data):
                raise MalformedInput("request.malformed", "the gzip data breaks off, or something follows it")
        case other:
            raise MalformedInput("request.malformed", f"the content encoding {other[:40]!r} is not understood")
    if len(data) > max_bytes:
        raise _too_large(max_bytes)
    return data

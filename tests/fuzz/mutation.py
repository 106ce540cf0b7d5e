"""Changing bytes so that a reader gets deep into them: by bytes, by tokens, and by members of a JSON document."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from random import Random
from typing import Any

TOKENS: tuple[bytes, ...] = (
    b"",
    b"\x00",
    b"\xff",
    b"\xc3\x28",
    b"\xed\xa0\x80",
    b"\r\n",
    b"\n",
    b"\t",
    b"  ",
    b"\xe2\x80\xae",
    b"&a ",
    b"*a",
    b"<<: ",
    b"!!python/object",
    b"!!set",
    b"- ",
    b"? ",
    b": ",
    b"{",
    b"}",
    b"[",
    b"]",
    b'"',
    b"'",
    b"#",
    b"%",
    b"---\n",
    b"...",
    b"~",
    b"null",
    b"true",
    b"NaN",
    b"1e999",
    b"-0",
    b"0x",
    b"0o7",
    b"9007199254740993",
    b"1" * 400,
    b"\\u0000",
    b"\\ud800",
    b"$",
    b"${",
    b"$$",
    b"{{matrix}}",
    b"\x1b[2J",
    b"../",
    b"[" * 300,
    b'{"a":' * 300,
    b"a" * 5000,
    b"=",
    b".",
    b"..",
    b"eyJ",
    b"Content-Length: 99999999999999999999\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"-1",
)
ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 2**53, 2**64, 1.5, "", "\x00", "\ud800", "x" * 2000, [], {}, [[]], {"": ""}, ["a", 1],
    "../x", {"command": "x"}, "eyJhbGciOiJub25lIn0", "main", "HEAD", "0" * 40,
)  # fmt: skip


def mutate(seeds: Sequence[bytes], random: Random) -> bytes:
    """Some seed, changed a few times."""
    data = random.choice(seeds)
    for _ in range(random.choice((1, 1, 2, 3, 8))):
        data = random.choice(_WAYS)(data, seeds, random)
        if len(data) > 200_000:
            data = data[:200_000]
    return data


def _place(data: bytes, random: Random) -> int:
    return random.randint(0, len(data))


def _flip(data: bytes, _seeds: Sequence[bytes], random: Random) -> bytes:
    if not data:
        return b"x"
    at = random.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << random.randrange(8))]) + data[at + 1 :]


def _insert(data: bytes, _seeds: Sequence[bytes], random: Random) -> bytes:
    at = _place(data, random)
    return data[:at] + random.choice(TOKENS) + data[at:]


def _overwrite(data: bytes, _seeds: Sequence[bytes], random: Random) -> bytes:
    at, token = _place(data, random), random.choice(TOKENS)
    return data[:at] + token + data[at + len(token) :]


def _drop(data: bytes, _seeds: Sequence[bytes], random: Random) -> bytes:
    start, end = sorted((_place(data, random), _place(data, random)))
    return data[:start] + data[min(end, start + random.choice((1, 3, 20, 10_000))) :]


def _repeat(data: bytes, _seeds: Sequence[bytes], random: Random) -> bytes:
    start, end = sorted((_place(data, random), _place(data, random)))
    return data[:end] + data[start:end] * random.choice((1, 2, 30)) + data[end:]


def _splice(data: bytes, seeds: Sequence[bytes], random: Random) -> bytes:
    other = random.choice(seeds)
    return data[: _place(data, random)] + other[_place(other, random) :]


def _members(data: bytes, _seeds: Sequence[bytes], random: Random) -> bytes:
    """One member of a JSON document is another value, gone, or there twice under another name."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return _insert(data, _seeds, random)
    places: list[tuple[Any, Any]] = []

    def walk(value: Any) -> None:
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, inner in items:
            places.append((value, key))
            walk(inner)

    walk(document)
    if not places:
        return _insert(data, _seeds, random)
    holder, key = random.choice(places)
    match random.randrange(4):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, dict):
            holder[random.choice((str(key).upper(), f"{key}=", "", "x" * 300, "constructor"))] = holder[key]
        case 2:
            other, place = random.choice(places)
            holder[key] = other[place] if place in other or isinstance(other, list) else None
        case _:
            holder[key] = random.choice(ODD)
    try:
        return json.dumps(document).encode("utf-8", "surrogatepass")
    except (ValueError, RecursionError):
        return data


def _segments(data: bytes, _seeds: Sequence[bytes], random: Random) -> bytes:
    """What is inside a base64url segment is changed, and encoded again."""
    segments = data.split(b".")
    at = random.randrange(len(segments))
    try:
        inner = base64.urlsafe_b64decode(segments[at] + b"=" * (-len(segments[at]) % 4))
    except ValueError:
        return _flip(data, _seeds, random)
    way = random.choice((_flip, _insert, _drop, _members))
    segments[at] = base64.urlsafe_b64encode(way(inner, [inner], random)).rstrip(b"=")
    return b".".join(segments)


_WAYS = (_flip, _insert, _insert, _overwrite, _drop, _repeat, _splice, _members, _members, _segments)

"""Which bytes of something a request asks for, and whether it knows them already."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple


class Found(NamedTuple):
    """Bytes from `start` up to `end`; `partial` unless the request is for all there is."""

    start: int
    end: int
    partial: bool


_RANGE = re.compile(r"bytes=(?:([0-9]{1,15})-([0-9]{0,15})|-([0-9]{1,15}))", re.IGNORECASE)


def choose_range(headers: Mapping[str, str], size: int, tag: str) -> Found | None:
    """What a request with `Range` and `If-Range` gets; None when there are no such bytes.

    What is not one range of bytes is taken as if it were not there, as a server may. # RFC 9110 14.2

    Parameters:
        headers: of the request.
        size: how many bytes there are.
        tag: `ETag` of all of them.
    """
    whole = Found(0, size, False)
    match = _RANGE.fullmatch(headers.get("range", "").strip())
    # RFC 9110 13.1.5: a range of something else than the client has begun with would spoil its file.
    if match is None or headers.get("if-range", tag) != tag:
        return whole
    if match[3]:
        start, end = max(0, size - int(match[3])), size
    else:
        start = int(match[1])
        end = min(int(match[2]) + 1, size) if match[2] else size
        if match[2] and int(match[2]) < start:
            return whole  # RFC 9110 14.1.1: no range at all
    return Found(start, end, True) if start < end else None


def matches(if_none_match: str, tag: str) -> bool:
    """Whether a client knows this state already. # RFC 9110 13.1.2"""
    known = {one.strip().removeprefix("W/") for one in if_none_match.split(",")}
    return tag in known or "*" in known

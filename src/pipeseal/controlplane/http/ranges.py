"""The `Range` of a request."""

from __future__ import annotations

import re


def parse_range(text: str, size: int) -> tuple[int, int] | None:
    """Start and end of a single byte range; None when it cannot be satisfied. # RFC 9110 14.1.2

    Parameters:
        text: the header.
        size: how many bytes there are.
    """
    match = re.fullmatch(r"bytes=([0-9]{0,15})-([0-9]{0,15})", text.strip())
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        start, end = max(0, size - int(match[2])), size
    else:
        start = int(match[1])
        end = min(int(match[2]) + 1, size) if match[2] else size
    return (start, end) if start < end else None

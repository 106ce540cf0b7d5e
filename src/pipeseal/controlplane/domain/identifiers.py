"""Identifiers of builds, steps, jobs and agents: UUIDs of version 7, so that new rows land beside each other."""

from __future__ import annotations

import re
from collections.abc import Callable

SLUG = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def make_id(now: float, randomness: Callable[[int], bytes]) -> str:
    """A new UUID.

    Parameters:
        now: seconds since the epoch.
        randomness: gives that many random bytes.

    Returns:
        Lower-case hexadecimal text. # RFC 9562 5.7
    """
    milliseconds = int(now * 1000) & 0xFFFF_FFFF_FFFF
    tail = int.from_bytes(randomness(10), "big")
    value = milliseconds << 80 | tail
    value = value & ~(0xF << 76) | 0x7 << 76  # version
    value = value & ~(0x3 << 62) | 0x2 << 62  # variant
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def make_slug(name: str) -> str:
    """`name` in lower case with everything but letters and digits turned into single dashes; may be empty."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")

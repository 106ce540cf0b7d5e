"""The time, as a parameter: what needs the time takes a `Clock`, and tests hand in their own."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Something that knows the time."""

    def now(self) -> float:
        """Seconds since 1970-01-01T00:00:00Z."""
        ...


class SystemClock:
    """The computer's own clock."""

    def now(self) -> float:
        return time.time()


def render_timestamp(seconds: float) -> str:
    """`seconds` since the epoch as RFC 3339 UTC text with microseconds, as the Agent API carries times."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")

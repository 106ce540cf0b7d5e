"""Where something is in a trace, as agent, server and the programs of a job tell each other: W3C Trace Context.

It says which spans belong together, and nothing else is ever read from it. Whoever sends one may say what they like:
what is not exactly of this form is dropped, and whether spans are sent anywhere is for who sends them to decide.

https://www.w3.org/TR/trace-context-1/
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, NamedTuple

from pipeseal.errors import MalformedInput, escape_control

HEADER: Final = "traceparent"
VARIABLE: Final = "TRACEPARENT"
LENGTH: Final = 55
# Trace Context 3.2.2: version 00 alone, lower case alone, and neither id of zeros alone.
PATTERN: Final = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_SAMPLED: Final = 0x01


class TraceContext(NamedTuple):
    """A span's place.

    Parameters:
        trace_id: 32 hexadecimal digits.
        span_id: 16 hexadecimal digits.
        is_sampled: spans of this trace are sent to a collector.
    """

    trace_id: str
    span_id: str
    is_sampled: bool


def parse_traceparent(text: str) -> TraceContext:
    """The place that a `traceparent` names. Of its flags only `sampled` is read (Trace Context 3.2.2.5).

    Raises:
        MalformedInput: it is none of version 00 (code `tracing.parent`).
    """
    if len(text) != LENGTH or PATTERN.fullmatch(text) is None:
        raise MalformedInput(
            "tracing.parent", f"{escape_control(text[:LENGTH])!r} is no W3C traceparent of version 00"
        )
    _, trace_id, span_id, flags = text.split("-")
    return TraceContext(trace_id, span_id, bool(int(flags, 16) & _SAMPLED))


def render_traceparent(context: TraceContext) -> str:
    """`context` as a `traceparent` of version 00."""
    return f"00-{context.trace_id}-{context.span_id}-{int(context.is_sampled):02x}"


def make_trace_id(randomness: Callable[[int], bytes]) -> str:
    """The id of a new trace."""
    return _make_id(randomness, 16)


def make_span_id(randomness: Callable[[int], bytes]) -> str:
    """The id of a new span."""
    return _make_id(randomness, 8)


def _make_id(randomness: Callable[[int], bytes], size: int) -> str:
    made = randomness(size).hex()
    return made if made.strip("0") else f"{1:0{2 * size}x}"  # zeros alone are no id (Trace Context 3.2.2.3)

"""A span: something that took time, with when, where in its trace, and a few facts that are nobody's secret.

Values of attributes come from closed sets: identifiers, numbers, states, codes, names of routes and hooks. Texts that
people or programs write (commands, labels, messages, variables, addresses, errors) are never among them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from hashlib import sha256
from typing import Protocol, TypeAlias

from pipeseal.agentapi.traceparent import TraceContext, make_span_id

Attributes: TypeAlias = Mapping[str, str | int | bool]


class SpanKind(Enum):
    """What a span is to its parent, as OpenTelemetry has it."""

    INTERNAL = "internal"
    SERVER = "server"


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A span that has ended.

    Parameters:
        name: what it is, one of a few.
        context: its place.
        parent: what it is a part of; None for the first span of a trace.
        began, ended: nanoseconds since the epoch.
        attributes: facts, of closed sets.
        links: other spans that have to do with it.
        is_failed: it came to a bad end.
        has_remote_parent: another program is in charge of its parent.
    """

    name: str
    context: TraceContext
    parent: TraceContext | None
    began: int
    ended: int
    kind: SpanKind = SpanKind.INTERNAL
    attributes: Attributes = field(default_factory=dict)
    links: tuple[TraceContext, ...] = ()
    is_failed: bool = False
    has_remote_parent: bool = False


class Tracing(Protocol):
    """Where spans go."""

    def is_sampled(self, trace_id: str, name: str) -> bool:
        """Whether a trace that begins with a span of this name is sent, by this program's own settings."""
        ...

    def record(self, span: Span) -> None:
        """Take a span, to be sent some time; from any thread, never raising, never waiting."""
        ...


def child_of(parent: TraceContext, randomness: Callable[[int], bytes] = os.urandom) -> TraceContext:
    """The place of a new span below `parent`."""
    return parent._replace(span_id=make_span_id(randomness))


def derived_context(kind: str, trace_of: str, span_of: str, *, is_sampled: bool) -> TraceContext:
    """A place that everybody finds by themselves who knows the ids of a build and of what is in it.

    So nothing about traces has to be kept, and whichever server tells of a job's end tells of the same span.

    Parameters:
        kind: `build` or `job`.
        trace_of: id of the build.
        span_of: id of what the span is about.
    """
    trace_id = sha256(b"pipeseal trace\0" + trace_of.encode()).hexdigest()[:32]
    span_id = sha256(f"pipeseal span\0{kind}\0{span_of}".encode()).hexdigest()[:16]
    return TraceContext(trace_id, span_id, is_sampled)


class Stopwatch:
    """The time of day for spans: it goes on evenly when somebody puts the computer's clock forward or back.

    Parameters:
        wall: nanoseconds since the epoch, asked once.
        steady: nanoseconds that nobody can put forward or back.
    """

    def __init__(self, wall: Callable[[], int] = time.time_ns, steady: Callable[[], int] = time.monotonic_ns) -> None:
        self._steady = steady
        self._offset = wall() - steady()

    def now(self) -> int:
        """Nanoseconds since the epoch."""
        return self._offset + self._steady()

"""The way to a collector, on the OpenTelemetry SDK. Importing this imports all of it: only `open.py` does.

The SDK keeps what it is given in a queue of bounded length and sends it from a thread of its own. Where the collector
is down, slow or talks nonsense, the queue overflows and spans are lost; nobody waits.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)
from opentelemetry.trace import SpanKind as OtelKind

from pipeseal import __version__
from pipeseal.agentapi.traceparent import TraceContext
from pipeseal.errors import escape_control
from pipeseal.tracing.spans import Span, SpanKind

# A process that ends gives the collector so long for the last spans.
CLOSE_SECONDS: Final = 5.0
# That the collector is not there is said so often, not for each batch.
QUIET_SECONDS: Final = 60.0
_MAX_WARNING: Final = 300
_KINDS: Final = {SpanKind.INTERNAL: OtelKind.INTERNAL, SpanKind.SERVER: OtelKind.SERVER}
# What a detector of the SDK finds out about a process on request; a command line may hold a token.
_NEVER_TOLD: Final = "process.command"
_NO_PARENT: Final = Context()


class _ChosenIds(IdGenerator):
    """Gives the ids that the next span is to have; each thread its own."""

    def __init__(self) -> None:
        self._next = threading.local()

    def choose(self, context: TraceContext) -> None:
        self._next.trace_id, self._next.span_id = int(context.trace_id, 16), int(context.span_id, 16)

    def generate_span_id(self) -> int:
        return int(self._next.span_id)

    def generate_trace_id(self) -> int:
        return int(self._next.trace_id)


class OtlpTracing:
    """See `Tracing`. To be closed.

    Parameters:
        default_name, service_name, warn: as for `open_tracing`.
        exporter: sends batches; the OTLP exporter, configured by its variables, by default.
        steady: seconds, for how often to warn.
    """

    def __init__(
        self,
        *,
        default_name: str,
        service_name: str = "",
        warn: Callable[[str], None],
        exporter: SpanExporter | None = None,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ids = _ChosenIds()
        self._complaints = _Complaints(warn, steady)
        self._complaints.attach()
        try:
            self._provider = TracerProvider(
                resource=_resource(default_name, service_name),
                id_generator=self._ids,
                shutdown_on_exit=False,
                span_limits=SpanLimits(),
            )
            self._provider.add_span_processor(BatchSpanProcessor(exporter or OTLPSpanExporter()))
        except BaseException:
            self._complaints.detach()
            raise
        self._tracer = self._provider.get_tracer("pipeseal", __version__)
        self._warn = warn

    def is_sampled(self, trace_id: str, name: str) -> bool:
        """Whether a trace that begins with a span of this name is sent, by `OTEL_TRACES_SAMPLER`."""
        result = self._provider.sampler.should_sample(_NO_PARENT, int(trace_id, 16), name)
        return result.decision is Decision.RECORD_AND_SAMPLE

    def record(self, span: Span) -> None:
        """Queue a span; one that finds the queue full takes the place of an older one."""
        if not span.context.is_sampled:
            return
        try:
            self._ids.choose(span.context)
            made = self._tracer.start_span(
                span.name,
                _below(span),
                _KINDS[span.kind],
                dict(span.attributes),
                [Link(_context(link)) for link in span.links],
                span.began,
                record_exception=False,
                set_status_on_exception=False,
            )
            if span.is_failed:
                made.set_status(Status(StatusCode.ERROR))
            made.end(max(span.began, span.ended))
        except Exception as error:  # a fault here may not become one of the job or request that is told of
            self._complaints.say(f"a span was lost: {type(error).__name__}")

    def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """Send what is queued, and stop.

        Parameters:
            seconds: for which the collector is waited for, at most.
        """
        # The SDK itself would wait for half a minute.
        closing = threading.Thread(target=self._provider.shutdown, name="traces-closing", daemon=True)
        closing.start()
        closing.join(seconds)
        if closing.is_alive():
            self._warn("The last traces were not sent: the collector does not answer")
        self._complaints.detach()


def _context(place: TraceContext, *, is_remote: bool = False) -> SpanContext:
    flags = TraceFlags(TraceFlags.SAMPLED if place.is_sampled else TraceFlags.DEFAULT)
    return SpanContext(int(place.trace_id, 16), int(place.span_id, 16), is_remote=is_remote, trace_flags=flags)


def _below(span: Span) -> Context:
    if span.parent is None:
        return _NO_PARENT
    parent = _context(span.parent, is_remote=span.has_remote_parent)
    return set_span_in_context(NonRecordingSpan(parent), _NO_PARENT)


def _resource(default_name: str, service_name: str) -> Resource:
    """Who sends: by the operator's name for it, else by the standard variables, else by ours."""
    own = {SERVICE_VERSION: __version__} | ({SERVICE_NAME: service_name} if service_name else {})
    found = dict(Resource.create(own).attributes)
    if str(found.get(SERVICE_NAME, "")).startswith("unknown_service"):  # the SDK's own word for it
        found[SERVICE_NAME] = default_name
    return Resource({name: value for name, value in found.items() if not name.startswith(_NEVER_TOLD)})


class _Complaints(logging.Handler):
    """What the SDK logs of its troubles, as a line now and then where our own log goes."""

    def __init__(self, warn: Callable[[str], None], steady: Callable[[], float]) -> None:
        super().__init__(logging.WARNING)
        self._warn = warn
        self._steady = steady
        self._said_at = float("-inf")
        self._logger = logging.getLogger("opentelemetry")
        self._propagated = self._logger.propagate

    def attach(self) -> None:
        self._logger.addHandler(self)
        self._logger.propagate = False

    def detach(self) -> None:
        self._logger.removeHandler(self)
        self._logger.propagate = self._propagated

    def emit(self, record: logging.LogRecord) -> None:
        self.say(record.getMessage())

    def say(self, what: str) -> None:
        now = self._steady()
        if now - self._said_at >= QUIET_SECONDS:
            self._said_at = now
            line = " ".join(escape_control(what).split())
            self._warn(f"Traces cannot be sent (jobs and builds are not touched by it): {line[:_MAX_WARNING]}")

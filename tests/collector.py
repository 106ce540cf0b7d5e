"""A collector of traces for tests: OTLP over HTTP on loopback, which can also be slow, refuse, or talk nonsense."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

PATIENCE = 60.0
PROTOBUF = "application/x-protobuf"


@dataclass(frozen=True)
class SeenSpan:
    """A span as it arrived; ids in hexadecimal digits, times in nanoseconds since the epoch."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    began: int
    ended: int
    kind: int
    is_failed: bool
    attributes: Mapping[str, Any]
    links: tuple[tuple[str, str], ...] = field(default=())


class Collector:
    """The collector.

    Parameters:
        answer: decides what is answered to a batch: status and body, or None to leave it without an answer until the
            collector is closed.
    """

    def __init__(self, answer: Callable[[], tuple[int, bytes] | None] | None = None) -> None:
        self._answer = answer or (lambda: (200, ExportTraceServiceResponse().SerializeToString()))
        self._changed = threading.Condition()
        self._spans: list[SeenSpan] = []
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self._closing = threading.Event()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                assert self.path == "/v1/traces" and self.headers["Content-Type"] == PROTOBUF
                collector._take(body, {name.lower(): value for name, value in self.headers.items()})
                answer = collector._answer()
                if answer is None:
                    collector._closing.wait()
                    self.close_connection = True
                    return
                status, content = answer
                self.send_response(status)
                self.send_header("Content-Type", PROTOBUF)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                pass  # who sends spans may go away

        self._http = Quiet(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """What to set as OTEL_EXPORTER_OTLP_ENDPOINT."""
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def variables(self) -> dict[str, str]:
        """The environment of a process that sends its spans here, soon."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.url, "OTEL_BSP_SCHEDULE_DELAY": "50"}

    def spans(self) -> list[SeenSpan]:
        """What arrived until now."""
        with self._changed:
            return list(self._spans)

    def wait_for(self, check: Callable[[list[SeenSpan]], bool], what: str) -> list[SeenSpan]:
        """Wait until what arrived satisfies `check`."""
        with self._changed:
            assert self._changed.wait_for(lambda: check(self._spans), PATIENCE), (
                f"never came: {what}; there are {sorted((span.service, span.name) for span in self._spans)}"
            )
            return list(self._spans)

    def wait_for_batch(self) -> None:
        """Wait until somebody sent something, whatever was answered."""
        with self._changed:
            assert self._changed.wait_for(lambda: bool(self.bodies), PATIENCE), "nothing was sent"

    def close(self) -> None:
        """Answer nobody any more."""
        self._closing.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def _take(self, body: bytes, headers: dict[str, str]) -> None:
        request = ExportTraceServiceRequest.FromString(body)
        seen = [
            _seen(span, _value(resource.resource.attributes, "service.name"))
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]
        with self._changed:
            self.bodies.append(body)
            self.headers.append(headers)
            self._spans += seen
            self._changed.notify_all()


def _value(attributes: Any, name: str) -> str:
    return next((item.value.string_value for item in attributes if item.key == name), "")


def _seen(span: Any, service: str) -> SeenSpan:
    return SeenSpan(
        service=service,
        name=span.name,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        began=span.start_time_unix_nano,
        ended=span.end_time_unix_nano,
        kind=span.kind,
        is_failed=span.status.code == 2,  # STATUS_CODE_ERROR
        attributes={item.key: getattr(item.value, item.value.WhichOneof("value")) for item in span.attributes},
        links=tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
    )


@contextmanager
def collector(answer: Callable[[], tuple[int, bytes] | None] | None = None) -> Iterator[Collector]:
    """A collector, gone at the end."""
    running = Collector(answer)
    try:
        yield running
    finally:
        running.close()

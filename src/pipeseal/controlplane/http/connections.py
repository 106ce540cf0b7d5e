"""Connections that a client may not hold for nothing: bounded in number, in the size of a head, and in slowness.

uvicorn waits for the rest of a request, and for a client that does not read its answer, for as long as the connection
stands. Here every direction has a least speed. An idle connection between two requests, a held ping and a stream
that has nothing to say are not slow: nobody waits for the client.
"""

from __future__ import annotations

import resource
from dataclasses import dataclass
from typing import Any

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from pipeseal.agentapi.messages import ErrorMessage

_RESERVED_FILES = 256  # for the database, logs, artifacts, and connections that are being turned away


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What a client may cost.

    Parameters:
        max_connections: open at once, whatever they do.
        max_head_bytes: request line and headers.
        head_seconds: from the connection, or the first byte of a request, until its headers are there.
        stall_seconds: in this time at least `stall_bytes` of a body arrive, and something of an answer is taken.
        stall_bytes: see there.
    """

    max_connections: int = 10_000
    max_head_bytes: int = 64 * 1024
    head_seconds: float = 30.0
    stall_seconds: float = 60.0
    stall_bytes: int = 4 * 1024


def allowed_connections(asked: int) -> int:
    """How many connections there may be: what is asked for, or what the files of this process allow.

    The process takes as many files as it may have without anybody's leave (getrlimit(2)).
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return asked if soft == resource.RLIM_INFINITY else max(1, min(asked, soft - _RESERVED_FILES))


class GuardedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with `limits`; `guarded` makes a class of it that has them."""

    limits = ConnectionLimits()

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._phase = "head"  # then "body", then "none" until the next request begins
        self._since = self.loop.time()  # when the phase began, or its time was last looked at
        self._bytes = 0  # of this phase, since then
        self._trailer_bytes = 0
        self._unread_since: float | None = None  # the client takes nothing of the answer
        self._leaving_since: float | None = None

    def connection_made(self, transport: Any) -> None:
        """A client connects; one too many is told so and let go."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.max_connections:
            self._turn_away(503, "there are too many connections", "retry-after: 2\r\n")

    def data_received(self, data: bytes) -> None:
        """Something arrives."""
        if self.transport.is_closing():
            return  # was told why; what it still says is not read
        if self._phase == "none":
            self._enter("head")
        self._bytes += len(data)
        super().data_received(data)
        size = self._bytes if self._phase == "head" else self._trailer_bytes
        if size > self.limits.max_head_bytes and not self.transport.is_closing():
            # RFC 6585 5
            self._turn_away(431, f"the headers are larger than {self.limits.max_head_bytes} bytes")

    def on_message_begin(self) -> None:
        """A request begins, perhaps right behind another one."""
        super().on_message_begin()
        self._trailer_bytes = 0
        if self._phase == "none":
            self._enter("head")

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or behind a body a trailer: nothing here reads those, so they are not kept. # RFC 9112 7.1.2"""
        if self._phase == "body":
            self._trailer_bytes += len(name) + len(value)
        else:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head of a request is there."""
        super().on_headers_complete()
        self._enter("body")

    def on_message_complete(self) -> None:
        """A request is there."""
        super().on_message_complete()
        self._enter("none")

    def pause_writing(self) -> None:
        """The client does not take what is written."""
        super().pause_writing()
        self._unread_since = self.loop.time()

    def resume_writing(self) -> None:
        """It took most of it."""
        super().resume_writing()
        self._unread_since = None

    def drop_if_slow(self, now: float) -> None:
        """Let the client go if it is slower than it may be.

        Parameters:
            now: of the event loop's clock.
        """
        limits = self.limits
        if self.transport.is_closing():
            # What was written before the end may never be taken.
            self._leaving_since = self._leaving_since or now
            if now - self._leaving_since > limits.stall_seconds:
                self.transport.abort()
        elif self._unread_since is not None and now - self._unread_since > limits.stall_seconds:
            self.transport.abort()
        elif self._phase == "head" and now - self._since > limits.head_seconds:
            # RFC 9110 15.5.9
            self._turn_away(408, f"the headers did not come within {limits.head_seconds:g} seconds")
        elif self._phase == "body" and (self.flow.read_paused or now - self._since > limits.stall_seconds):
            if not self.flow.read_paused and self._bytes < limits.stall_bytes:
                self._turn_away(408, "the rest of the request did not come")
            else:
                self._enter("body")  # while nothing is read, the slow one is this server

    def _enter(self, phase: str) -> None:
        self._phase, self._since, self._bytes = phase, self.loop.time(), 0

    def _turn_away(self, status: int, message: str, headers: str = "") -> None:
        """Answer for the application, unless it answers already, and close."""
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            body = msgspec.json.encode(ErrorMessage(message=message))
            head = (
                f"content-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n{headers}\r\n"
            )
            self.transport.write(STATUS_LINE[status] + head.encode("ascii") + body)
        self.transport.close()


def guarded(limits: ConnectionLimits) -> type[GuardedProtocol]:
    """The protocol with these limits."""
    return type("LimitedProtocol", (GuardedProtocol,), {"limits": limits})

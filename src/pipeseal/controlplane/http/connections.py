"""Connections that a client may not hold for nothing: bounded in number, in the size of a head, and in slowness.

uvicorn waits for the rest of a request, and for a client that does not read its answer, for as long as the connection
stands. Here every direction has a least speed. An idle connection between two requests, a held ping and a stream
that has nothing to say are not slow: nobody waits for the client.
"""

from __future__ import annotations

import logging
import resource
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from pipeseal.agentapi.messages import ErrorMessage

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

    from pipeseal.controlplane.http.quick_ping import HungUp, QuickAnswers

_log = logging.getLogger("pipeseal.server")
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
    quick: QuickAnswers | None = None

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._phase = "head"  # then "body", then "none" until the next request begins
        self._since = self.loop.time()  # when the phase began, or its time was last looked at
        self._bytes = 0  # of this phase, since then
        self._trailer_bytes = 0
        self._unread_since: float | None = None  # the client takes nothing of the answer
        self._leaving_since: float | None = None
        self._set_aside: tuple[RequestResponseCycle, ASGI3Application] | None = None  # until all of it is there
        self._hung_up: HungUp | None = None  # of the request that `quick` has

    def connection_made(self, transport: Any) -> None:
        """A client connects; one too many is told so and let go."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.max_connections:
            self._turn_away(503, "there are too many connections", "retry-after: 2\r\n")

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone."""
        super().connection_lost(exc)
        self._set_aside = None
        if self._hung_up is not None:
            self._hung_up()

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
        if self._set_aside is not None:
            (cycle, app), self._set_aside = self._set_aside, None
            self._begin(cycle, app)

    def on_body(self, body: bytes) -> None:
        """A part of a body; what grows long is no heartbeat."""
        super().on_body(body)
        if self._set_aside is not None and self.quick is not None:
            cycle, app = self._set_aside
            if len(cycle.body) > self.quick.max_body_bytes:
                self._set_aside = None
                super()._start_asgi_task(cycle, app)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        """A request is to be answered: uvicorn calls this when its head is there and none before it waits.

        Should a later uvicorn call something else, the application answers everything, as it can.
        """
        self._hung_up = None
        if self.quick is None or not self.quick.knows(cycle):
            super()._start_asgi_task(cycle, app)
        elif cycle.more_body:
            self._set_aside = cycle, app
        else:
            self._begin(cycle, app)

    def _begin(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        """Answer a request here if that can be, else by the application."""
        assert self.quick is not None
        hand_on = partial(super()._start_asgi_task, cycle, app)
        try:
            hung_up = self.quick.take(cycle, hand_on)
        except Exception:  # (a fault of this shortcut must cost no agent its answer; its trace is in the log)
            _log.exception("a fault of this program in %s", cycle.scope["path"])
            hung_up = None
        if not cycle.response_started:
            self._hung_up = hung_up
            if hung_up is None:
                hand_on()

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


def guarded(limits: ConnectionLimits, quick: QuickAnswers | None = None) -> type[GuardedProtocol]:
    """The protocol with these limits.

    Parameters:
        quick: answers some requests; None: the application answers all.
    """
    return type("LimitedProtocol", (GuardedProtocol,), {"limits": limits, "quick": quick})

"""Pings and heartbeats, answered where their requests are read: idle agents say nothing else, but that all the time.

A ping that waits is a future here, and no task of the application; those that wait in vain are answered together, by
one timer. Whatever is not an ordinary request of a connected agent goes to the application, and so does a ping as
soon as there is something to look up: what is told, and how, is decided in one place.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from pipeseal.agentapi.messages import Heartbeat
from pipeseal.agentapi.routes import BY_NAME, route_path
from pipeseal.controlplane.http.bodies import decode_json
from pipeseal.controlplane.http.headers import missing_headers
from pipeseal.controlplane.services.authenticate import find_connected
from pipeseal.controlplane.services.dispatch import NO_NEWS, Session
from pipeseal.controlplane.services.ping import ASKED_AT, answer_time, begin_ping, end_ping
from pipeseal.controlplane.services.plane import ControlPlane
from pipeseal.controlplane.services.register_agent import heartbeat
from pipeseal.errors import MalformedInput

_log = logging.getLogger("pipeseal.server")
_SCHEME: Final = b"token "
_MAX_TOKEN_BYTES: Final = 512
_TYPE: Final = (b"content-type", b"application/json")

# Gives a request to the application after all.
HandOn = Callable[[], None]
# To be called when the client hangs up.
HungUp = Callable[[], None]


class QuickAnswers:
    """Answers ordinary pings and heartbeats.

    Parameters:
        plane: the control plane.
        prefix: of the Agent API.
    """

    # The body of a heartbeat is a time.
    max_body_bytes: Final = 1024

    def __init__(self, plane: ControlPlane, prefix: str) -> None:
        self._plane = plane
        takers = {"ping": self._take_ping, "heartbeat": self._take_heartbeat}
        self._takers = {(BY_NAME[name].method, prefix + route_path(name)): take for name, take in takers.items()}
        self._encode = msgspec.json.Encoder().encode
        headers = [_TYPE, *missing_headers([_TYPE], secure=plane.url.startswith("https://"))]
        self._headers = b"".join(map(_line, headers))
        self._due: dict[float, set[asyncio.Future[str | None]]] = {}

    def knows(self, cycle: RequestResponseCycle) -> bool:
        """Whether a request, whose head is there, may be one to `take` once all of it is.

        One that is too long is answered before the rest of it comes.
        """
        scope = cycle.scope
        return (
            (scope["method"], scope["path"]) in self._takers
            and not scope["query_string"]
            and not cycle.waiting_for_100_continue
            and all(
                name != b"content-length" or int(value) <= self.max_body_bytes for name, value in scope["headers"]
            )
        )

    def take(self, cycle: RequestResponseCycle, hand_on: HandOn) -> HungUp | None:
        """Answer a request, now or later; None when it is for the application.

        Parameters:
            cycle: a request that `knows` knew, all of it.
            hand_on: for later.
        """
        if cycle.disconnected or cycle.flow.write_paused:
            return None
        scope = cycle.scope
        token = _find_token(scope["headers"])
        session = None if token is None else find_connected(self._plane, token)
        if session is None:
            return None  # the route says why, or reads it from the database
        return self._takers[scope["method"], scope["path"]](cycle, session, hand_on)

    def _take_heartbeat(self, cycle: RequestResponseCycle, _session: Session, _hand_on: HandOn) -> HungUp | None:
        try:
            request = decode_json(bytes(cycle.body), Heartbeat) if cycle.body else Heartbeat()
        except MalformedInput:
            return None
        self._answer(cycle, heartbeat(self._plane, request), asyncio.get_running_loop().time())
        return _nothing

    def _take_ping(self, cycle: RequestResponseCycle, session: Session, hand_on: HandOn) -> HungUp | None:
        loop = asyncio.get_running_loop()
        asked_at = loop.time()
        found = begin_ping(self._plane, session)
        if found is None:
            return None
        if not isinstance(found, asyncio.Future):
            self._answer(cycle, found, asked_at)
            return _nothing
        until = answer_time(asked_at, self._plane.settings.ping_hold)
        due = self._due.get(until)
        if due is None:
            due = self._due[until] = set()
            loop.call_at(until, self._give_up, until)
        due.add(found)
        found.add_done_callback(partial(self._told, cycle, session, hand_on, due, asked_at))
        return partial(self._hung_up, session, found)

    def _give_up(self, until: float) -> None:
        """Nobody who waits until now was told anything."""
        for future in list(self._due.pop(until)):
            if not future.done():
                future.set_result(NO_NEWS)

    def _told(
        self,
        cycle: RequestResponseCycle,
        session: Session,
        hand_on: HandOn,
        due: set[asyncio.Future[str | None]],
        asked_at: float,
        future: asyncio.Future[str | None],
    ) -> None:
        """A ping that waited has its answer, or has to look for it."""
        due.discard(future)
        if cycle.disconnected or future.cancelled():
            self._plane.dispatcher.leave(session, future)
            return
        if future.result() == NO_NEWS:
            self._plane.dispatcher.leave(session, future)
        answer = end_ping(future.result())
        if answer is None:
            cycle.scope.setdefault("state", {})[ASKED_AT] = asked_at
            hand_on()
        else:
            self._answer(cycle, answer, asked_at)

    def _hung_up(self, session: Session, future: asyncio.Future[str | None]) -> None:
        if not future.done():
            self._plane.dispatcher.leave(session, future)
            future.cancel()

    def _answer(self, cycle: RequestResponseCycle, value: object, asked_at: float) -> None:
        """Write an answer, as the application and the web server would together."""
        content = self._encode(value)
        lines = [STATUS_LINE[200], *map(_line, cycle.default_headers), b"content-length: %d\r\n" % len(content)]
        lines.append(self._headers)
        if not cycle.keep_alive:
            lines.append(b"connection: close\r\n")
        seconds = asyncio.get_running_loop().time() - asked_at
        self._plane.metrics.count(cycle.scope["method"], 200, seconds)
        cycle.transport.write(b"".join([*lines, b"\r\n", content]))
        cycle.response_started = cycle.response_complete = True
        if not cycle.keep_alive:
            cycle.transport.close()
        on_response, cycle.on_response = cycle.on_response, _nothing
        on_response()


def _line(header: tuple[bytes, bytes]) -> bytes:
    return b"%s: %s\r\n" % header


def _nothing() -> None:
    """Nobody waits any more."""


def _find_token(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The one token that a request shows; None when the application is to say what is wrong with it."""
    given = [value for name, value in headers if name == b"authorization"]
    if len(given) != 1 or given[0][: len(_SCHEME)].lower() != _SCHEME:
        return None
    token = given[0][len(_SCHEME) :].strip()
    return token.decode("latin-1") if 0 < len(token) <= _MAX_TOKEN_BYTES else None

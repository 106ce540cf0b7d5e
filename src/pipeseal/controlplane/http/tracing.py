"""Spans of requests and of their database transactions, where the operator wants traces.

A span tells the route as it is written in our tables, the method and the status. Addresses, queries, headers, bodies
and who asked are never looked at, but for one header: an agent says by `traceparent` which job its call belongs to.
"""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable, MutableMapping
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeVar

from pipeseal.agentapi.ping_stream import STREAM_PATH
from pipeseal.agentapi.routes import BY_NAME
from pipeseal.agentapi.traceparent import HEADER, TraceContext, make_span_id, make_trace_id, parse_traceparent
from pipeseal.controlplane.http.agent_api import PREFIX
from pipeseal.controlplane.http.door import Application, Receive, Scope, Send
from pipeseal.errors import MalformedInput
from pipeseal.tracing.spans import Span, SpanKind, Stopwatch, Tracing, child_of

T = TypeVar("T")

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# What agents and watchers of the server ask all the time: told when it fails.
_QUIET: Final = frozenset(
    [
        *(
            f"{BY_NAME[name].method} {PREFIX}{BY_NAME[name].path}"
            for name in ("ping", "heartbeat", "job_state", "append_log")
        ),
        f"POST {STREAM_PATH}",
        "GET /healthz",
        "GET /metrics",
    ]
)
# A stream may read the database for as long as somebody watches.
_MAX_TRANSACTIONS: Final = 100
_CONVERTER: Final = re.compile(r":[a-z]+\}")


class _Transaction(NamedTuple):
    kind: str
    function: str
    began: int
    ended: int
    is_failed: bool


_transactions: ContextVar[list[_Transaction] | None] = ContextVar("transactions", default=None)


class TracedRequests:
    """ASGI application in front of all others.

    Parameters:
        tracing: where spans go.
        application: what answers.
        database: what the database is, as OpenTelemetry calls it.
        randomness: gives random bytes.
        stopwatch: the time.
    """

    def __init__(
        self,
        tracing: Tracing,
        application: Application,
        *,
        database: str,
        randomness: Callable[[int], bytes] = os.urandom,
        stopwatch: Stopwatch | None = None,
    ) -> None:
        self._tracing = tracing
        self._application = application
        self._database = database
        self._randomness = randomness
        self._stopwatch = stopwatch or Stopwatch()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request on, and tell how it went."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        status = 0

        async def noting(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        transactions: list[_Transaction] = []
        token, began = _transactions.set(transactions), self._stopwatch.now()
        try:
            await self._application(scope, receive, noting)
        except BaseException:
            status = status or 500
            raise
        finally:
            _transactions.reset(token)
            self._tell(scope, status, began, transactions)

    async def watch(self, kind: str, function: Callable[..., Any], result: Awaitable[T]) -> T:
        """Await a transaction for whoever asked for it; see `Database.watch`."""
        transactions = _transactions.get()
        if transactions is None or len(transactions) >= _MAX_TRANSACTIONS:
            return await result
        began, is_failed = self._stopwatch.now(), True
        try:
            done = await result
            is_failed = False
            return done
        finally:
            name = f"{function.__module__}.{getattr(function, '__qualname__', '')}".replace(".<locals>", "")
            transactions.append(_Transaction(kind, name, began, self._stopwatch.now(), is_failed))

    def _tell(self, scope: Scope, status: int, began: int, transactions: list[_Transaction]) -> None:
        method = scope["method"] if scope["method"] in _METHODS else "_OTHER"
        path = _template(getattr(scope.get("route"), "path", ""))
        if not path and scope["path"] == f"{PREFIX}{BY_NAME['ping'].path}":
            path = scope["path"]  # answered in front of the router
        name = f"{method} {path}".strip()
        if status < 500 and name in _QUIET:
            return
        facts: dict[str, str | int | bool] = {"http.request.method": method}
        if path:
            facts["http.route"] = path
        if status:
            facts["http.response.status_code"] = status
        if status >= 500:
            facts["error.type"] = str(status)
        parent = _told_parent(scope, status)
        trace_id = make_trace_id(self._randomness) if parent is None else parent.trace_id
        # Whoever asks does not decide what this server sends to its collector.
        is_sampled = self._tracing.is_sampled(trace_id, name)
        place = TraceContext(trace_id, make_span_id(self._randomness), is_sampled)
        for transaction in transactions:
            self._tracing.record(
                Span(
                    name=f"database {transaction.kind}",
                    context=child_of(place, self._randomness),
                    parent=place,
                    began=transaction.began,
                    ended=transaction.ended,
                    attributes={"db.system.name": self._database, "code.function.name": transaction.function},
                    is_failed=transaction.is_failed,
                )
            )
        self._tracing.record(
            Span(
                name=name,
                context=place,
                parent=None if parent is None else parent._replace(is_sampled=is_sampled),
                began=began,
                ended=self._stopwatch.now(),
                kind=SpanKind.SERVER,
                attributes=facts,
                is_failed=status >= 500,
                has_remote_parent=parent is not None,
            )
        )


def _told_parent(scope: Scope, status: int) -> TraceContext | None:
    """The span that an agent's call is a part of, by what it says itself; None for all others.

    A call that was turned away joins nothing: strangers could put what they like into any trace.
    """
    if not scope["path"].startswith(f"{PREFIX}/") or 400 <= status < 500:
        return None
    given = [value for name, value in scope["headers"] if name == HEADER.encode()]
    if len(given) != 1:
        return None
    try:
        return parse_traceparent(given[0].decode("latin-1"))
    except MalformedInput:
        return None


@lru_cache(maxsize=512)
def _template(path: str) -> str:
    """A route's path without how its segments are read."""
    return _CONVERTER.sub("}", path)

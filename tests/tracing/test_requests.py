"""Spans of requests: route, method and status, nothing of what was asked; who is turned away joins no trace."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeseal.controlplane.http.tracing import TracedRequests
from pipeseal.tracing.spans import SpanKind
from tests.agentapi.test_traceparent import BAD, GOOD
from tests.loops import run_coroutine
from tests.tracing.recorder import Recorder

SECRET = "swordfish-swordfish"


class Route:
    def __init__(self, path: str) -> None:
        self.path = path


def ask(
    recorder: Recorder,
    path: str = "/v3/jobs/1/finish",
    *,
    method: str = "PUT",
    route: str = "/v3/jobs/{job_id}/finish",
    status: int = 200,
    headers: list[tuple[bytes, bytes]] | None = None,
    query: bytes = b"",
    transactions: int = 0,
    fault: bool = False,
) -> None:
    """Ask an application that answers so."""

    async def go() -> None:
        async def application(scope: Any, _receive: Any, send: Any) -> None:
            scope["route"] = Route(route)
            for _ in range(transactions):
                await traced.watch("write", ask, asyncio.sleep(0, None))
            if fault:
                raise RuntimeError(SECRET)
            await send({"type": "http.response.start", "status": status, "headers": []})

        async def nothing() -> MutableMapping[str, Any]:
            raise AssertionError

        async def drop(_message: MutableMapping[str, Any]) -> None:
            pass

        traced = TracedRequests(recorder, application, database="sqlite")
        await traced(
            {"type": "http", "method": method, "path": path, "headers": headers or [], "query_string": query},
            nothing,
            drop,
        )

    run_coroutine(go())


def parent(text: str) -> list[tuple[bytes, bytes]]:
    return [(b"traceparent", text.encode("latin-1", "replace"))]


def test_an_agents_call_joins_the_trace_it_names() -> None:
    recorder = Recorder()
    ask(recorder, headers=parent(GOOD), transactions=2)
    *transactions, request = recorder.spans
    assert (request.name, request.kind) == ("PUT /v3/jobs/{job_id}/finish", SpanKind.SERVER)
    assert request.parent is not None and request.parent.span_id == GOOD[36:52] and request.has_remote_parent
    assert request.context.trace_id == GOOD[3:35]
    assert request.attributes == {
        "http.request.method": "PUT",
        "http.route": "/v3/jobs/{job_id}/finish",
        "http.response.status_code": 200,
    }
    assert [span.parent for span in transactions] == [request.context] * 2
    assert transactions[0].attributes == {
        "db.system.name": "sqlite",
        "code.function.name": "tests.tracing.test_requests.ask",
    }


@pytest.mark.parametrize("text", [*BAD, GOOD + GOOD])
def test_what_is_no_traceparent_begins_a_trace_of_its_own(text: str) -> None:
    recorder = Recorder()
    ask(recorder, headers=parent(text))
    (request,) = recorder.spans
    assert request.parent is None and request.context.trace_id != GOOD[3:35]


@pytest.mark.parametrize("status", [401, 403, 404, 413, 422, 429])
def test_who_is_turned_away_joins_nothing(status: int) -> None:
    recorder = Recorder()
    ask(recorder, headers=parent(GOOD), status=status)
    assert recorder.spans[0].context.trace_id != GOOD[3:35]


def test_only_agents_join() -> None:
    for path, headers in (
        ("/v2/organizations/local/pipelines", parent(GOOD)),
        ("/v3x/jobs", parent(GOOD)),
        ("/v3/jobs/1/finish", parent(GOOD) * 2),
    ):
        recorder = Recorder()
        ask(recorder, path, headers=headers)
        assert recorder.spans[0].parent is None


def test_who_asks_does_not_decide_what_is_sent() -> None:
    for samples in (True, False):
        for flags in ("00", "01"):
            recorder = Recorder(samples)
            ask(recorder, headers=parent(GOOD[:-2] + flags), transactions=1)
            assert {span.context.is_sampled for span in recorder.spans} == {samples}


def test_what_is_asked_all_the_time_is_told_when_it_fails() -> None:
    quiet = [
        ("GET", "/v3/ping"),
        ("POST", "/v3/heartbeat"),
        ("GET", "/v3/jobs/{job_id}"),
        ("POST", "/v3/jobs/{job_id}/chunks"),
        ("GET", "/healthz"),
        ("GET", "/metrics"),
    ]
    for method, route in quiet:
        recorder = Recorder()
        ask(recorder, method=method, route=route)
        assert recorder.spans == [], (method, route)
        ask(recorder, method=method, route=route, status=503)
        (span,) = recorder.spans
        assert span.is_failed and span.attributes["error.type"] == "503"


def test_a_fault_is_a_failed_span_without_its_text() -> None:
    recorder = Recorder()
    with pytest.raises(RuntimeError):
        ask(recorder, fault=True)
    (span,) = recorder.spans
    assert span.is_failed and span.attributes["http.response.status_code"] == 500
    assert SECRET not in repr(span)


def test_a_stream_that_reads_for_ever_fills_no_memory() -> None:
    recorder = Recorder()
    ask(recorder, transactions=500)
    assert len(recorder.spans) == 101


def test_how_a_segment_is_read_is_not_told() -> None:
    recorder = Recorder()
    ask(recorder, route="/v3/steps/{step:path}/x")
    assert recorder.spans[0].attributes["http.route"] == "/v3/steps/{step}/x"


@given(
    place=st.sampled_from(["path", "query", "header", "authorization", "method"]),
    status=st.sampled_from([200, 404, 500]),
    around=st.text(max_size=10),
)
def test_nothing_that_was_asked_is_told(place: str, status: int, around: str) -> None:
    recorder = Recorder()
    text = f"{around}{SECRET}{around}"
    raw = text.encode()
    headers = {"header": [(b"x-any", raw)], "authorization": [(b"authorization", b"Token " + raw)]}.get(place, [])
    ask(
        recorder,
        f"/v3/{text}" if place == "path" else "/v3/jobs/1/finish",
        method=text if place == "method" else "PUT",
        query=raw if place == "query" else b"",
        headers=[*headers, *parent(text if place == "header" else GOOD)],
        status=status,
        transactions=1,
    )
    assert SECRET not in repr(recorder.spans)

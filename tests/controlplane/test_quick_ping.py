"""Pings in front of the router say what the router would, and those that wait in vain are answered together."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeseal.controlplane.services.ping import answer_time
from pipeseal.errors import Unavailable
from tests.controlplane.running import QUICK, FakeAgent, RunningServer, running_server

NOTHING = {"action": "", "message": "", "job": None}


@given(st.floats(0, 1e7), st.floats(0, 3600))
def test_no_question_is_held_for_longer_than_allowed_and_few_for_much_less(now: float, hold: float) -> None:
    until = answer_time(now, hold)
    assert now <= until <= now + hold + 1e-3
    assert until - now >= hold * 0.98 - 1e-3


def test_questions_of_one_moment_share_their_answer() -> None:
    assert len({answer_time(1000 + number / 1000, 25.0) for number in range(1000)}) <= 3


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("quick") / "data", replace(QUICK, ping_hold=0.05)) as server:
        yield server


def _ask(running: RunningServer, *headers: tuple[str, str], method: str = "GET") -> tuple[int, dict[str, object]]:
    connection = http.client.HTTPConnection(urlsplit(running.plane.url).netloc, timeout=10)
    try:
        connection.putrequest(method, "/v3/ping")
        for name, value in headers:
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        assert answer.headers["content-type"] == "application/json"
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def test_whatever_is_no_ordinary_ping_is_answered_as_by_the_router(
    running: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = FakeAgent(running.api).token
    assert _ask(running, ("Authorization", f"Token {token}")) == (200, NOTHING)
    assert _ask(running, ("authorization", f"tOKEN  {token} ")) == (200, NOTHING)
    for headers, code in (
        ((), "access.no_token"),
        ((("Authorization", f"Bearer {token}"),), "access.no_token"),
        ((("Authorization", "Token "),), "access.no_token"),
        ((("Authorization", f"Token {'x' * 513}"),), "access.no_token"),
        ((("Authorization", "Token nobody"),), "access.unknown_token"),
        ((("Authorization", "Token \xe4"),), "access.unknown_token"),
    ):
        status, answer = _ask(running, *headers)
        assert (status, answer["code"]) == (401, code)
    status, answer = _ask(running, ("Authorization", f"Token {token}"), method="DELETE")
    assert (status, answer["code"]) == (405, "request.method")

    async def fail(*_: object) -> None:
        raise Unavailable("server.store", "the disk is full")

    monkeypatch.setattr("pipeseal.controlplane.http.quick_ping.ping", fail)
    status, answer = _ask(running, ("Authorization", f"Token {token}"))
    assert (status, answer["code"]) == (503, "server.store")

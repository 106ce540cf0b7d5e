"""Pings in front of the router say what the router would, and those that wait in vain are answered together."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeseal.controlplane.domain.tokens import digest_token
from pipeseal.controlplane.services.ping import answer_time
from pipeseal.errors import Unavailable
from tests.controlplane.running import QUICK, FakeAgent, RunningServer, running_server, until

NOTHING = {"action": "", "message": "", "job": None}


@given(st.floats(0, 1e7), st.floats(0, 3600))
def test_no_question_is_held_for_longer_than_allowed_and_few_for_much_less(now: float, hold: float) -> None:
    until = answer_time(now, hold)
    assert now <= until <= now + hold + 1e-3
    assert until - now >= hold * 0.96 - 1e-3


def test_questions_of_one_moment_share_their_answer() -> None:
    assert len({answer_time(1000 + number / 1000, 25.0) for number in range(1000)}) <= 2


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("quick") / "data", replace(QUICK, ping_hold=0.05)) as server:
        yield server


def _ask(running: RunningServer, *headers: tuple[str, str], method: str = "GET") -> tuple[int, dict[str, object]]:
    connection = http.client.HTTPConnection(urlsplit(running.plane.url).netloc, timeout=60)
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

    async def fail(*_: object, **_more: object) -> None:
        raise Unavailable("server.store", "the disk is full")

    monkeypatch.setattr("pipeseal.controlplane.http.agent_api.ping", fail)
    session = running.plane.sessions.find(digest_token(token))
    assert session is not None
    session.told_paused = True  # so that there is more to it than a wait for jobs
    status, answer = _ask(running, ("Authorization", f"Token {token}"))
    assert (status, answer["code"]) == (503, "server.store")


BEAT = b'{"sent_at": "2026-01-01T00:00:00Z"}'


class _Wire:
    """A connection on which a client says exactly these bytes."""

    def __init__(self, running: RunningServer) -> None:
        parts = urlsplit(running.plane.url)
        self._socket = socket.create_connection((parts.hostname, parts.port), timeout=60)
        self._reader = self._socket.makefile("rb")

    def say(self, data: bytes) -> None:
        self._socket.sendall(data)

    def hear(self) -> tuple[int, dict[str, str], dict[str, object]]:
        """Status, headers and content of the next answer."""
        status = int(self._reader.readline().split()[1])
        headers = {}
        while line := self._reader.readline().strip().decode("latin-1"):
            name, _, value = line.partition(": ")
            headers[name] = value
        return status, headers, json.loads(self._reader.read(int(headers["content-length"])))

    def is_closed(self) -> bool:
        return not self._reader.read(1)

    def close(self) -> None:
        self._reader.close()
        self._socket.close()


@pytest.fixture
def wire(running: RunningServer) -> Iterator[_Wire]:
    wire = _Wire(running)
    yield wire
    wire.close()


def _head(token: str, line: str, *headers: str) -> bytes:
    return "\r\n".join([f"{line} HTTP/1.1", "Host: x", f"Authorization: Token {token}", *headers, "", ""]).encode()


def _beat(token: str, *headers: str, body: bytes = BEAT) -> bytes:
    return _head(token, "POST /v3/heartbeat", f"Content-Length: {len(body)}", *headers) + body


def test_an_answer_given_here_looks_like_one_of_the_application(running: RunningServer, wire: _Wire) -> None:
    token = FakeAgent(running.api).token
    wire.say(_head(token, "GET /v3/ping"))
    status, here, content = wire.hear()
    wire.say(_head(token, "GET /v3/ping?"))  # an address that is none of the ordinary ones
    assert wire.hear()[0::2] == (status, content) == (200, NOTHING)
    wire.say(_head(token, "GET /v3/ping?x"))
    _, there, _ = wire.hear()
    assert {**here, "date": ""} == {**there, "date": ""}
    wire.say(_beat(token))
    status, here, content = wire.hear()
    assert (status, content["sent_at"]) == (200, "2026-01-01T00:00:00Z")
    wire.say(_beat(token).replace(b"/heartbeat", b"/heartbeat?x"))
    _, there, _ = wire.hear()
    assert {**here, "date": ""} == {**there, "date": ""}


def test_a_heartbeat_in_pieces_or_of_odd_forms_is_answered_once(running: RunningServer, wire: _Wire) -> None:
    token = FakeAgent(running.api).token
    whole = _beat(token)
    for at in (20, whole.index(b"\r\n\r\n") + 4, len(whole) - 1):
        wire.say(whole[:at])
        wire.say(whole[at:])
        assert wire.hear()[0] == 200
    wire.say(_head(token, "POST /v3/heartbeat", "Transfer-Encoding: chunked") + b"23\r\n" + BEAT + b"\r\n0\r\n\r\n")
    assert wire.hear()[2]["sent_at"] == "2026-01-01T00:00:00Z"
    wire.say(_beat(token, body=b""))
    assert wire.hear()[0] == 200
    for body in (b"[]", b'{"sent_at": "", "unread": "\xff"}', b'{"sent_at": "\\u0000"}'):
        wire.say(_beat(token, body=body))
        assert wire.hear()[0] == 422
    wire.say(_beat(token, body=BEAT + b" " * 5000))
    assert wire.hear()[0] == 200
    wire.say(_head(token, "POST /v3/heartbeat", f"Content-Length: {len(BEAT)}", "Expect: 100-continue"))
    assert wire._reader.readline() == b"HTTP/1.1 100 Continue\r\n"
    assert wire._reader.readline() == b"\r\n"
    wire.say(BEAT)
    assert wire.hear()[0] == 200
    wire.say(_beat("nobody"))
    assert wire.hear()[0] == 401


def test_a_heartbeat_that_is_too_long_is_told_so_before_it_has_come(running: RunningServer, wire: _Wire) -> None:
    wire.say(_head(FakeAgent(running.api).token, "POST /v3/heartbeat", f"Content-Length: {10**12}"))
    assert wire.hear()[0] == 413


def test_requests_that_are_sent_together_are_answered_in_their_order(running: RunningServer, wire: _Wire) -> None:
    token = FakeAgent(running.api).token
    beat, question = _beat(token), _head(token, "GET /v3/ping")
    missing = _head(token, "GET /v3/nowhere")
    wire.say(question + beat + beat + missing + question + beat)
    told = [wire.hear() for _ in range(6)]
    assert [status for status, _, _ in told] == [200, 200, 200, 404, 200, 200]
    assert ["sent_at" in content for _, _, content in told] == [False, True, True, False, False, True]


def test_a_client_that_wants_no_second_request_gets_its_answer_and_an_end(
    running: RunningServer, wire: _Wire
) -> None:
    token = FakeAgent(running.api).token
    wire.say(_beat(token, "Connection: close"))
    status, headers, _ = wire.hear()
    assert (status, headers["connection"]) == (200, "close")
    assert wire.is_closed()


def test_a_heartbeat_is_a_sign_of_life(running: RunningServer, wire: _Wire) -> None:
    token = FakeAgent(running.api).token
    session = running.plane.sessions.find(digest_token(token))
    assert session is not None
    session.last_seen = 0.0
    wire.say(_beat(token))
    assert wire.hear()[0] == 200
    assert session.last_seen > 0.0
    session.state = "lost"  # which only the database takes back
    wire.say(_beat(token))
    assert wire.hear()[0] == 200
    assert session.state == "connected"


def test_a_fault_of_the_shortcut_costs_nobody_an_answer(
    running: RunningServer, wire: _Wire, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    token = FakeAgent(running.api).token

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("pipeseal.controlplane.http.quick_ping.begin_ping", fail)
    wire.say(_head(token, "GET /v3/ping"))
    assert wire.hear()[0::2] == (200, NOTHING)
    assert "ZeroDivisionError" in caplog.text


def test_a_job_for_an_agent_that_has_just_hung_up_goes_to_another(tmp_path: Path) -> None:
    with running_server(tmp_path / "data", replace(QUICK, ping_hold=50, offer_timeout=500)) as running:
        running.api.create_pipeline("steps: [{command: x}]")
        gone, wire = FakeAgent(running.api), _Wire(running)
        wire.say(_head(gone.token, "GET /v3/ping"))
        until(lambda: running.plane.dispatcher.waiting_count == 1, "a held ping")
        wire.close()
        until(lambda: running.plane.dispatcher.waiting_count == 0, "an agent that waits no more")
        running.api.create_build()
        assert FakeAgent(running.api).take().start().status == 200


def test_a_ping_that_is_held_hears_of_a_pause_and_of_the_end(tmp_path: Path) -> None:
    with running_server(tmp_path / "data", replace(QUICK, ping_hold=50)) as running:
        agent, wire = FakeAgent(running.api), _Wire(running)
        try:
            for method, path, action in (
                ("PUT", "pause", "pause"),
                ("PUT", "resume", ""),
                ("PUT", "stop", "disconnect"),
            ):
                wire.say(_head(agent.token, "GET /v3/ping"))
                until(lambda: running.plane.dispatcher.waiting_count == 1, "a held ping")
                assert running.api.rest(method, f"/agents/{agent.id}/{path}", {}).status < 300
                assert wire.hear()[2]["action"] == action
        finally:
            wire.close()

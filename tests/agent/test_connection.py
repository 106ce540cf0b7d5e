"""The client against servers that mean no good, on real sockets."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeseal.agent.client import AgentClient
from pipeseal.agent.connection import TIMEOUT_SECONDS, OneShot, Transport, parse_endpoint
from pipeseal.agent.pool import ConnectionPool
from pipeseal.agent.retries import RETRIES, After, Retry, constant, growing, is_worth_retrying, with_retries
from pipeseal.errors import ConfigurationError, MalformedInput, PipesealError, Unavailable
from tests.agent.fake_server import fake_server
from tests.faults.thorough import is_thorough


@contextmanager
def raw_server(*answers: bytes, pause: float = 0.0, keep: bool = False) -> Iterator[str]:
    """Answers each connection with the next of these bytes, one at a time when there is a pause."""
    listener = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def serve() -> None:
        for answer in answers:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                try:
                    connection.recv(65_536)
                    if not pause:
                        connection.sendall(answer)
                    for byte in answer if pause else b"":
                        connection.sendall(bytes([byte]))
                        time.sleep(pause)
                    if keep:
                        over.wait(5)
                except OSError:
                    pass

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v3"
    finally:
        over.set()
        listener.close()
        thread.join(5)


@contextmanager
def _pool(url: str, kind: type[ConnectionPool] | type[OneShot] = ConnectionPool) -> Iterator[Transport]:
    with closing(kind(parse_endpoint(url), user_agent="test")) as pool:
        yield pool


BOTH = pytest.mark.parametrize("kind", [ConnectionPool, OneShot])


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@BOTH
@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"", "api.unreachable"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{}", "api.unreachable"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "api.answer"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n", "api.answer"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n", "api.answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", "api.too_long"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "api.answer"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 5000, "api.too_long"),
    ],
)
def test_answer_that_is_none(answer: bytes, code: str, kind: type[ConnectionPool]) -> None:
    with raw_server(answer) as url, _pool(url, kind) as pool, pytest.raises(PipesealError) as caught:
        pool.request("GET", "/ping", token="t", max_bytes=4096)
    assert caught.value.code == code


@given(
    st.one_of(
        st.binary(max_size=200),
        st.lists(st.sampled_from([b"HTTP/1.1 ", b"200 OK", b"\r\n", b"Content-Length: ", b"2", b":", b"x"])).map(
            b"".join
        ),
    ),
    st.sampled_from([ConnectionPool, OneShot]),
)
@settings(max_examples=60, deadline=None)
def test_whatever_comes_is_an_answer_or_one_of_our_errors(answer: bytes, kind: type[ConnectionPool]) -> None:
    with raw_server(answer) as url, _pool(url, kind) as pool:
        try:
            pool.request("GET", "/ping", token="t")
        except (Unavailable, MalformedInput):
            pass


@BOTH
@pytest.mark.parametrize(
    "deadline",
    [
        0.4,
        pytest.param(
            TIMEOUT_SECONDS,
            marks=pytest.mark.skipif(not is_thorough(), reason="takes a minute; `make chaos` tries it"),
        ),
    ],
)
def test_an_answer_without_an_end_is_waited_for_no_longer_than_its_call(
    deadline: float, kind: type[ConnectionPool]
) -> None:
    """Attack J05, and the deadline of calls that name none: each byte comes in time, the end never."""
    drip = b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n" + b" " * 5_000
    with raw_server(drip, pause=0.05) as url, _pool(url, kind) as pool:
        started = time.monotonic()
        with pytest.raises(Unavailable):
            if deadline == TIMEOUT_SECONDS:
                pool.request("GET", "/ping", token="t")
            else:
                pool.request("GET", "/ping", token="t", timeout_seconds=deadline)
        assert deadline * 0.9 < time.monotonic() - started < deadline + 60


@BOTH
@pytest.mark.parametrize("answer", [OK, b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + b" " * 100])
def test_slow_answer_ends_at_its_deadline(answer: bytes, kind: type[ConnectionPool]) -> None:
    with raw_server(answer, pause=0.05) as url, _pool(url, kind) as pool, pytest.raises(Unavailable):
        pool.request("GET", "/ping", token="t", timeout_seconds=0.4)


def test_connection_is_kept_and_a_dead_one_replaced() -> None:
    with raw_server(OK, OK) as url, _pool(url) as pool:
        assert pool.request("GET", "/ping", token="t").body == b"{}"
        time.sleep(0.05)  # the server has closed it meanwhile
        assert pool.request("GET", "/ping", token="t").body == b"{}"


def test_close_ends_a_call_at_whatever_moment_it_comes() -> None:
    with fake_server(hold_seconds=30) as server:
        for number in range(60):
            pool = ConnectionPool(parse_endpoint(server.endpoint), user_agent="test")
            ended: list[str] = []

            def call(pool: ConnectionPool = pool, ended: list[str] = ended) -> None:
                try:
                    pool.request("GET", "/ping", token="t", timeout_seconds=20)
                except Unavailable as error:
                    ended.append(error.code)

            thread = threading.Thread(target=call)
            thread.start()
            time.sleep(number * 0.00005)
            pool.close()
            thread.join(60)
            assert ended == ["api.unreachable"], number


def test_close_ends_a_call_that_waits() -> None:
    with raw_server(b"", keep=True) as url, _pool(url) as pool:
        caught: list[PipesealError] = []

        def call() -> None:
            try:
                pool.request("GET", "/ping", token="t")
            except PipesealError as error:
                caught.append(error)

        thread = threading.Thread(target=call)
        thread.start()
        time.sleep(0.1)
        pool.close()
        thread.join(60)
        assert [error.code for error in caught] == ["api.unreachable"]
        with pytest.raises(Unavailable):
            pool.request("GET", "/ping", token="t")


@BOTH
def test_request_is_what_it_should_be(kind: type[ConnectionPool]) -> None:
    with fake_server() as server, _pool(server.endpoint, kind) as pool:
        server.interfere = lambda _request: (201, "é".encode() * 100_000, {"X-Some": " thing "})
        answer = pool.request("PUT", "/a%2Fb?c=d", token="secret", body=b"{}", headers={"X-Mine": "1"})
        assert (answer.status, answer.body, answer.headers["x-some"]) == (201, "é".encode() * 100_000, "thing")
        (request,) = server.requests
        assert (request.method, request.path, request.query) == ("PUT", "/v3/a/b", {"c": ["d"]})
        assert request.body == b"{}" and request.headers["content-type"] == "application/json"
        assert request.headers["authorization"] == "Token secret" and request.headers["x-mine"] == "1"
        assert request.headers["host"] == f"127.0.0.1:{server.port}"


@pytest.mark.parametrize("token", ["", "a b", "a\r\nX: y", "é", "x" * 5000])
def test_token_that_is_none_is_refused(token: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        AgentClient("http://127.0.0.1:1/v3", token)
    assert caught.value.code == "token.unreadable"


@pytest.mark.parametrize("url", ["", "x", "ftp://h/v3", "http://", "http://u@h/v3", "http://h:99999/", "http://h/?q"])
def test_endpoint_has_to_be_a_url(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_endpoint(url)
    assert caught.value.code == "endpoint.invalid"


@contextmanager
def _client(url: str) -> Iterator[AgentClient]:
    stop = threading.Event()
    stop.set()  # no waiting between attempts: the first failure is the answer
    with closing(AgentClient(url, "t", stop=stop)) as client:
        yield client


def test_redirect_is_not_followed() -> None:
    with fake_server() as other, fake_server() as server:
        server.interfere = lambda _request: (307, b"", {"Location": other.endpoint + "/ping"})
        with _client(server.endpoint) as client, pytest.raises(Unavailable) as caught:
            client.ping()
        assert caught.value.code == "api.redirect"
        assert not other.requests


@pytest.mark.parametrize(
    "body",
    [
        b"", b"null", b"[]", b"nonsense", b"\xff", b'{"job":{"id":"../../x"}}', b'{"job":{"id":""}}',
        b'{"job":{"id":5}}', b'{"job":{"id":"a\\u0000"}}', b"[" * 100_000, b'{"x":' * 100_000,
    ],
)  # fmt: skip
def test_ping_answer_that_is_none(body: bytes) -> None:
    with fake_server() as server:
        server.interfere = lambda _request: (200, body)
        with _client(server.endpoint) as client, pytest.raises(MalformedInput) as caught:
            client.ping()
        assert caught.value.code == "api.answer"


def test_intervals_are_brought_into_range() -> None:
    from pipeseal.agentapi.messages import RegisterRequest

    with fake_server() as server:
        server.ping_interval, server.heartbeat_interval, server.job_status_interval = 0, -5, 10**18
        with _client(server.endpoint) as client:
            answer = client.register(RegisterRequest(name="x"))
        assert (answer.ping_interval, answer.heartbeat_interval, answer.job_status_interval) == (1, 1, 60)


def test_message_of_the_server_is_escaped_and_short() -> None:
    with fake_server() as server:
        server.interfere = lambda _request: (422, b'{"message":"no\\u001b[31m\\n' + b"x" * 5000 + b'"}')
        with _client(server.endpoint) as client, pytest.raises(Unavailable) as caught:
            client.ping()
        assert caught.value.status == 422
        assert "no\\x1b[31m\\x0a" in caught.value.message and len(caught.value.message) < 700


def test_which_failures_are_worth_another_attempt() -> None:
    network = Unavailable("api.unreachable", "")
    status = {number: Unavailable("api.status", "", status=number) for number in (401, 422, 429, 500, 503)}
    answer = MalformedInput("api.answer", "")
    locked = Unavailable("api.status", "", status=423)
    assert [is_worth_retrying(network, after) for after in After] == [True] * len(After)
    assert {after for after in After if is_worth_retrying(status[429], after)} == {
        After.RETRYABLE,
        After.LOCKED,
        After.ANYTHING,
    }
    assert {after for after in After if not is_worth_retrying(status[503], after)} == {After.NETWORK}
    assert {after for after in After if is_worth_retrying(status[422], after)} == {After.ANYTHING}
    assert {after for after in After if is_worth_retrying(locked, after)} == {After.LOCKED, After.ANYTHING}
    assert {after for after in After if is_worth_retrying(answer, after)} == {After.ANYTHING}


def test_attempts_delays_and_stopping() -> None:
    waits: list[float] = []

    def fail(_attempt: int) -> None:
        raise Unavailable("api.status", "busy", status=503)

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        return False

    with pytest.raises(Unavailable):
        with_retries(Retry(4, growing(2000)), fail, wait=wait)
    assert [round(seconds, 1) for seconds in waits] == [2.0, 3.2, 5.2]
    waits.clear()
    with pytest.raises(Unavailable):
        with_retries(Retry(3, constant(1)), fail, wait=wait, retry_after=lambda _error: 9_999_999.0)
    assert waits == [60, 60]
    with pytest.raises(Unavailable):
        with_retries(Retry(50, constant(1)), fail, wait=lambda _seconds: True)


def test_every_call_has_a_row() -> None:
    from pipeseal.agent.job_client import RETRIES as OF_JOBS
    from pipeseal.agentapi.routes import ROUTES

    assert {route.name for route in ROUTES} <= {*RETRIES, *OF_JOBS}

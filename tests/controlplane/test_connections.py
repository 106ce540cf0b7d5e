"""Clients that hold connections for nothing: slow, endless, deaf or too many. They are let go, and others served."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from pipeseal.controlplane.http.connections import ConnectionLimits, allowed_connections
from pipeseal.controlplane.http.serve import Server, listen, url_of
from pipeseal.controlplane.services.plane import open_plane
from tests.controlplane.running import QUICK, Api, FakeAgent

LIMITS = ConnectionLimits(max_connections=8, max_head_bytes=8192, head_seconds=1.0, stall_seconds=1.0, stall_bytes=64)


@contextmanager
def limited_server(folder: Path, limits: ConnectionLimits) -> Iterator[Api]:
    listener = listen("127.0.0.1:0")
    plane = open_plane(folder, QUICK)
    plane.url = url_of(listener)
    ready = threading.Event()
    server = Server(plane, listener, lambda _url: ready.set(), limits)
    thread = threading.Thread(target=server.serve_until_stopped, daemon=True)
    thread.start()
    assert ready.wait(60)
    api = Api(plane.url, folder)
    try:
        yield api
    finally:
        api.close()
        server.should_exit = True
        thread.join(60)
        listener.close()
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with limited_server(tmp_path_factory.mktemp("server") / "data", LIMITS) as api:
        yield api


@contextmanager
def connected(api: Api, receive_buffer: int = 0) -> Iterator[socket.socket]:
    with socket.socket() as client:
        if receive_buffer:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        client.settimeout(60)
        client.connect((api.host, api.port))
        yield client


def answer_of(client: socket.socket) -> bytes:
    """All that the server says until it ends the connection."""
    said = b""
    while True:
        try:
            block = client.recv(65536)
        except ConnectionError:
            return said
        if not block:
            return said
        said += block


def drip(client: socket.socket, text: bytes, pause: float = 0.05) -> None:
    """Send a byte now and then, until the server has enough of it."""
    for byte in text:
        try:
            client.send(bytes([byte]))
        except ConnectionError:
            return
        time.sleep(pause)


def test_a_client_that_says_nothing_is_let_go(api: Api) -> None:
    with connected(api) as client:
        assert b" 408 " in answer_of(client)


def test_headers_that_come_byte_by_byte_do_not_hold_a_connection(api: Api) -> None:
    with connected(api) as client:
        thread = threading.Thread(target=drip, args=(client, b"GET /healthz HTTP/1.1\r\nX-Slow: " + b"x" * 60))
        thread.start()
        assert answer_of(client).startswith(b"HTTP/1.1 408 ")
        thread.join()


def test_so_is_a_slow_second_request_on_a_kept_connection(api: Api) -> None:
    with connected(api) as client:
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
        client.sendall(b"GET /hea")
        assert answer_of(client).startswith(b"HTTP/1.1 408 ")


def test_an_idle_kept_connection_is_not_slow(api: Api) -> None:
    with connected(api) as client:
        for _ in range(2):
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
            time.sleep(2 * LIMITS.head_seconds)


def test_headers_without_end_are_not_kept(api: Api) -> None:
    with connected(api) as client:
        client.sendall(b"GET /healthz HTTP/1.1\r\n")
        try:
            for number in range(100_000):
                client.sendall(b"X-%d: %s\r\n" % (number, b"y" * 100))
        except ConnectionError:
            pass
        else:
            pytest.fail("the server took 10 MB of headers")
    with connected(api) as client:
        client.sendall(b"GET /healthz HTTP/1.1\r\nX: " + b"y" * LIMITS.max_head_bytes)
        assert answer_of(client).startswith(b"HTTP/1.1 431 ")


def test_trailers_without_end_are_not_kept(api: Api) -> None:
    head = b"POST /v3/register HTTP/1.1\r\nAuthorization: Token %s\r\nTransfer-Encoding: chunked\r\n\r\n"
    with connected(api) as client:
        client.sendall(head % api.registration_token.encode() + b"2\r\n{}\r\n0\r\n")
        try:
            for number in range(100_000):
                client.sendall(b"X-%d: %s\r\n" % (number, b"y" * 100))
        except ConnectionError:
            return
        pytest.fail("the server took 10 MB of trailers")


def test_a_request_right_behind_another_has_its_time_too(api: Api) -> None:
    request = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    with connected(api) as client:
        client.sendall(request + request + request[:10])
        said = answer_of(client)
        assert said.count(b"HTTP/1.1 200 ") == 2
        assert said.count(b"HTTP/1.1 408 ") == 1


@pytest.mark.parametrize("length", [b"Content-Length: 1000", b"Transfer-Encoding: chunked"])
def test_a_body_that_comes_byte_by_byte_does_not_hold_a_connection(api: Api, length: bytes) -> None:
    head = b"POST /v3/register HTTP/1.1\r\nAuthorization: Token %s\r\n%s\r\n\r\n"
    with connected(api) as client:
        client.sendall(head % (api.registration_token.encode(), length))
        thread = threading.Thread(target=drip, args=(client, b"1\r\n{\r\n" * 12))
        thread.start()
        assert answer_of(client).startswith(b"HTTP/1.1 408 ")
        thread.join()


def test_a_body_that_comes_steadily_is_waited_for(api: Api) -> None:
    body = b'{"name":"%s"}' % (b"x" * 1000)
    with connected(api) as client:
        head = b"POST /v3/register HTTP/1.1\r\nAuthorization: Token %s\r\nContent-Length: %d\r\n\r\n"
        client.sendall(head % (api.registration_token.encode(), len(body)))
        for start in range(0, len(body), 100):
            client.sendall(body[start : start + 100])
            time.sleep(0.1)
        assert not client.recv(65536).startswith(b"HTTP/1.1 408 ")


def test_a_client_that_takes_nothing_of_its_answer_is_let_go(api: Api) -> None:
    api.create_pipeline("steps: [{command: x}]", "deaf")
    build = api.create_build("deaf")
    job = FakeAgent(api).take()
    size = 2_000_000
    for number in range(8):
        assert job.chunk(number + 1, number * size, b"z" * size).status == 200
    path = f"/v2/organizations/local/pipelines/deaf/builds/{build['number']}/jobs/{job.id}/log.txt"
    with connected(api, receive_buffer=4096) as client:
        request = f"GET {path} HTTP/1.1\r\nAuthorization: Bearer {api.api_token}\r\n\r\n"
        client.sendall(request.encode())
        time.sleep(6 * LIMITS.stall_seconds)
        assert len(answer_of(client)) < 8 * size
    assert len(api.log(build, job.id)) == 8 * size


def test_held_pings_are_not_slow_clients(api: Api) -> None:
    agent = FakeAgent(api, "queue=nobody")
    begin = time.monotonic()
    assert agent.ping().get("job") is None
    assert time.monotonic() - begin > 1.5 * LIMITS.stall_seconds


def test_one_connection_too_many_is_told_so_and_others_go_on(api: Api) -> None:
    assert api.call("GET", "/healthz").status == 200  # keeps a connection
    with ExitStack() as stack:
        crowd = [stack.enter_context(connected(api)) for _ in range(2 * LIMITS.max_connections)]
        assert any(answer_of(client).startswith(b"HTTP/1.1 503 ") for client in crowd)
        assert api.call("GET", "/healthz").status == 200
    assert api.call("GET", "/healthz").status == 200


def test_the_number_of_connections_leaves_files_for_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    changed: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _what: (1024, 4096))
    monkeypatch.setattr(resource, "setrlimit", lambda _what, limits: changed.append(limits))
    assert allowed_connections(10_000) == 4096 - 256
    assert changed == [(4096, 4096)]
    assert allowed_connections(100) == 100

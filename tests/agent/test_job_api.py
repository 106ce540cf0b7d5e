"""The Job API over its real socket: what a job may change, what it may not, and who may ask at all."""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
import tempfile
import threading
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeseal.agent.job_api.client import JobApiClient, SocketClient, open_job_api
from pipeseal.agent.job_api.promises import PromiseBook
from pipeseal.agent.job_api.server import BASE, SOCKET_VARIABLE, TOKEN_VARIABLE, JobApi
from pipeseal.agent.job_api.socket_server import MAX_BODY_BYTES, SocketServer, prepare_socket_folder
from pipeseal.errors import ConfigurationError, MalformedInput, Unavailable


class Control:
    """A job that does what its API asks, and remembers it."""

    def __init__(self) -> None:
        self.variables = {"A": "1", "B": "two words"}
        self.directories: list[str] = []
        self.hidden: list[str] = []
        self.promised: list[tuple[int, str]] = []
        self.refusal: Unavailable | None = None

    def environment(self) -> Mapping[str, str]:
        return self.variables

    def change_environment(self, values: Mapping[str, str], removed: Collection[str]) -> None:
        self.variables.update(values)
        for name in removed:
            del self.variables[name]

    def set_directory(self, directory: str) -> None:
        self.directories.append(directory)

    def redact(self, value: str) -> None:
        self.hidden.append(value)

    def promise_failure(self, exit_status: int, reason: str) -> None:
        self.promised.append((exit_status, reason))
        if self.refusal is not None:
            raise self.refusal


@pytest.fixture
def sockets() -> Iterator[Path]:
    # Not below pytest's folder: a socket's path may have 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="ps-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def control() -> Control:
    return Control()


@pytest.fixture
def api(control: Control, sockets: Path) -> Iterator[JobApi]:
    with JobApi(control, sockets) as api:
        yield api


@pytest.fixture
def client(api: JobApi) -> Iterator[JobApiClient]:
    client = open_job_api(api.environment)
    yield client
    client.close()


def raw(api: JobApi, request: bytes) -> bytes:
    """Everything the socket answers to these bytes."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60)
        connection.connect(api.environment[SOCKET_VARIABLE])
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while block := connection.recv(65_536):
            answer += block
        return answer


def ask(api: JobApi, method: str, path: str, content: object = None, token: str | None = None) -> tuple[int, Any]:
    body = b"" if content is None else json.dumps(content).encode()
    authorization = f"Bearer {api.environment[TOKEN_VARIABLE]}" if token is None else token
    head = f"{method} {path} HTTP/1.1\r\nHost: job\r\nContent-Length: {len(body)}\r\n"
    if authorization:
        head += f"Authorization: {authorization}\r\n"
    status_line, _, rest = raw(api, head.encode() + b"\r\n" + body).partition(b"\r\n")
    return int(status_line.split(b" ")[1]), json.loads(rest.partition(b"\r\n\r\n")[2])


# --- what a job may do --------------------------------------------------------------------------------------------


def test_variables_are_read_set_and_removed(control: Control, client: JobApiClient) -> None:
    assert client.environment() == {"A": "1", "B": "two words"}
    assert client.set_variables({"C": "3", "A": "one", "D": ""}) == (["C", "D"], ["A"])
    assert control.variables == {"A": "one", "B": "two words", "C": "3", "D": ""}
    assert client.unset_variables(["A", "Z", "A"]) == ["A"]
    assert "A" not in control.variables
    assert client.set_variables({}) == ([], [])


def test_protected_names_are_refused_and_nothing_is_applied(
    api: JobApi, control: Control, client: JobApiClient
) -> None:
    before = dict(control.variables)
    for name in ("BUILDKITE_AGENT_ACCESS_TOKEN", "BUILDKITE_BUILD_PATH", "BUILDKITE_SHELL"):
        with pytest.raises(Unavailable, match=name) as caught:
            client.set_variables({"FINE": "1", name: "x"})
        assert (caught.value.code, caught.value.status) == ("job_api.refused", 422)
        with pytest.raises(Unavailable, match=name):
            client.unset_variables(["A", name])
    assert control.variables == before
    # These a job may change, although the server may not.
    assert client.set_variables({"BUILDKITE_REFSPEC": "x", "BUILDKITE_ARTIFACT_PATHS": "y"})[0] == [
        "BUILDKITE_ARTIFACT_PATHS",
        "BUILDKITE_REFSPEC",
    ]


@pytest.mark.parametrize(
    ("content", "status"),
    [
        ({"env": {"A": None}}, 422),
        ({"env": {"A": None, "N": "1"}}, 422),
        ({"env": {"A": 1}}, 400),
        ({"env": []}, 400),
        ({"env": {"": "1"}}, 422),
        ({"env": {"A=B": "1"}}, 422),
        ({"env": {"A": "nul\0byte"}}, 422),
        ({"env": {"A": "\ud800"}}, 422),
        ({"env": {"\ud800": "1"}}, 422),
        ({"env": {"A": "x" * 140_000}}, 422),
        ([], 400),
        ("text", 400),
    ],
)
def test_variables_that_cannot_be_are_refused(api: JobApi, control: Control, content: object, status: int) -> None:
    before = dict(control.variables)
    answered, body = ask(api, "PATCH", f"{BASE}/env", content)
    assert answered == status
    assert isinstance(body["error"], str) and body["error"]
    assert control.variables == before


def test_bytes_that_are_not_utf8_pass_through(client: JobApiClient, control: Control) -> None:
    value = os.fsdecode(b"caf\xe9")
    client.set_variables({"COFFEE": value})
    assert os.fsencode(control.variables["COFFEE"]) == b"caf\xe9"
    assert client.environment()["COFFEE"] == value


def test_the_working_directory_is_absolute(api: JobApi, control: Control, client: JobApiClient) -> None:
    assert client.set_directory("/somewhere/else") == "/somewhere/else"
    for directory in ("", "relative", "/nul\0byte"):
        assert ask(api, "PUT", f"{BASE}/workdir", {"workdir": directory})[0] == 422
    assert ask(api, "PUT", f"{BASE}/workdir", {"workdir": 1})[0] == 400
    assert control.directories == ["/somewhere/else"]


def test_values_are_hidden(api: JobApi, control: Control) -> None:
    assert ask(api, "POST", f"{BASE}/redactions", {"redact": "s3cret"}) == (201, {"redacted": "s3cret"})
    assert ask(api, "POST", f"{BASE}/redactions", {"redact": 1})[0] == 400
    assert control.hidden == ["s3cret"]


def test_a_failure_is_promised_once_however_often(api: JobApi, control: Control, client: JobApiClient) -> None:
    first = ask(api, "POST", f"{BASE}/promise-failure", {"exit_status": 3, "reason": "tests"})
    assert first == (200, {"outcome": "declared", "accepted": True, "upstream_status": 0, "error": ""})
    again = client.promise_failure(3, "other")
    assert (again.by_this_call, again.accepted) == (False, True)
    assert control.promised == [(3, "tests")]
    for wrong in (0, -1, "1", True, None):
        assert ask(api, "POST", f"{BASE}/promise-failure", {"exit_status": wrong})[0] == 400
    assert ask(api, "POST", f"{BASE}/promise-failure", {"exit_status": 1, "reason": 2})[0] == 400


def test_final_refusals_of_a_promise_are_remembered_and_others_are_not(
    control: Control, client: JobApiClient
) -> None:
    control.refusal = Unavailable("api.status", "promised before", status=409)
    for _ in range(2):
        outcome = client.promise_failure(4, "")
        assert (outcome.accepted, outcome.status, outcome.error) == (False, 409, "promised before")
    assert len(control.promised) == 1
    for status in (None, 429, 503):
        control.refusal = Unavailable("api.status", "try later", status=status)
        client.promise_failure(5, "")
    assert len(control.promised) == 4
    control.refusal = None
    assert client.promise_failure(5, "").accepted


def test_concurrent_promises_share_one_declaration() -> None:
    begun, go_on = threading.Event(), threading.Event()
    declared: list[int] = []

    def declare(exit_status: int, _reason: str) -> None:
        declared.append(exit_status)
        begun.set()
        assert go_on.wait(60)

    book = PromiseBook(declare)
    outcomes: list[bool] = []
    threads = [threading.Thread(target=lambda: outcomes.append(book.promise(1, "").by_this_call)) for _ in range(8)]
    for thread in threads:
        thread.start()
    assert begun.wait(60)
    go_on.set()
    for thread in threads:
        thread.join()
    assert declared == [1]
    assert sorted(outcomes) == [False] * 7 + [True]


def test_a_declaration_that_breaks_does_not_keep_others_waiting() -> None:
    calls: list[int] = []

    def declare(exit_status: int, _reason: str) -> None:
        calls.append(exit_status)
        raise RuntimeError("a fault")

    book = PromiseBook(declare)
    for _ in range(2):
        with pytest.raises(RuntimeError):
            book.promise(1, "")
    assert calls == [1, 1]


# --- who may ask --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", ["", "Bearer", "Bearer wrong", "Token {}", "{}", "Bearer {}x", "bearer {}"])
def test_only_the_job_s_own_token_opens_the_socket(api: JobApi, control: Control, token: str) -> None:
    presented = token.format(api.environment[TOKEN_VARIABLE])
    status, body = ask(api, "GET", f"{BASE}/env", token=presented)
    assert status == 401 and "env" not in body
    assert ask(api, "PATCH", f"{BASE}/env", {"env": {"A": "x"}}, token=presented)[0] == 401
    assert control.variables["A"] == "1"


def test_each_job_has_a_token_and_a_socket_of_its_own(control: Control, sockets: Path) -> None:
    with JobApi(control, sockets) as one, JobApi(control, sockets) as other:
        assert one.environment[SOCKET_VARIABLE] != other.environment[SOCKET_VARIABLE]
        stolen = JobApiClient(Path(other.environment[SOCKET_VARIABLE]), one.environment[TOKEN_VARIABLE])
        with pytest.raises(Unavailable) as caught:
            stolen.environment()
        assert (caught.value.code, caught.value.status) == ("job_api.refused", 401)
        stolen.close()


def test_the_socket_is_for_this_user_alone_and_goes_away(control: Control, sockets: Path) -> None:
    with JobApi(control, sockets) as api:
        path = Path(api.environment[SOCKET_VARIABLE])
        assert path.parent == sockets / "job-api"
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        client = open_job_api(api.environment)
        client.environment()
    assert not path.exists()
    for _ in range(2):
        with pytest.raises(Unavailable) as caught:
            client.environment()
        assert caught.value.code == "job_api.unavailable"
    client.close()


def test_a_folder_that_others_can_use_is_closed_to_them(control: Control, sockets: Path) -> None:
    (sockets / "job-api").mkdir()
    (sockets / "job-api").chmod(0o777)
    with JobApi(control, sockets):
        assert stat.S_IMODE((sockets / "job-api").stat().st_mode) == 0o700


def test_a_path_that_cannot_hold_a_socket_is_refused_with_what_to_do(
    control: Control, sockets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigurationError, match="too long") as caught:
        JobApi(control, sockets / ("x" * 100)).start()
    assert caught.value.code == "socket.path" and "--sockets-path" in caught.value.help
    (sockets / "file").write_text("x")
    with pytest.raises(ConfigurationError) as caught:
        JobApi(control, sockets / "file").start()
    assert caught.value.code == "socket.path"
    monkeypatch.setattr(os, "geteuid", lambda: 4_242_424)
    with pytest.raises(ConfigurationError, match="another user"):
        prepare_socket_folder(sockets)


def test_outside_a_job_there_is_no_job_api() -> None:
    for environment in ({}, {SOCKET_VARIABLE: "/x"}, {TOKEN_VARIABLE: "t"}):
        with pytest.raises(Unavailable, match="is not set") as caught:
            open_job_api(environment)
        assert caught.value.code == "job_api.unavailable"


# --- how it speaks ------------------------------------------------------------------------------------------------


def test_what_is_not_there_is_not_found(api: JobApi) -> None:
    assert ask(api, "GET", "/api/current-job/v0/nothing")[0] == 404
    assert ask(api, "GET", "/env")[0] == 404
    assert ask(api, "POST", f"{BASE}/env", {})[0] == 405
    assert ask(api, "GET", f"{BASE}/env?x=1")[0] == 200


def test_several_requests_go_over_one_connection(api: JobApi) -> None:
    token = api.environment[TOKEN_VARIABLE]
    one = f"GET {BASE}/env HTTP/1.1\r\nAuthorization: Bearer {token}\r\n\r\n"
    last = one.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")
    answer = raw(api, (one + one + last + one).encode())
    assert answer.count(b"HTTP/1.1 200 OK") == 3


def test_a_caller_that_waits_for_100_continue_gets_it(api: JobApi, control: Control) -> None:
    token = api.environment[TOKEN_VARIABLE]
    body = b'{"redact":"secret"}'
    head = (
        f"POST {BASE}/redactions HTTP/1.1\r\nAuthorization: Bearer {token}\r\nExpect: 100-continue\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    answer = raw(api, head.encode() + body)
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\n")
    assert control.hidden == ["secret"]


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"GET / HTTP/2\r\n\r\n", 400),
        (b"GET x HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA : b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 411),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 411),
        (b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n", 411),
        (b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (MAX_BODY_BYTES + 1), 413),
        (b"GET / HTTP/1.1\r\nX: " + b"y" * 40_000 + b"\r\n\r\n", 431),
    ],
)
def test_what_is_not_http_is_refused(api: JobApi, request_bytes: bytes, status: int) -> None:
    answer = raw(api, request_bytes)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert answer.count(b"Content-Type: application/json") == 1


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=60)
    | st.lists(
        st.sampled_from([b"GET ", b"PATCH ", b"/api/current-job/v0/env", b" HTTP/1.1", b"\r\n", b"\n", b": ", b"{}"]),
        max_size=12,
    ).map(b"".join)
)
def test_whatever_comes_the_server_answers_or_hangs_up_and_goes_on(
    api: JobApi, control: Control, request_bytes: bytes
) -> None:
    answer = raw(api, request_bytes)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
    assert ask(api, "GET", f"{BASE}/env")[1] == {"env": {"A": "1", "B": "two words"}}


def test_a_fault_in_the_agent_is_an_answer_and_not_the_end(
    api: JobApi, control: Control, client: JobApiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_value: str) -> None:
        raise RuntimeError("a fault with s3cret")

    monkeypatch.setattr(control, "redact", broken)
    with pytest.raises(Unavailable) as caught:
        client.redact("s3cret")
    assert caught.value.status == 500 and "s3cret" not in caught.value.message
    assert client.environment()["A"] == "1"


def test_many_callers_at_once_lose_nothing(api: JobApi, control: Control) -> None:
    def set_some(worker: int) -> None:
        client = open_job_api(api.environment)
        for number in range(20):
            client.set_variables({f"V_{worker}_{number}": "x"})
        client.close()

    threads = [threading.Thread(target=set_some, args=(worker,)) for worker in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(control.variables) == 2 + 8 * 20


def test_a_silent_caller_does_not_keep_the_job_from_ending(control: Control, sockets: Path) -> None:
    api = JobApi(control, sockets)
    api.start()
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(api.environment[SOCKET_VARIABLE])
        ask(api, "GET", f"{BASE}/env")
        api.close()
        api.close()
        silent.settimeout(60)
        assert silent.recv(1) == b""


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnope",
        b'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"env":1}',
        b'HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{"env":{"A":1}}',
    ],
)
def test_another_program_on_the_socket_is_not_believed(sockets: Path, answer: bytes) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(sockets / "s"))
    listener.listen()

    def serve() -> None:
        connection, _ = listener.accept()
        connection.recv(1_000)
        connection.sendall(answer)
        connection.close()

    threading.Thread(target=serve, daemon=True).start()
    client = JobApiClient(sockets / "s", "token")
    with pytest.raises(MalformedInput) as caught:
        client.environment()
    assert caught.value.code == "job_api.answer"
    client.close()
    listener.close()


def test_a_server_without_a_path_to_listen_on_never_began(sockets: Path) -> None:
    server = SocketServer(sockets / "missing" / "s", lambda _request: pytest.fail("nobody can ask"))
    with pytest.raises(ConfigurationError):
        server.start()
    server.close()
    client = SocketClient(sockets / "missing" / "s", code="lock.unavailable", hint="")
    with pytest.raises(Unavailable):
        client.call("GET", "/")

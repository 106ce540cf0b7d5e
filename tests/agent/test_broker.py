"""The job's way to the control plane: through its agent, which passes on what a job may say and keeps the token."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeseal.agent.connection import Answer, OneShot, parse_endpoint
from pipeseal.agent.job_api.broker import Broker
from pipeseal.agent.pool import open_pool
from pipeseal.agentapi.routes import ROUTES, Token, find_route, route_path
from tests.agent.agent_process import agent_process
from tests.agent.fake_server import FakeServer, fake_server
from tests.agent.job_requests import OPEN, outcome, run, unsigned

SEGMENTS = {"job_id": "job-1", "build_id": "b-1", "upload_id": "u-1", "context": "c.1/2", "step": "s-1"}
# Calls the Agent API from a job, as a script would that knows nothing of an agent's commands.
CALL = f"""#!{sys.executable}
import os, sys, urllib.request
method, path, body = sys.argv[1:4]
request = urllib.request.Request(os.environ["BUILDKITE_AGENT_ENDPOINT"] + path, method=method, data=body.encode())
request.add_header("Authorization", "Token " + os.environ["BUILDKITE_AGENT_ACCESS_TOKEN"])
request.add_header("Content-Type", "application/json")
try:
    print("answered", urllib.request.urlopen(request).status)
except urllib.error.HTTPError as error:
    print("answered", error.code, error.read().decode())
"""


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with fake_server(20) as running:
        yield running


class Counter:
    """A broker, and what a command inside the job sees of it."""

    def __init__(self, server: FakeServer) -> None:
        self.told: list[str] = []
        self.transport = open_pool(server.endpoint, user_agent="agent")
        self.broker = Broker("job-1", "JOB-TOKEN", transport=self.transport, tell=self.told.append)
        self.broker.start()
        self.caller = OneShot(parse_endpoint(self.broker.endpoint), user_agent="command")

    def ask(self, method: str, path: str, body: bytes | None = None, **more: Any) -> Answer:
        return self.caller.request(method, path, **{"token": self.broker.token, "body": body, **more})

    def close(self) -> None:
        self.broker.close()
        self.transport.close()


@pytest.fixture
def counter(server: FakeServer) -> Iterator[Counter]:
    counter = Counter(server)
    yield counter
    counter.close()


@pytest.mark.parametrize("route", [route for route in ROUTES if route.inside], ids=lambda route: route.name)
def test_calls_of_commands_are_passed_on_with_the_token_that_jobs_do_not_have(
    server: FakeServer, counter: Counter, route: Any
) -> None:
    server.interfere = lambda _request: (202, b'{"a":1}', {"Content-Type": "application/json", "Location": "/x"})
    path = route_path(route.name, **SEGMENTS)
    answer = counter.ask(route.method, path + "?a=1&a=%26+2", b'{"b":2}')
    assert (answer.status, answer.body, answer.headers["location"]) == (202, b'{"a":1}', "/x")
    [request] = server.requests
    assert request.headers["authorization"] == "Token JOB-TOKEN"
    assert request.headers["content-type"] == "application/json"
    assert (request.method, request.query, request.body) == (route.method, {"a": ["1", "& 2"]}, b'{"b":2}')
    assert find_route(request.method, path) is not None


@pytest.mark.parametrize("route", [route for route in ROUTES if not route.inside], ids=lambda route: route.name)
def test_what_only_an_agent_says_is_refused(server: FakeServer, counter: Counter, route: Any) -> None:
    answer = counter.ask(route.method, route_path(route.name, **SEGMENTS), b"{}")
    assert answer.status == 403
    assert "broker.call" in json.loads(answer.body)["message"]
    assert server.requests == []
    assert "broker.call" in counter.told[0]


def test_every_call_that_takes_the_job_token_is_decided() -> None:
    own = {route.name for route in ROUTES if route.token is Token.JOB and not route.inside}
    assert own == {"start_job", "job_state", "finish_job", "append_log", "header_times"}
    assert not [route.name for route in ROUTES if route.inside and route.token is not Token.JOB]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/jobs/job-2/data/get", 403),
        ("/jobs/%6Aob-2/data/get", 403),
        ("/jobs/job-1%2Fpipelines/data/get", 403),
        ("/jobs/../jobs/job-1/data/get", 404),
        ("//jobs/job-1/data/get", 404),
        ("/jobs/job-1/data/get/", 404),
        ("/jobs/job-1/elsewhere", 404),
    ],
)
def test_calls_about_other_jobs_and_unknown_calls_stay_here(
    server: FakeServer, counter: Counter, path: str, status: int
) -> None:
    assert counter.ask("POST", path, b'{"key":"k"}').status == status
    assert server.requests == []


@pytest.mark.parametrize("token", ["", "JOB-TOKEN", "x" * 43, "ü"])
def test_nobody_else_may_call(server: FakeServer, counter: Counter, token: str) -> None:
    assert counter.ask("POST", "/jobs/job-1/data/get", b"{}", token=token).status == 401
    assert server.requests == []


def test_request_for_another_address_does_not_leave(server: FakeServer, counter: Counter) -> None:
    caller = OneShot(
        parse_endpoint(counter.broker.endpoint)._replace(path="http://elsewhere.invalid/v3"), user_agent=""
    )
    answer = caller.request("POST", "/jobs/job-1/data/get", token=counter.broker.token, body=b"{}")
    # The address is looked at no further than its path.
    assert answer.status == 404
    [request] = server.requests
    assert request.headers["host"] == f"127.0.0.1:{server.port}"


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ((302, b"", {"Location": "http://127.0.0.1:1/"}), 502),
        ((101, b"", {}), 502),
        ((404, b'{"message":"none"}', {}), 404),
        ((503, b"", {"Retry-After": "7"}), 503),
        ((999, b"", {}), 502),
    ],
)
def test_answers_are_passed_back_unless_they_lead_elsewhere(
    server: FakeServer, counter: Counter, answer: Any, status: int
) -> None:
    server.interfere = lambda _request: answer
    got = counter.ask("POST", "/jobs/job-1/data/get", b'{"key":"k"}')
    assert got.status == status
    assert got.headers.get("retry-after") == answer[2].get("Retry-After")
    assert "location" not in got.headers


def test_headers_cross_in_neither_direction_unless_commands_use_them(server: FakeServer, counter: Counter) -> None:
    server.interfere = lambda _request: (200, b"{}", {"Set-Cookie": "a=b", "X-Odd": "1"})
    answer = counter.ask("POST", "/jobs/job-1/data/get", b"{}", headers={"X-Forwarded-For": "1.2.3.4", "Cookie": "c"})
    assert not {"set-cookie", "x-odd"} & set(answer.headers)
    assert not {"x-forwarded-for", "cookie"} & set(server.requests[0].headers)


def test_server_that_is_gone_is_worth_another_try(counter: Counter, server: FakeServer) -> None:
    server.close()
    answer = counter.ask("POST", "/jobs/job-1/data/get", b"{}")
    assert answer.status == 503
    assert "api.unreachable" in json.loads(answer.body)["message"]


def test_job_has_neither_the_token_nor_a_say_in_its_end(server: FakeServer, tmp_path: Path) -> None:
    (tmp_path / "call").write_text(CALL)
    (tmp_path / "call").chmod(0o755)
    command = (
        f"call={tmp_path}/call\n"
        'printf "%s %s\\n" endpoint "$BUILDKITE_AGENT_ENDPOINT"\n'
        'set +e; env | grep -c "JOBTOKE[N]"\n'
        'cat "$BUILDKITE_ENV_FILE" "$BUILDKITE_ENV_JSON_FILE" | grep -c "JOBTOKE[N]"\n'
        """$call PUT /jobs/job-1/finish '{"exit_status":"0"}'\n"""
        """$call POST "/jobs/job-1/chunks?sequence=1&offset=0&size=1" x\n"""
        "buildkite-agent meta-data set kept yes; buildkite-agent meta-data exists kept; echo exists $?\n"
        "exit 3\n"
    )
    with agent_process(server, tmp_path, *OPEN) as agent:
        job = run(server, unsigned(command))
        assert outcome(job) == ("3", "", ""), job.text
        assert f"endpoint {server.endpoint}" not in job.text and "endpoint http://127.0.0.1:" in job.text
        assert "\n0\n0\n" in job.text
        assert job.text.count("answered 403") == 2 and "broker.call" in job.text
        assert len(server.calls("PUT", "/jobs/job-1/finish")) == 1
        assert server.meta_data["kept"] == "yes" and "exists 0" in job.text
        server.wait_for(lambda: "PUT /v3/jobs/job-1/finish, which was refused" in agent.log)


def test_what_a_job_left_running_can_ask_nothing(server: FakeServer, tmp_path: Path) -> None:
    with agent_process(server, tmp_path, *OPEN):
        job = run(server, unsigned(f'env | grep "^BUILDKITE_AGENT_[AE]" > {tmp_path}/kept; exit 0'))
        assert outcome(job)[0] == "0"
        kept = dict(line.split("=", 1) for line in (tmp_path / "kept").read_text().splitlines())
        count = len(server.calls("POST", "/jobs/job-1/data/exists"))
        caller = OneShot(parse_endpoint(kept["BUILDKITE_AGENT_ENDPOINT"]), user_agent="left-behind")
        with pytest.raises(Exception, match="no answer"):
            caller.request("POST", "/jobs/job-1/data/exists", token=kept["BUILDKITE_AGENT_ACCESS_TOKEN"], body=b"{}")
        assert len(server.calls("POST", "/jobs/job-1/data/exists")) == count


def test_operator_may_give_jobs_their_token(server: FakeServer, tmp_path: Path) -> None:
    with agent_process(server, tmp_path, *OPEN, "--expose-job-token"):
        job = run(server, unsigned("env | grep -c 'JOBTOKE[N]'; echo $BUILDKITE_AGENT_ENDPOINT"))
        assert "\n1\n" in job.text and server.endpoint in job.text


def test_server_cannot_send_artifacts_to_the_agents_own_machine(server: FakeServer, tmp_path: Path) -> None:
    # A control plane elsewhere, played by a name of this machine that is not the broker's address.
    server_url = server.endpoint.replace("127.0.0.1", "localhost")
    command = "echo data > file.txt; buildkite-agent artifact upload file.txt || echo upload failed"
    with agent_process(server, tmp_path, *OPEN, "--endpoint", server_url):
        job = run(server, unsigned(command))
        # The instructions name 127.0.0.1, which is the broker's host and not the control plane's.
        assert "artifact.store" in job.text and "upload failed" in job.text
        assert server.artifacts == {}

"""The small control planes of the tests and of the drill: a job is told to an agent that is there to hear it."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable
from contextlib import closing

from pipeseal.lab.hostile_server import HostileServer
from tests.agent.fake_server import FakeServer
from tests.controlplane.running import until

Ask = Callable[[], http.client.HTTPConnection]


def check_that_nobody_takes_the_job_of_another(ask: Ask, held: Callable[[], int], give: Callable[[], object]) -> None:
    """An agent asks and ends; another one asks; the job is the other one's."""
    gone = ask()
    until(lambda: held() == 1, "the first agent's question")
    gone.close()
    with closing(ask()) as here:
        until(lambda: held() == 2, "the second agent's question")
        give()
        assert json.loads(here.getresponse().read()) == {"job": {"id": "job-1"}}


def test_fake_server_tells_a_job_to_whoever_is_there() -> None:
    with closing(FakeServer(5)) as server:

        def ask() -> http.client.HTTPConnection:
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
            connection.request("GET", "/v3/ping")
            return connection

        check_that_nobody_takes_the_job_of_another(
            ask, lambda: len(server.calls("GET", "/ping")), lambda: server.add_job({}, "job-1")
        )


def test_hostile_server_tells_a_job_to_whoever_is_there() -> None:
    with closing(HostileServer("token")) as server:
        server.agents["session"] = ("main", "agent-1")

        def ask() -> http.client.HTTPConnection:
            connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=10)
            connection.request("GET", "/v3/ping", headers={"Authorization": "Token session"})
            return connection

        check_that_nobody_takes_the_job_of_another(
            ask, lambda: len(server.requests), lambda: server.give(b"{}", "job-1", "main")
        )

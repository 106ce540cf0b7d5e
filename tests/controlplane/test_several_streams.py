"""Streams at one of several servers: what happens at the others is heard on them at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from tests.controlplane.postgres_server import fresh_database
from tests.controlplane.running import QUICK, FakeAgent, RunningServer, ServerProcess, running_server, until
from tests.controlplane.stream_client import open_stream

Pair = tuple[RunningServer, RunningServer]


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    """Two servers in threads, on one database and one folder of objects."""
    settings = replace(QUICK, offer_timeout=600.0, heartbeat_timeout=60.0)
    objects = str(tmp_path / "objects")
    with (
        fresh_database() as url,
        running_server(tmp_path / "a", settings, database_url=url, object_store=objects) as a,
        running_server(tmp_path / "b", settings, database_url=url, object_store=objects, tokens=tmp_path / "a") as b,
    ):
        until(lambda: a.plane.peers.is_listening and b.plane.peers.is_listening, "the servers to hear each other")
        a.api.create_pipeline("steps: [{command: x, key: x}]")
        yield a, b


def test_an_agent_may_stream_at_one_server_and_work_through_another(pair: Pair) -> None:
    a, b = pair
    agent = FakeAgent(b.api)
    with open_stream(agent, a.api) as stream:
        for _ in range(4):
            b.api.create_build()
        told = []
        for _ in range(4):
            told.append(stream.next_job())
            job = agent.accept(told[-1])
            assert job.start().status == 200
            assert job.finish().status == 200
        assert len(set(told)) == 4
        assert b.api.rest("PUT", f"/agents/{agent.id}/pause", {"note": "now"}).status in (200, 204)
        # What servers tell each other are hints; the database is looked at every few seconds.
        assert stream.next() == ("pause", "now")
        assert b.api.rest("PUT", f"/agents/{agent.id}/resume", {}).status in (200, 204)
        assert stream.next() == ("resume", "")
        assert b.api.rest("PUT", f"/agents/{agent.id}/stop", {}).status in (200, 204)
        action = stream.next()
        assert action is not None
        assert action[0] == "disconnect"


def test_each_job_is_told_on_one_stream_of_all_servers(pair: Pair) -> None:
    a, b = pair
    with ExitStack() as stack:
        agents = [FakeAgent(server.api) for server in pair for _ in range(3)]
        streams = [stack.enter_context(open_stream(agent)) for agent in agents]
        until(lambda: a.plane.dispatcher.waiting_count + b.plane.dispatcher.waiting_count == 6, "six streams")
        for number in range(6):
            pair[number % 2].api.create_build()
        jobs = [stream.next_job() for stream in streams]
        assert len(set(jobs)) == 6
        for agent, job_id in zip(agents, jobs, strict=True):
            assert agent.accept(job_id).finish().status == 200


def test_a_stream_ends_when_its_agent_leaves_through_another_server(pair: Pair) -> None:
    a, b = pair
    agent = FakeAgent(b.api)
    with open_stream(agent, a.api) as stream:
        agent.disconnect()
        assert stream.next() in (None, ("disconnect", "the server asked this agent to stop"))


def test_a_job_told_by_a_server_that_is_killed_is_told_again_by_the_other(tmp_path: Path) -> None:
    with fresh_database() as url, ExitStack() as stack:
        options = ["--database-url", url, "--object-store", str(tmp_path / "objects"), "--accept-timeout", "1"]
        servers = [ServerProcess(tmp_path / name, *options, tokens=tmp_path / "a") for name in ("a", "b")]
        for server in servers:
            stack.callback(server.kill_if_running)
        a, b = [server.start() for server in servers]
        a.create_pipeline("steps: [{command: x, key: x}]")
        agent, other = FakeAgent(a), FakeAgent(b)
        stream = stack.enter_context(open_stream(agent))
        a.create_build()
        told = stream.next_job()
        servers[0].kill()
        with open_stream(other) as elsewhere:
            assert elsewhere.next_job() == told
            assert other.accept(told).finish().status == 200
        agent.api = b
        with open_stream(agent):
            assert b.wait_build("passed")["jobs"][0]["agent"]["id"] == other.id

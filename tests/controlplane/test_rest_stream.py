"""Builds and logs as server-sent events: nothing is told twice or left out, and strangers get no more of it."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeseal.controlplane.http.public import ITEMS
from pipeseal.controlplane.http.rest_stream import render_event
from tests.controlplane.running import QUICK, Api, FakeAgent, RunningServer, running_server, until
from tests.controlplane.test_public import allowed, is_allowed, members_of, played, publish

ROOT = "/v2/organizations/local"
STEPS = "steps:\n  - {label: one, command: make}\n  - {label: two, command: make}\n"


class Event(NamedTuple):
    """One event of a stream."""

    name: str
    data: Any
    id: str


def parse_events(text: str) -> list[Event]:
    """Events as a browser reads them."""
    found = []
    for block in text.split("\n\n"):
        lines = [line.partition(": ") for line in block.split("\n") if line and not line.startswith(":")]
        members = {name: value for name, _, value in lines}
        if members:
            found.append(Event(members["event"], json.loads(members["data"]), members.get("id", "")))
    return found


class Stream:
    """A stream that is being read."""

    def __init__(self, api: Api, path: str, headers: dict[str, str] | None = None) -> None:
        self._connection = HTTPConnection(api.host, api.port, timeout=60)
        sent = {"Authorization": f"Bearer {api.api_token}", **(headers or {})}
        self._connection.request("GET", ROOT + path, headers=sent)
        self._response = self._connection.getresponse()
        assert self._response.status == 200, self._response.read()
        assert self._response.headers["content-type"] == "text/event-stream; charset=utf-8"

    def next(self) -> Event | None:
        """The next event; None at the end."""
        text = ""
        while not text.endswith("\n\n") or not parse_events(text):
            line = self._response.readline().decode()
            if not line:
                return None
            text += line
        return parse_events(text)[0]

    def close(self) -> None:
        """Leave."""
        self._response.close()
        self._connection.close()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("server") / "data", QUICK) as server:
        yield server


def test_build_is_told_whole_and_then_what_changes(running: RunningServer) -> None:
    api = running.api
    api.create_pipeline(STEPS, "changes")
    number = api.create_build("changes")["number"]
    stream = Stream(api, f"/pipelines/changes/builds/{number}/events?wait=20")
    first = stream.next()
    assert first is not None
    assert "jobs" not in first.data["build"]
    assert [job["label"] for job in first.data["jobs"]] == ["one", "two"]
    assert first.data["job_ids"] == [job["id"] for job in first.data["jobs"]]
    agent = FakeAgent(api)
    agent.run(0)
    seen: dict[str, str] = {}
    while seen.get(first.data["job_ids"][0]) != "passed":
        event = stream.next()
        assert event is not None
        assert event.name == "build"
        assert "job_ids" not in event.data
        seen |= {job["id"]: job["state"] for job in event.data["jobs"]}
    assert first.data["job_ids"][1] not in seen  # nothing happened to it, so nothing is told of it
    agent.run(1)
    names = []
    while (event := stream.next()) is not None:
        names.append(event.name)
        last = event.data
    assert names[-1] == "end"
    assert last == {"state": "failed"}
    stream.close()


def test_without_wait_a_stream_holds_what_is_there_and_ends(running: RunningServer) -> None:
    api = running.api
    api.create_pipeline(STEPS, "short")
    api.create_build("short")
    answer = api.rest("GET", "/pipelines/short/builds/1/events")
    assert [event.name for event in parse_events(answer.body.decode())] == ["build"]


def test_log_goes_on_behind_the_last_event_byte_for_byte(running: RunningServer) -> None:
    api = running.api
    api.create_pipeline("steps:\n  - {command: make, agents: {queue: follow}}\n", "follow")
    api.create_build("follow")
    job = FakeAgent(api, "queue=follow").take()
    path = f"/pipelines/follow/builds/1/jobs/{job.id}/log/stream"
    pieces = [b"first \xc3", b"\xa9 line\r\n", b"\xff\x00 third\n", b"end"]
    stream = Stream(api, path + "?wait=20")
    at = 0
    got = b""
    for sequence, piece in enumerate(pieces[:2], 1):
        assert job.chunk(sequence, at, piece).status == 200
        at += len(piece)
        event = stream.next()
        assert event is not None
        got += b64decode(event.data["data"])
        assert (event.name, event.id, len(got)) == ("log", str(at), at)
    stream.close()
    for sequence, piece in enumerate(pieces[2:], 3):
        assert job.chunk(sequence, at, piece).status == 200
        at += len(piece)
    assert job.finish(0).status == 200
    until(lambda: api.build(1, "follow")["state"] == "passed", "end of the build")
    again = Stream(api, path + "?wait=20&offset=0", {"Last-Event-ID": str(len(got))})
    events = []
    while (event := again.next()) is not None:
        events.append(event)
    again.close()
    assert got + b"".join(b64decode(event.data["data"]) for event in events[:-1]) == b"".join(pieces)
    assert events[-1] == Event("end", {"bytes": at}, "")
    whole = parse_events(api.rest("GET", path).body.decode())
    assert b"".join(b64decode(event.data["data"]) for event in whole[:-1]) == b"".join(pieces)
    assert api.rest("GET", path, headers={"Last-Event-ID": "-1"}).status == 422


def test_streams_of_what_is_not_there(running: RunningServer) -> None:
    api = running.api
    api.create_pipeline("steps:\n  - block: really?\n", "gate")
    build = api.create_build("gate")
    assert api.rest("GET", "/pipelines/gate/builds/2/events").status == 404
    assert api.rest("GET", f"/pipelines/gate/builds/1/jobs/{build['jobs'][0]['id']}/log/stream").status == 404
    assert api.rest("GET", "/pipelines/gate/builds/1/events?wait=601").status == 422


def test_stranger_is_told_what_build_pages_show_and_no_more(tmp_path: Path) -> None:
    with running_server(tmp_path / "data", QUICK) as running:
        build = played(running.api)
        path = f"{ROOT}/pipelines/demo/builds/{build['number']}/events"
        hidden = running.api.call("GET", path)
        assert (hidden.status, hidden.json["code"]) == (401, "access.no_token")
        publish(running.api, public_since="all")
        members = next(item.members for item in ITEMS if any(one.endswith("/events") for one in item.endpoints))
        assert members is not None
        events = parse_events(running.api.call("GET", path).body.decode())
        assert [event.name for event in events] == ["build", "end"]
        told = events[0].data["build"] | {"jobs": events[0].data["jobs"]}
        assert "agent" in events[0].data["jobs"][0]
        assert {name for name in members_of(told) if not is_allowed(name, allowed(members))} == set()


@given(st.text(), st.text(alphabet="0123456789", max_size=5))
@settings(max_examples=50)
def test_data_of_an_event_stays_on_its_line(text: str, number: str) -> None:
    event = render_event("log", {"data": text}, number)
    assert parse_events(event.decode()) == [Event("log", {"data": text}, number)]
    assert len(event.splitlines()) == (4 if number else 3)

"""`notify` over real HTTP: what is told when, signed so that a receiver can check it, repeated until it arrives."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.controlplane.running import QUICK, FakeAgent, RunningServer, find_job, running_server, until
from tests.controlplane.test_schedules_run import HandClock

SETTINGS = replace(QUICK, ping_hold=0.2, notify_http=True, notify_networks=("127.0.0.0/8",))


@dataclass
class Receiver:
    """A receiver of webhooks that keeps what it gets and answers with the statuses it is given."""

    url: str
    statuses: list[int] = field(default_factory=list)
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    @property
    def events(self) -> list[tuple[str, str]]:
        """Event and build state of what was taken, in order of the builds' own times."""
        bodies = [json.loads(body) for _, body in self.requests]
        return [(body["event"], body["build"]["state"]) for body in bodies]


@contextmanager
def receiving() -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            kept.requests.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(kept.statuses.pop(0) if kept.statuses else 204)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    kept = Receiver(f"http://127.0.0.1:{server.server_address[1]}/hook?x=1")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield kept
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def running(tmp_path: Path, clock: HandClock) -> Iterator[RunningServer]:
    with running_server(tmp_path / "data", SETTINGS, clock=clock) as server:
        yield server


def notifications(running: RunningServer, number: int = 1) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = running.api.rest("GET", f"/pipelines/demo/builds/{number}/notifications").json
    return found


def test_a_build_is_told_about_from_its_making_to_its_end(running: RunningServer, receiver: Receiver) -> None:
    running.api.create_pipeline(f"notify: [{{webhook: '{receiver.url}'}}]\nsteps: [{{command: a, key: a}}]")
    build = running.api.create_build(message="hi")
    until(lambda: len(receiver.requests) == 1, "the first request")
    FakeAgent(running.api).run(1)
    until(lambda: len(receiver.requests) == 3, "all requests")
    assert sorted(receiver.events) == [
        ("build.finished", "failed"),
        ("build.running", "running"),
        ("build.scheduled", "scheduled"),
    ]
    secret = running.api.rest("GET", "/notification-secret").json["secret"]
    for headers, body in receiver.requests:
        assert headers["x-buildkite-event"] == json.loads(body)["event"]
        moment = headers["webhook-timestamp"]
        expected = hmac.new(secret.encode(), f"{moment}.".encode() + body, hashlib.sha256).hexdigest()
        assert headers["x-buildkite-signature"] == f"timestamp={moment},signature={expected}"
        told = json.loads(body)
        assert (told["build"]["id"], told["build"]["message"]) == (build["id"], "hi")
        assert told["pipeline"]["slug"] == "demo"
        assert "jobs" not in told["build"]
    assert len({headers["webhook-id"] for headers, _ in receiver.requests}) == 3
    until(lambda: {row["status"] for row in notifications(running)} == {"sent (204)"}, "the notes")


def test_conditions_choose_what_is_told(running: RunningServer, receiver: Receiver) -> None:
    running.api.create_pipeline(
        f"""
notify:
  - {{webhook: '{receiver.url}&bad', if: pipeline.started_failing}}
  - {{webhook: '{receiver.url}&good', if: pipeline.started_passing}}
  - {{webhook: '{receiver.url}&blocked', if: build.state == "blocked"}}
steps: [{{command: a, key: a}}, {{block: b, key: b}}]
"""
    )
    agent = FakeAgent(running.api)
    for number, status in enumerate((0, 1, 1, 0), 1):
        running.api.create_build()
        agent.run(status)
        if status == 0:
            block = find_job(running.api.build(number), "b")
            running.api.rest("PUT", f"/pipelines/demo/builds/{number}/jobs/{block['id']}/unblock")
        running.api.wait_build("passed", "failed", number=number)
    told = [sorted(row["url"].rpartition("&")[2] for row in notifications(running, number)) for number in range(1, 5)]
    assert told == [["blocked"], ["bad"], [], ["blocked", "good"]]


def test_a_request_is_repeated_until_it_is_taken(
    running: RunningServer, receiver: Receiver, clock: HandClock
) -> None:
    receiver.statuses = [500, 302]
    running.api.create_pipeline(f"notify: [{{webhook: '{receiver.url}'}}]\nsteps: []")
    running.api.create_build()
    until(lambda: len(receiver.requests) == 2, "requests for both events")
    until(lambda: all(row["status"].startswith("OSError") for row in notifications(running)), "the failures")
    assert {row["attempts"] for row in notifications(running)} == {1}
    clock.seconds += 11
    until(lambda: {row["status"] for row in notifications(running)} == {"sent (204)"}, "the second attempts")
    assert len(receiver.requests) == 4
    identifiers = [headers["webhook-id"] for headers, _ in receiver.requests]
    assert sorted(identifiers[:2]) == sorted(identifiers[2:]), "a repetition can be told by its id"


def test_what_never_arrives_is_given_up(running: RunningServer, clock: HandClock) -> None:
    with receiving() as gone:
        url = gone.url
    running.api.create_pipeline(f"notify: [{{webhook: '{url}'}}]\nsteps: []")
    running.api.create_build()
    for attempt in range(1, 8):

        def is_over(attempt: int = attempt) -> bool:
            rows = notifications(running)
            return all(row["attempts"] == attempt and row["status"] != "waiting" for row in rows)

        until(is_over, "an attempt")
        clock.seconds += 30_000
    until(lambda: all(row["next_attempt_at"] is None for row in notifications(running)), "the end of it")


def test_nothing_is_sent_into_the_servers_own_network(tmp_path: Path, receiver: Receiver) -> None:
    with running_server(tmp_path / "data", replace(SETTINGS, notify_networks=())) as running:
        running.api.create_pipeline(f"notify: [{{webhook: '{receiver.url}'}}]\nsteps: []")
        running.api.create_build()
        until(lambda: all(row["next_attempt_at"] is None for row in notifications(running)), "the refusal")
        assert all("127.0.0.1, which is not in the open network" in row["status"] for row in notifications(running))
    assert receiver.requests == []


def test_what_was_noted_is_sent_by_the_next_server(tmp_path: Path) -> None:
    clock = HandClock()
    with receiving() as receiver:
        receiver.statuses = [503, 503]
        with running_server(tmp_path / "data", SETTINGS, clock=clock) as running:
            running.api.create_pipeline(f"notify: [{{webhook: '{receiver.url}'}}]\nsteps: []")
            running.api.create_build()
            until(lambda: len(receiver.requests) == 2, "first attempts")
        clock.seconds += 60
        with running_server(tmp_path / "data", SETTINGS, clock=clock) as running:
            until(lambda: {row["status"] for row in notifications(running)} == {"sent (204)"}, "second attempts")

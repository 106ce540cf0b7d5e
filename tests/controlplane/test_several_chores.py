"""What servers do by themselves, with two of them on one database and one killed in the middle: each thing once."""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.controlplane.postgres_server import fresh_database
from tests.controlplane.running import QUICK, Api, FakeAgent, ServerProcess, find_job, running_server, until
from tests.controlplane.test_notify import Receiver, receiving

ROUNDS = 8


@pytest.fixture
def url() -> Iterator[str]:
    with fresh_database() as fresh:
        yield fresh


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


def pair_of_servers(stack: ExitStack, folder: Path, url: str) -> tuple[list[ServerProcess], list[Api]]:
    """Two server processes on one database, with one key for what is sealed in it."""
    options = ["--database-url", url, "--object-store", str(folder / "objects"), "--notify-http"]
    options += ["--notify-network", "127.0.0.0/8"]
    servers = [ServerProcess(folder / name, *options, tokens=folder / "a") for name in ("a", "b")]
    for server in servers:
        stack.callback(server.kill_if_running)
    first = servers[0].start()
    assert first.rest("GET", "/notification-secret").status == 200  # makes the key
    (folder / "b").mkdir(mode=0o700)
    shutil.copy2(folder / "a" / "secrets-key", folder / "b" / "secrets-key")
    return servers, [first, servers[1].start()]


def make_due(url: str, table: str, where: str) -> None:
    """Let the time of waiting rows come now."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"UPDATE {table} SET next_at = %s WHERE {where}".encode(), (time.time_ns() // 1000,))


def is_due(url: str, table: str) -> bool:
    """Whether there are rows whose time has come."""
    with psycopg.connect(url, autocommit=True) as connection:
        text = f"SELECT 1 FROM {table} WHERE next_at <= %s"
        return connection.execute(text.encode(), (time.time_ns() // 1000,)).fetchone() is not None


@pytest.mark.parametrize("seed", [0, 1])
def test_triggers_schedules_and_webhooks_do_what_is_due_once(
    tmp_path: Path, url: str, receiver: Receiver, seed: int
) -> None:
    with ExitStack() as stack:
        servers, apis = pair_of_servers(stack, tmp_path, url)
        alive = list(apis)
        apis[0].create_pipeline("steps: [wait]", slug="child")
        apis[0].create_pipeline("steps: [wait]", slug="nightly")
        steps = {"notify": [{"webhook": receiver.url}], "steps": [{"trigger": "child", "key": "t"}]}
        apis[0].create_pipeline(json.dumps(steps), slug="parent")
        fields = {"cronline": "@yearly", "label": "turn"}
        assert apis[1].rest("POST", "/pipelines/nightly/schedules", fields).status == 201
        for number in range(ROUNDS):
            if number == ROUNDS // 2:
                apis[0].wait_build("passed", number=number, slug="parent")
                until(lambda: count_unsent(url) == 0, "the webhooks to be sent")
                once = Counter(headers["webhook-id"] for headers, _ in receiver.requests)
                assert set(once.values()) == {1}  # while nobody dies, nothing is sent twice
            make_due(url, "schedules", "enabled = 1")
            alive[number % len(alive)].create_build("parent")
            if number == ROUNDS // 2:
                time.sleep(0.05 * seed)
                servers[1].kill()
                alive.pop()
            until(lambda: not is_due(url, "schedules"), "the schedule's turn to be taken")
        api = alive[0]
        for number in range(1, ROUNDS + 1):
            api.wait_build("passed", number=number, slug="parent")
        # What the killed server had begun to send is sent again once its time has come.
        make_due(url, "notifications", "next_at IS NOT NULL")
        until(lambda: count_unsent(url) == 0, "the webhooks to be sent")
        parents = [api.build(number, "parent") for number in range(1, ROUNDS + 1)]
        triggered = [find_job(parent, "t")["triggered_build"]["id"] for parent in parents]
        children = builds_of(api, "child")
        assert Counter(triggered) == Counter(child["id"] for child in children)
        assert len(builds_of(api, "nightly")) == ROUNDS
    told: dict[tuple[str, str], set[str]] = {}
    for headers, body in receiver.requests:
        event = json.loads(body)
        told.setdefault((event["build"]["id"], event["event"]), set()).add(headers["webhook-id"])
    assert {key: len(ids) for key, ids in told.items()} == dict.fromkeys(told, 1)
    finished = {build_id for build_id, event in told if event == "build.finished"}
    assert finished == {parent["id"] for parent in parents}


def count_unsent(url: str) -> int:
    """Webhooks that are still to be sent."""
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute("SELECT count(*) FROM notifications WHERE next_at IS NOT NULL").fetchone()
    assert row is not None
    return int(row[0])


def builds_of(api: Api, slug: str) -> list[dict[str, Any]]:
    """All builds of a pipeline."""
    builds: list[dict[str, Any]] = api.rest("GET", f"/pipelines/{slug}/builds?per_page=100").json
    return builds


def test_a_changed_priority_is_heard_by_the_other_server(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeseal.controlplane.services.peers._HEAL_SECONDS", 10_000.0)  # only what servers say helps
    settings = replace(QUICK, ping_hold=5.0, heartbeat_timeout=600.0)
    objects = str(tmp_path / "objects")
    with (
        running_server(tmp_path / "a", settings, database_url=url, object_store=objects) as a,
        running_server(tmp_path / "b", settings, database_url=url, object_store=objects, tokens=tmp_path / "a") as b,
    ):
        until(lambda: a.plane.peers.is_listening and b.plane.peers.is_listening, "the servers to hear each other")
        a.api.create_pipeline("steps: [{command: a, key: a}, {command: b, key: b}, {command: c, key: c}]")
        a.api.create_build()
        job = FakeAgent(a.api).take()
        until(lambda: b.plane.dispatcher.ready_count == 2, "the other jobs to be known everywhere")
        body = {"idempotency_uuid": "01a2138f-be0d-7ac0-991d-a0b2c3607f51", "attribute": "priority", "value": "5"}
        answer = a.api.agent_call("PUT", "/steps/c", job.token, {**body, "build_id": job.env["BUILDKITE_BUILD_ID"]})
        assert answer.status == 200, answer.json
        c = find_job(a.api.build(), "c")["id"]
        a.api.create_build()  # the news of it comes behind that of the priority
        until(lambda: b.plane.dispatcher.ready_count == 5, "the news")
        assert FakeAgent(b.api).take().id == c

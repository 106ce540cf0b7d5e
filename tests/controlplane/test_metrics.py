"""Measures for Prometheus: who may read them, that they count, and that they tell nothing that somebody chose."""

from __future__ import annotations

import asyncio
import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeseal.controlplane.services.metrics import CONTENT_TYPE, _family
from pipeseal.errors.codes import CODES
from tests.controlplane.running import QUICK, FakeAgent, RunningServer, running_server
from tests.loops import run_coroutine

STEPS = """
steps:
  - command: a-private-command
    label: private-label
    agents: {queue: "SLUG"}
"""
# The text format's own grammar, a sample a line.
LINE = re.compile(
    r'(?:# (?:HELP|TYPE) .+|[a-z_]+(?:\{[a-z]+="(?:[^"\\\n]|\\.)*"(?:,[a-z]+="(?:[^"\\\n]|\\.)*")*\})? [0-9.e+-]+)'
)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("data"), QUICK) as server:
        yield server


def read(running: RunningServer) -> dict[str, float]:
    running.plane.metrics._read_at = float("-inf")  # (a test does not wait for it to grow old)
    answer = running.api.call("GET", "/metrics", authorization=f"Bearer {running.api.api_token}")
    assert (answer.status, answer.headers["content-type"]) == (200, CONTENT_TYPE)
    lines = answer.body.decode().splitlines()
    assert [line for line in lines if not LINE.fullmatch(line)] == []
    samples = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {name.removeprefix("pipeseal_server_"): float(value) for name, _, value in samples}


def test_jobs_are_counted_from_waiting_to_their_end(running: RunningServer) -> None:
    running.api.create_pipeline(STEPS.replace("SLUG", "count"), "count")
    running.api.create_build("count")
    running.api.create_build("count")
    assert read(running)['jobs_waiting{queue="count"}'] == 2
    agent = FakeAgent(running.api, "queue=count")
    before = read(running)
    assert before['agents{state="ready"}'] == 1
    job = agent.take()
    during = read(running)
    assert (during['jobs{state="running"}'], during['jobs_waiting{queue="count"}']) == (1, 1)
    job.finish(0)
    agent.run(0)
    after = read(running)
    assert after['jobs_ended_total{state="passed"}'] == 2
    assert 'jobs_waiting{queue="count"}' not in after
    assert after['http_requests_total{method="POST",status="201"}'] >= 3
    assert after["http_request_seconds_total"] > 0
    agent.disconnect()


def test_refusals_are_counted_by_known_codes_alone(running: RunningServer) -> None:
    running.api.create_pipeline(STEPS.replace("SLUG", "refused"), "refused")
    agent = FakeAgent(running.api, "queue=refused")
    for code in (CODES[0].code, "made-up by an agent: private-text"):
        running.api.create_build("refused")
        agent.run(-1, signal_reason="signature_rejected", refusal={"code": code, "message": "private-message"})
    agent.disconnect()
    found = read(running)
    assert found[f'jobs_refused_total{{code="{CODES[0].code}"}}'] == 1
    assert found['jobs_refused_total{code="unknown"}'] == 1


def test_labels_tell_nothing_that_is_private(running: RunningServer) -> None:
    running.api.create_pipeline(STEPS.replace("SLUG", 'odd\\"q'), "private-slug")
    running.api.create_build("private-slug", branch="private-branch", message="private-message")
    read(running)
    text = run_coroutine(_text(running))
    assert "private" not in text
    assert 'queue="odd\\"q"' in text


async def _text(running: RunningServer) -> str:
    answer = await asyncio.to_thread(
        running.api.call, "GET", "/metrics", authorization=f"Bearer {running.api.api_token}"
    )
    return answer.body.decode()


def test_token_is_needed_unless_the_server_is_opened(running: RunningServer, tmp_path: Path) -> None:
    assert running.api.call("GET", "/metrics").json["code"] == "access.no_token"
    made = running.api.rest("POST", "/tokens", {"description": "narrow", "scopes": ["read_builds"]}).json["token"]
    assert running.api.call("GET", "/metrics", authorization=f"Bearer {made}").json["code"] == "access.scope"
    with running_server(tmp_path / "open", dataclasses.replace(QUICK, open_metrics=True)) as opened:
        assert opened.api.call("GET", "/metrics").status == 200


@given(st.text(max_size=60))
def test_any_label_stays_on_its_line(text: str) -> None:
    line = _family("x", "gauge", "X.", {(("queue", text),): 1}).split("\n")[2]
    assert LINE.fullmatch(line)

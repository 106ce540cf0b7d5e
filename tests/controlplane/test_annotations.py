"""Annotations over real HTTP, by hand and with the real commands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeseal.controlplane.domain.limits import Limits
from tests.controlplane.job_side import command, running_jobs
from tests.controlplane.running import QUICK, RunningServer, quoted, running_server

LIMIT = 1000
SETTINGS = replace(QUICK, limits=Limits(max_annotation_bytes=LIMIT, max_annotations_per_build=3))


@pytest.fixture
def running(tmp_path: Path) -> Iterator[RunningServer]:
    with running_server(tmp_path / "data", SETTINGS) as server:
        yield server


def shown(running: RunningServer) -> list[dict[str, Any]]:
    answer = running.api.rest("GET", "/pipelines/demo/builds/1/annotations")
    assert answer.status == 200, answer.json
    annotations: list[dict[str, Any]] = answer.json
    return annotations


def test_set_add_and_restyle(running: RunningServer) -> None:
    (job,) = running_jobs(running)
    assert job.call("POST", "/annotations", {"body": "one"}).status == 200
    (first,) = shown(running)
    assert (first["context"], first["style"], first["priority"], first["scope"]) == ("default", None, 3, "build")
    assert job.call("POST", "/annotations", {"body": " two", "append": True, "style": "info"}).status == 200
    assert job.call("POST", "/annotations", {"style": "error", "priority": 9}).status == 200
    (second,) = shown(running)
    assert (second["id"], second["body"], second["style"], second["priority"]) == (first["id"], "one two", "error", 9)
    assert job.call("POST", "/annotations", {"body": "anew"}).status == 200
    (third,) = shown(running)
    assert (third["body"], third["style"], third["priority"]) == ("anew", "error", 9)


def test_contexts_scopes_and_order(running: RunningServer) -> None:
    job, other = running_jobs(running, count=2)
    job.call("POST", "/annotations", {"body": "b", "context": "c"})
    job.call("POST", "/annotations", {"body": "j", "context": "c", "scope": "job", "priority": 10})
    other.call("POST", "/annotations", {"body": "o", "context": "c", "scope": "job", "priority": 1})
    assert [(one["body"], one["job_id"]) for one in shown(running)] == [("j", job.id), ("b", None), ("o", other.id)]
    answer = other.call("POST", "/annotations", {"body": "x", "context": "d"})
    assert (answer.status, answer.json["code"]) == (403, "annotation.limit")
    assert job.call("DELETE", "/annotations/c?scope=job").status == 200
    assert [one["body"] for one in shown(running)] == ["b", "o"]


@pytest.mark.parametrize("context", ["a/b.c", "ü %2F?", "x y", ".", "a/../b"])
def test_any_context_can_be_removed(running: RunningServer, context: str) -> None:
    (job,) = running_jobs(running)
    assert job.call("POST", "/annotations", {"body": "b", "context": context}).status == 200
    path = f"/annotations/{quoted(context).replace('.', '%2E')}"
    assert job.call("DELETE", path).status == 200
    assert shown(running) == []
    answer = job.call("DELETE", path)
    assert (answer.status, answer.json["code"]) == (404, "request.not_found")


def test_what_jobs_write_stays_text(running: RunningServer) -> None:
    (job,) = running_jobs(running)
    job.call("POST", "/annotations", {"body": "<script>alert(1)</script>"})
    assert shown(running)[0]["body_html"] == "<pre>&lt;script&gt;alert(1)&lt;/script&gt;</pre>"


REFUSED: list[tuple[dict[str, Any], int]] = [
    ({}, 422),
    ({"style": "info"}, 422),
    ({"body": "b", "style": "loud"}, 422),
    ({"body": "b", "priority": 0}, 422),
    ({"body": "b", "priority": 11}, 422),
    ({"body": "b", "priority": "3"}, 422),
    ({"body": "b", "scope": "world"}, 422),
    ({"body": "b", "context": "c" * 1001}, 422),
    ({"body": 1}, 422),
    ({"body": "é" * (LIMIT // 2 + 1)}, 413),
]


def test_what_is_refused(running: RunningServer) -> None:
    (job,) = running_jobs(running)
    for body, status in REFUSED:
        answer = job.call("POST", "/annotations", body)
        assert answer.status == status, answer.json
        assert shown(running) == []


def test_appending_ends_at_the_limit(running: RunningServer) -> None:
    (job,) = running_jobs(running)
    assert job.call("POST", "/annotations", {"body": "a" * LIMIT}).status == 200
    answer = job.call("POST", "/annotations", {"body": "b", "append": True})
    assert (answer.status, answer.json["code"]) == (413, "request.too_large")
    assert shown(running)[0]["body"] == "a" * LIMIT


def test_other_jobs_and_ended_jobs_cannot_annotate(running: RunningServer) -> None:
    job, other = running_jobs(running, count=2)
    answer = job.api.agent_call("POST", f"/jobs/{job.id}/annotations", other.token, {"body": "b"})
    assert answer.json["code"] == "access.other_job"
    answer = job.api.agent_call("DELETE", f"/jobs/{job.id}/annotations/c", other.token)
    assert answer.json["code"] == "access.other_job"
    job.finish()
    assert job.call("POST", "/annotations", {"body": "b"}).json["code"] == "state.not_running"
    assert shown(running) == []


def test_the_real_commands(running: RunningServer) -> None:
    (job,) = running_jobs(running)
    done = command(job, "annotate", "hello", "--style", "success", "--context", "a/b.c", "--priority", "7")
    assert done.status == 0, done.err
    assert command(job, "annotate", "--context", "a/b.c", "--append", stdin=b" there").status == 0
    (one,) = shown(running)
    assert (one["body"], one["style"]) == ("hello there", "success")
    assert command(job, "annotation", "remove", "--context", "a/b.c").status == 0
    assert shown(running) == []

"""Annotations over real HTTP, by hand and with the real commands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from pipeseal.controlplane.domain.limits import Limits
from pipeseal.controlplane.services.artifact_links import ANNOTATION, WHOLE, make_link
from tests.controlplane.job_side import command, running_jobs, upload
from tests.controlplane.running import QUICK, Answer, RunningServer, quoted, running_server

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


def test_markdown_is_drawn_and_markup_is_text(running: RunningServer) -> None:
    (job,) = running_jobs(running)
    artifact_id = upload(job, "out/report.txt", b"the report")
    job.call("POST", "/annotations", {"body": "**a** <script>b</script> [c](artifact://out/report.txt)"})
    (one,) = shown(running)
    build = f"{running.api.url}/v2/organizations/local/pipelines/demo/builds/1"
    link = f"{build}/jobs/{job.id}/artifacts/{artifact_id}/download"
    assert one["body_html"] == (
        f'<p><strong>a</strong> &lt;script&gt;b&lt;/script&gt; <a href="{link}" target="_blank" '
        'rel="nofollow noopener noreferrer">c</a></p>\n'
    )


def frame(running: RunningServer, query: str = "") -> Answer:
    (one,) = shown(running)
    return running.api.call("GET", urlsplit(one["frame"]["url"]).path + query)


def test_document_of_an_annotation_needs_its_address_alone(running: RunningServer) -> None:
    (job,) = running_jobs(running)
    job.call("POST", "/annotations", {"body": "**a**", "context": "x <y>"})
    answer = frame(running)
    assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert b"<title>Annotation x &lt;y&gt;</title>" in answer.body
    assert b"<strong>a</strong>" in answer.body
    assert answer.headers["cache-control"] == "no-store"
    policy = answer.headers["content-security-policy"].split("; ")
    assert policy[0] == "default-src 'none'"
    assert {"img-src 'none'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'self'"} <= set(policy)
    assert policy[-1] == "sandbox allow-popups allow-popups-to-escape-sandbox allow-downloads"
    (one,) = shown(running)
    for wrong in ("x", one["frame"]["url"].replace("/annotations/", "/files/")):
        path = urlsplit(wrong).path if "/" in wrong else urlsplit(one["frame"]["url"]).path + wrong
        assert running.api.call("GET", path).json["code"] == "access.link"
    over = make_link(running.plane, ANNOTATION, one["id"], WHOLE, seconds=-1)
    assert running.api.call("GET", over).json["code"] == "access.link"


def test_policy_of_a_document_lets_in_what_was_asked_for(running: RunningServer) -> None:
    (job,) = running_jobs(running)
    job.call("POST", "/annotations", {"body": "![a](https://img.example/x.png)"})
    assert "img-src 'none'" in frame(running).headers["content-security-policy"]
    assert b'<a href="?pictures=1&amp;theme=dark">Load them</a>' in frame(running, "?theme=dark").body
    asked = frame(running, "?pictures=1&theme=x")
    assert "img-src https://img.example;" in asked.headers["content-security-policy"]
    assert b'<html lang="en">' in asked.body


PNG = b"\x89PNG\r\n\x1a\n" + b"x" * 20


@pytest.mark.parametrize(
    ("data", "status"),
    [(PNG, 200), (b"GIF89a", 200), (b"<svg onload=alert(1)>", 404), (b"RIFF....WAVE", 404), (b"", 404)],
)
def test_pictures_are_what_their_bytes_say(running: RunningServer, data: bytes, status: int) -> None:
    (job,) = running_jobs(running)
    upload(job, "a.png", data, content_type="text/html")
    job.call("POST", "/annotations", {"body": "![a](artifact://a.png)"})
    document = frame(running)
    assert "img-src 'self';" in document.headers["content-security-policy"]
    found = re.search(rb'<img src="([^"]+)"', document.body)
    assert found is not None
    answer = running.api.call("GET", urlsplit(found[1].decode()).path)
    assert answer.status == status
    if status == 200:
        assert answer.body == data
        assert answer.headers["content-type"] in ("image/png", "image/gif")
        assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"


def test_who_wrote_last_is_told(running: RunningServer) -> None:
    job, other = running_jobs(running, count=2)
    job.call("POST", "/annotations", {"body": "a"})
    assert shown(running)[0]["writer_job_id"] == job.id
    other.call("POST", "/annotations", {"body": "b", "append": True})
    assert shown(running)[0]["writer_job_id"] == other.id
    running.api.rest("POST", "/pipelines/demo/builds/1/annotations", {"body": "c", "context": "default"})
    assert shown(running)[0]["writer_job_id"] is None


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

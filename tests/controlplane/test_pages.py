"""The web pages as they are sent: one shell, a strict policy, and files that browsers may keep."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeseal.controlplane.http.pages import load_assets
from tests.controlplane.running import RunningServer, running_server


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.mark.parametrize("path", ["/", "/welcome", "/local", "/gone/gone", "/local/app/builds/7/jobs/x/log"])
def test_every_page_is_the_same_shell_for_everybody(running: RunningServer, path: str) -> None:
    answer = running.api.call("GET", path)
    assert answer.status == 200
    assert answer.body == load_assets()["shell.html"].content
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == "'self'"
    assert policy["require-trusted-types-for"] == "'script'" and policy["trusted-types"] == "pipeseal-workers"
    again = running.api.call("GET", path, headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status, again.body) == (304, b"")


@pytest.mark.parametrize(
    ("accepted", "is_packed"),
    [
        ("gzip", True),
        ("br, GZIP;q=0.5", True),
        ("gzip;q=0", False),
        ("gzip; q=0.0", False),
        ("gzipped", False),
        ("br", False),
        ("", False),
    ],
)
def test_files_are_packed_for_whoever_unpacks_them(running: RunningServer, accepted: str, is_packed: bool) -> None:
    plain = load_assets()["main.js"]
    answer = running.api.call("GET", "/web/main.js", headers={"Accept-Encoding": accepted})
    assert (answer.status, answer.headers["vary"]) == (200, "Accept-Encoding")
    assert answer.headers.get("content-encoding") == ("gzip" if is_packed else None)
    assert (gzip.decompress(answer.body) if is_packed else answer.body) == plain.content
    assert (answer.headers["etag"] == plain.etag) is not is_packed
    headers = {"Accept-Encoding": accepted, "If-None-Match": answer.headers["etag"]}
    assert running.api.call("GET", "/web/main.js", headers=headers).status == 304


def test_search_engines_are_told_what_is_not_for_them(running: RunningServer) -> None:
    answer = running.api.call("GET", "/robots.txt")
    assert (answer.status, answer.headers["content-type"]) == (200, "text/plain; charset=utf-8")
    assert answer.body == b"User-agent: *\nDisallow: /v2/\nDisallow: /artifacts/\n"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_pages_are_there_for_browsers_alone(running: RunningServer, method: str) -> None:
    assert running.api.call(method, "/local/app").status == 404


@pytest.mark.parametrize("name", ["shell.html", "../app.py", "__init__.py", "gone.js", ""])
def test_nothing_else_is_served(running: RunningServer, name: str) -> None:
    assert running.api.call("GET", f"/web/{name}").status == 404


def test_files_name_only_files_that_there_are() -> None:
    assets = load_assets()
    for name, asset in assets.items():
        text = asset.content.decode()
        folder = Path(name).parent
        imported = re.findall(r"""(?:from|import\()\s*["'](\.[^"']+)["']""", text) if name.endswith(".js") else []
        for target in imported:
            parts: list[str] = []
            for part in (*folder.parts, *target.split("/")):
                parts = parts[:-1] if part == ".." else parts if part in (".", "") else [*parts, part]
            assert "/".join(parts) in assets, (name, target)
        for target in re.findall(r"/web/([\w./-]+\.(?:js|css|svg))", text):
            assert target in assets, (name, target)


def test_no_script_makes_markup_of_text() -> None:
    forbidden = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc")
    for name, asset in load_assets().items():
        assert not forbidden.search(asset.content.decode()), name

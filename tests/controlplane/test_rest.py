"""The REST API and its page in the reference; the command line's client against servers that make no sense."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import click
import pytest

from pipeseal.agentapi.routes import ROUTES
from pipeseal.cli.rest_client import RestClient, items, members, whole
from pipeseal.cli.server import server
from pipeseal.controlplane.domain.build import BuildState
from pipeseal.controlplane.domain.job import MOVES, JobState
from pipeseal.controlplane.http.agent_api import TOKEN_PATH
from pipeseal.controlplane.http.rest import ENDPOINTS
from pipeseal.controlplane.services.plane import Settings, open_plane
from pipeseal.errors import ConfigurationError, MalformedInput, PipesealError, Unavailable
from tests.controlplane.running import Api, FakeAgent, RunningServer, running_server

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "control-plane.md"


@pytest.fixture
def running(tmp_path: Path) -> Iterator[RunningServer]:
    with running_server(tmp_path / "data") as server:
        yield server


def test_the_reference_page_lists_every_endpoint_option_and_state() -> None:
    page = PAGE.read_text(encoding="utf-8")
    rows = set(re.findall(r"^\| (GET|PUT|POST|PATCH|DELETE) `(.*?)` \|", page, re.MULTILINE))
    served = {(route.method, route.path) for route in ROUTES} | {("GET", TOKEN_PATH)}
    served |= {(method, path.replace(":whole", "")) for method, path, _ in ENDPOINTS}
    assert rows == served
    options = {option.opts[0] for option in server.params if isinstance(option, click.Option)}
    assert set(re.findall(r"^\| `(--[a-z-]+)` \|", page, re.MULTILINE)) == options
    for state in (*JobState, *BuildState):
        assert f"`{state}`" in page
    for match in re.finditer(r"^\| `([a-z_]+)` \| [^|]* \| ([^|]*) \|$", page, re.MULTILINE):
        if match[1] in set(JobState):
            assert set(re.findall(r"`([a-z_]+)`", match[2])) == set(MOVES[JobState(match[1])]), match[1]


def test_defaults_of_the_command_are_those_of_the_server() -> None:
    defaults = {option.name: option.default for option in server.params}
    settings = Settings()
    for name in ("ping_hold", "ping_interval", "job_status_interval", "heartbeat_timeout"):
        assert defaults[name] == getattr(settings, name)
    for name in ("cancel_timeout", "sweep_interval", "organization"):
        assert defaults[name] == getattr(settings, name)
    assert defaults["accept_timeout"] == settings.offer_timeout
    for name in (
        "max_jobs_per_upload",
        "max_jobs_per_build",
        "max_jobs_per_matrix",
        "max_upload_bytes",
        "max_log_bytes",
    ):
        assert defaults[name] == getattr(settings.limits, name)


@pytest.mark.parametrize(("method", "path"), [(method, path) for method, path, _ in ENDPOINTS])
def test_nothing_is_shown_without_the_api_token(running: RunningServer, method: str, path: str) -> None:
    names = {"{slug}": "demo", "{number:whole}": "1", "{job_id}": "j", "{agent_id}": "a"}
    for name, value in names.items():
        path = path.replace(name, value)
    running.api.create_pipeline("steps: [{command: x}]")
    running.api.create_build()
    url = f"/v2/organizations/local{path}"
    assert running.api.call(method, url).json["code"] == "access.no_token"
    for token in ("wrong", running.api.registration_token, FakeAgent(running.api).token):
        answer = running.api.call(method, url, authorization=f"Bearer {token}")
        assert (answer.status, answer.json["code"]) == (401, "access.unknown_token")
    elsewhere = running.api.call(
        method, url.replace("local", "other"), authorization=f"Bearer {running.api.api_token}"
    )
    assert (elsewhere.status, elsewhere.json["code"]) == (404, "request.not_found")


def test_pipelines_are_made_changed_and_found(running: RunningServer) -> None:
    api: Api = running.api
    made = api.rest("POST", "/pipelines", {"name": "My Pipeline!", "repository": "https://git.example.test/a.git"})
    assert (made.status, made.json["slug"]) == (201, "my-pipeline")
    assert "pipeline upload" in made.json["configuration"]
    again = api.rest("POST", "/pipelines", {"name": "my pipeline", "repository": "r"})
    assert (again.status, again.json["code"]) == (422, "request.exists")
    unusable = api.rest("POST", "/pipelines", {"name": "x", "slug": "No Slug", "repository": "r"})
    assert (unusable.status, unusable.json["code"]) == (422, "request.slug")
    body = {"name": "Other", "default_branch": "trunk", "configuration": "steps: [{command: x}]"}
    changed = api.rest("PATCH", "/pipelines/my-pipeline", body)
    assert changed.status == 200
    assert {name: changed.json[name] for name in body} == body
    found = api.rest("GET", "/pipelines?repository=https%3A%2F%2Fgit.example.test%2Fa.git").json
    assert [pipeline["slug"] for pipeline in found] == ["my-pipeline"]
    assert api.rest("GET", "/pipelines?repository=other").json == []
    assert api.rest("GET", "").json["slug"] == "local"
    assert api.create_build("my-pipeline")["branch"] == "trunk"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/pipelines", {"name": "x"}),
        ("POST", "/pipelines", {"name": "x", "repository": ""}),
        ("POST", "/pipelines", {"name": "x", "repository": "a\nb"}),
        ("POST", "/pipelines", {"name": "x", "repository": "r", "steps": []}),
        ("PATCH", "/pipelines/demo", {"repository": ""}),
        ("PATCH", "/pipelines/demo", {"name": 5}),
        ("POST", "/pipelines/demo/builds", {"commit": "--upload-pack=x"}),
        ("POST", "/pipelines/demo/builds", {"env": {"A B": "x"}}),
        ("POST", "/pipelines/demo/builds", {"env": {"A": 5}}),
        ("POST", "/pipelines/demo/builds", {"pull_request_id": "refs/x"}),
        ("POST", "/pipelines/demo/builds", {"branch": "a\x00b"}),
        ("GET", "/pipelines?page=x", None),
        ("GET", "/pipelines/demo/builds/1?wait=999", None),
    ],
)
def test_requests_that_make_no_sense_are_refused(running: RunningServer, method: str, path: str, body: Any) -> None:
    running.api.create_pipeline("steps: [{command: x}]")
    running.api.create_build()
    answer = running.api.rest(method, path, body)
    assert (answer.status, answer.json["code"]) == (422, "request.malformed")


@pytest.mark.parametrize(
    "path",
    [
        "/pipelines/none",
        "/pipelines/none/builds",
        "/pipelines/demo/builds/9",
        "/pipelines/demo/builds/x",
        "/pipelines/demo/builds/1/jobs/none",
        "/pipelines/demo/builds/1/jobs/none/log",
        "/agents/none",
        "/nothing",
    ],
)
def test_what_is_not_there_is_404(running: RunningServer, path: str) -> None:
    running.api.create_pipeline("steps: [{command: x}]")
    running.api.create_build()
    answer = running.api.rest("GET", path)
    assert (answer.status, answer.json["code"]) == (404, "request.not_found")


def test_builds_are_listed_in_pages(running: RunningServer) -> None:
    running.api.create_pipeline("steps: [{command: x}]")
    for number in range(5):
        running.api.create_build(branch="odd" if number % 2 else "even")
    path = "/pipelines/demo/builds"
    assert [build["number"] for build in running.api.rest("GET", f"{path}?page=2&per_page=2").json] == [3, 2]
    assert [build["number"] for build in running.api.rest("GET", f"{path}?branch=odd").json] == [4, 2]
    assert running.api.rest("GET", f"{path}?state=passed").json == []


def test_links_lead_through_the_pages(running: RunningServer) -> None:
    running.api.create_pipeline("steps: [{command: x}]")
    for _ in range(5):
        running.api.create_build()
    path = f"{running.api.url}/v2/organizations/local/pipelines/demo/builds"
    url = {number: f"{path}?page={number}&per_page=2&state=scheduled" for number in (1, 2, 3)}
    first = running.api.rest("GET", "/pipelines/demo/builds?per_page=2&page=0&state=scheduled")
    assert first.headers["link"] == f'<{url[2]}>; rel="next", <{url[3]}>; rel="last"'
    seen = [build["number"] for build in first.json]
    answer = first
    while found := re.search(r'<[^>]*(/v2/[^>]*)>; rel="next"', answer.headers.get("link", "")):
        answer = running.api.call("GET", found[1], authorization=f"Bearer {running.api.api_token}")
        seen += [build["number"] for build in answer.json]
    assert seen == [5, 4, 3, 2, 1]
    assert answer.headers["link"] == f'<{url[1]}>; rel="first", <{url[2]}>; rel="prev"'
    beyond = running.api.rest("GET", "/pipelines/demo/builds?page=99")
    assert (beyond.status, beyond.json) == (200, [])


def test_builds_are_found_by_what_they_are(running: RunningServer) -> None:
    api = running.api
    for slug in ("one", "two"):
        api.create_pipeline("steps: [{command: x}, {command: y}]", slug)
    api.create_build("one", branch="main", commit="a" * 40, meta_data={"release": "1.0", "kind": "x"})
    api.create_build("one", branch="feature/é", author={"name": "Ada", "email": "ada@example.test"})
    api.create_build("two", branch="feature/y", meta_data={"release": "1.0"})
    api.rest("PUT", "/pipelines/one/builds/2/cancel")

    def found(query: str, path: str = "/builds") -> list[tuple[str, int]]:
        answer = api.rest("GET", f"{path}?{query}")
        assert answer.status == 200, answer.json
        return [(build["pipeline"]["slug"], build["number"]) for build in answer.json]

    everything = [("two", 1), ("one", 2), ("one", 1)]
    assert found("") == everything
    assert found("branch=feature/*") == everything[:2]
    assert found("branch=FEATURE/*") == []
    assert found("branch[]=main&branch[]=feature/y") == [("two", 1), ("one", 1)]
    assert found("branch=*", "/pipelines/one/builds") == everything[1:]
    assert found("state=finished") == [("one", 2)]
    assert found("state[]=scheduled&state[]=canceled") == everything
    assert found(f"commit={'a' * 40}") == [("one", 1)]
    assert found("creator=Ada") == [("one", 2)]
    assert found("meta_data[release]=1.0") == [("two", 1), ("one", 1)]
    assert found("meta_data[release]=1.0&meta_data[kind]=x") == [("one", 1)]
    assert found("meta_data[release]=2") == []
    assert found("created_from=2000-01-01") == everything
    assert found("created_to=2000-01-01T00:00:00Z") == []
    assert found("created_from=2000-01-01T00:00:00+01:00&finished_from=2000-01-01") == [("one", 2)]
    assert len(api.rest("GET", "/builds").json[0]["jobs"]) == 2
    assert "jobs" not in api.rest("GET", "/builds?exclude_jobs=true").json[0]
    outside = api.call("GET", "/v2/builds", authorization=f"Bearer {api.api_token}")
    assert [build["number"] for build in outside.json] == [1, 2, 1]
    for query in (
        "created_from=yesterday",
        "exclude_jobs=maybe",
        "created_to=99999-01-01",
        "&".join(["state=x"] * 101),
    ):
        assert api.rest("GET", f"/builds?{query}").status == 422, query


def test_retried_jobs_are_shown_when_they_are_asked_for(running: RunningServer) -> None:
    running.api.create_pipeline("steps: [{command: x}]")
    running.api.create_build()
    agent = FakeAgent(running.api)
    job = agent.run(1)
    again = running.api.rest("PUT", f"/pipelines/demo/builds/1/jobs/{job.id}/retry").json["id"]
    for path in ("/pipelines/demo/builds/1", "/pipelines/demo/builds"):
        for query, expected in (("", {again}), ("?include_retried_jobs=true", {job.id, again})):
            answer = running.api.rest("GET", path + query).json
            build = answer[0] if isinstance(answer, list) else answer
            assert {one["id"] for one in build["jobs"]} == expected


def test_the_variables_of_a_job_are_shown(running: RunningServer) -> None:
    running.api.create_pipeline(
        "steps: [{command: 'echo {{matrix}}', matrix: [a], env: {S: '{{matrix}}'}}, block: x]"
    )
    build = running.api.create_build(env={"B": "build"})
    path = f"/pipelines/demo/builds/1/jobs/{build['jobs'][0]['id']}/env"
    before = running.api.rest("GET", path).json["env"]
    assert (before["BUILDKITE_COMMAND"], before["S"], before["B"]) == ("echo a", "a", "build")
    assert before["BUILDKITE_AGENT_NAME"] == ""
    job = FakeAgent(running.api, "os=linux").take()
    assert running.api.rest("GET", path).json["env"] == job.env
    blocked = running.api.rest("GET", f"/pipelines/demo/builds/1/jobs/{build['jobs'][1]['id']}/env")
    assert blocked.status == 404


def test_what_clients_of_the_ecosystem_send_is_taken(running: RunningServer) -> None:
    """Slashes at the end of paths, nulls for what is not set, and page 0."""
    api = running.api
    body = {"name": "Client", "repository": "r", "configuration": "steps: [{command: x}]", "team_uuids": None}
    assert api.rest("POST", "/pipelines/", body).status == 201
    nulls = dict.fromkeys(("author", "env", "message", "meta_data", "pull_request_id", "clean_checkout"))
    made = api.rest("POST", "/pipelines/client/builds", {"commit": "HEAD", "branch": "main", **nulls})
    assert (made.status, made.json["branch"]) == (201, "main")
    assert api.rest("GET", "/pipelines/client/builds/1/annotations/").json == []
    assert api.rest("GET", "/pipelines/client/builds/1/artifacts/?page=0").json == []
    assert [
        one["slug"] for one in api.call("GET", "/v2/organizations/", authorization=f"Bearer {api.api_token}").json
    ]
    token = api.call("GET", "/v2/access-token", authorization=f"Bearer {api.api_token}").json
    assert "read_builds" in token["scopes"]
    assert api.api_token not in str(token)
    unknown = api.call("GET", "/v2/access-token", authorization="Bearer nobody")
    assert unknown.status == 401


def test_another_method_is_told_all_that_there_are(running: RunningServer) -> None:
    answer = running.api.rest("DELETE", "/pipelines/demo/schedules/x/y")
    assert answer.status == 404
    answer = running.api.rest("POST", "/pipelines/demo/schedules/x")
    assert (answer.status, answer.headers["allow"]) == (405, "DELETE, GET, HEAD, PATCH")


def test_a_build_can_be_waited_for(running: RunningServer) -> None:
    running.api.create_pipeline("steps: [{command: x}]")
    running.api.create_build()
    path = "/pipelines/demo/builds/1"
    first = running.api.rest("GET", path)
    tag = first.headers["etag"]
    assert running.api.rest("GET", f"{path}?wait=0", headers={"If-None-Match": tag}).status == 304
    found: list[Any] = []
    waiter = threading.Thread(
        target=lambda: found.append(running.api.rest("GET", f"{path}?wait=20", headers={"If-None-Match": tag}))
    )
    waiter.start()
    FakeAgent(running.api).take()
    waiter.join(60)
    assert found[0].json["state"] == "running"
    assert found[0].headers["etag"] != tag


def test_health_needs_no_token(running: RunningServer) -> None:
    answer = running.api.call("GET", "/healthz")
    assert (answer.status, answer.json["status"]) == (200, "ok")


class _Nonsense(BaseHTTPRequestHandler):
    """Answers every GET with what `answer` says."""

    answer: ClassVar[tuple[int, bytes]] = (200, b"")

    def do_GET(self) -> None:
        status, body = self.answer
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Location", "http://127.0.0.1:1/elsewhere")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_words: Any) -> None:
        pass


@contextmanager
def nonsense(status: int, body: bytes) -> Iterator[RestClient]:
    handler = type("Handler", (_Nonsense,), {"answer": (status, body)})
    server = HTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.01))
    thread.start()
    client = RestClient(f"http://127.0.0.1:{server.server_port}", "token")
    try:
        yield client
    finally:
        client.close()
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff", b"[" * 100_000, b'{"a":'])
def test_an_answer_that_is_no_json_is_said_so(body: bytes) -> None:
    with nonsense(200, body) as client, pytest.raises(MalformedInput) as error:
        client.get("pipelines")
    assert error.value.code == "client.answer"


@pytest.mark.parametrize("status", [301, 302, 307, 400, 401, 404, 500, 503])
@pytest.mark.parametrize(
    "body", [b"", b"x", b"[]", b'{"message":5}', json.dumps({"message": "m", "code": "c"}).encode()]
)
def test_whatever_a_server_refuses_with_is_one_kind_of_error(status: int, body: bytes) -> None:
    with nonsense(status, body) as client, pytest.raises(Unavailable) as error:
        client.get("pipelines")
    assert (error.value.code, error.value.status) == ("client.refused", status)


@pytest.mark.parametrize(
    ("check", "value"), [(members, []), (members, None), (items, {}), (items, [1]), (whole, "1"), (whole, True)]
)
def test_wrong_types_in_an_answer_are_said_so(check: Any, value: Any) -> None:
    with pytest.raises(PipesealError) as error:
        check(value)
    assert error.value.code == "client.answer"


def test_tokens_may_be_given_to_a_new_server(tmp_path: Path) -> None:
    """So that they can be decided before there is a server, and one more can have a folder that is not kept."""
    folder = tmp_path / "data"
    folder.mkdir()
    given = {"agent-token": "a" * 64, "api-token": "psua_" + "b" * 43}
    for name, token in given.items():
        (folder / name).write_text(token + "\n")
    with running_server(folder) as server:
        assert (server.api.registration_token, server.api.api_token) == tuple(given.values())
        FakeAgent(server.api)
        assert server.api.rest("GET", "").status == 200
    # From then on the database alone says which tokens there are.
    (folder / "api-token").write_text("c" * 64)
    with running_server(folder) as server:
        assert server.api.rest("GET", "").status == 401


@pytest.mark.parametrize("content", [b"", b"changeme", b"a b" * 20, b"\xff" * 64, b"x" * 501])
def test_a_given_token_that_could_be_guessed_is_refused(tmp_path: Path, content: bytes) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "agent-token").write_bytes(content)
    with pytest.raises(ConfigurationError) as error:
        open_plane(folder, Settings())
    assert error.value.code == "server.data"
    assert "agent-token" in error.value.message
    (folder / "agent-token").unlink()
    open_plane(folder, Settings()).close()

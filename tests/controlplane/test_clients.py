"""A client of the ecosystem, `pybuildkite`, against the REST API: each of its calls works, or is refused cleanly."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from pybuildkite.buildkite import Buildkite
from pybuildkite.builds import BuildState
from pybuildkite.jobs import LogFormat

from tests.controlplane.job_side import upload
from tests.controlplane.running import QUICK, FakeAgent, FakeJob, RunningServer, running_server

ORGANIZATION = "local"
STEPS = """
steps:
  - command: make
    key: make
    agents: {queue: SLUG}
  - block: Go on?
    key: gate
"""


class Client:
    """The client at our address; it knows its own only as a constant of each object it makes."""

    def __init__(self, url: str, token: str) -> None:
        self.whole = Buildkite()
        self.whole.base_url = f"{url}/v2/"
        self.whole.set_access_token(token)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.whole, name)()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("data"), QUICK) as server:
        yield server


@pytest.fixture(scope="module")
def client(running: RunningServer) -> Client:
    return Client(running.api.url, running.api.api_token)


@pytest.fixture(scope="module")
def played(running: RunningServer) -> FakeJob:
    """Build 1 of `demo`: a job that ran, and a block behind it."""
    running.api.create_pipeline(STEPS.replace("SLUG", "demo"))
    running.api.create_build(branch="main", message="first", meta_data={"release": "one"})
    agent = FakeAgent(running.api, "queue=demo")
    job = agent.take()
    job.chunk(1, 0, b"a <b> & c\n")
    upload(job, "out/report.txt", b"the report")
    job.call("POST", "/annotations", {"body": "note", "context": "c"})
    job.finish(1)
    agent.disconnect()
    return job


def refusal(call: Callable[[], Any]) -> tuple[int, str]:
    with pytest.raises(requests.HTTPError) as caught:
        call()
    answer = caught.value.response
    assert answer is not None
    assert answer.headers["content-type"] == "application/json"
    return answer.status_code, answer.json()["code"]


def test_organizations_and_pipelines(client: Client, played: FakeJob) -> None:
    assert [one["slug"] for one in client.organizations.list_all()] == [ORGANIZATION]
    assert client.organizations.get_org(ORGANIZATION)["slug"] == ORGANIZATION
    assert "demo" in [one["slug"] for one in client.pipelines.list_pipelines(ORGANIZATION)]
    assert client.pipelines.get_pipeline(ORGANIZATION, "demo")["repository"] == "https://git.example.test/r.git"
    made = client.pipelines.create_yaml_pipeline(ORGANIZATION, "Other one", "https://git.example.test/o.git", STEPS)
    changed = client.pipelines.update_pipeline(
        ORGANIZATION, made["slug"], description="new", default_branch="trunk", skip_queued_branch_builds=True
    )
    assert (changed["description"], changed["default_branch"]) == ("new", "trunk")
    assert changed["skip_queued_branch_builds"]


def test_pages_are_followed_to_the_last(client: Client, running: RunningServer) -> None:
    running.api.create_pipeline(STEPS, "many")
    for number in range(5):
        running.api.create_build("many", message=str(number))
    narrow = Client(running.api.url, running.api.api_token)
    narrow.whole.client.per_page = 2
    seen, page = [], 1
    while page:
        answer = narrow.builds.list_all_for_pipeline(ORGANIZATION, "many", page=page, with_pagination=True)
        seen += [build["number"] for build in answer.body]
        page = answer.next_page
    assert seen == [5, 4, 3, 2, 1]


def test_builds_are_found(client: Client, played: FakeJob) -> None:
    since = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1)
    for call, where in (
        (client.builds.list_all, ()),
        (client.builds.list_all_for_org, (ORGANIZATION,)),
        (client.builds.list_all_for_pipeline, (ORGANIZATION, "demo")),
    ):
        found = call(
            *where,
            created_from=since,
            states=[BuildState.FAILED, BuildState.FAILING, BuildState.BLOCKED],
            branch=["main", "none"],
            meta_data={"release": "one"},
            include_retried_jobs=True,
        )
        assert [build["message"] for build in found] == ["first"], call.__name__
        assert call(*where, created_to=since) == []
        assert call(*where, branch="main", states=[BuildState.CANCELED], meta_data={"release": "one"}) == []
    build = client.builds.get_build_by_number(ORGANIZATION, "demo", 1, include_retried_jobs=True)
    assert played.id in [job["id"] for job in build["jobs"]]


def test_builds_are_made_cancelled_and_made_again(client: Client, played: FakeJob) -> None:
    made = client.builds.create_build(
        ORGANIZATION, "demo", "a" * 40, "release", author={"name": "Lee", "email": "lee@example.org"},
        clean_checkout=True, env={"A": "1"}, message="by the client", meta_data={"k": "v"}, pull_request_id=7,
    )  # fmt: skip
    assert (made["branch"], made["message"], made["env"]["A"], made["meta_data"]) == (
        "release", "by the client", "1", {"k": "v"},
    )  # fmt: skip
    assert client.builds.cancel_build(ORGANIZATION, "demo", made["number"])["state"] in ("canceling", "canceled")
    again = client.builds.rebuild_build(ORGANIZATION, "demo", made["number"])
    assert (again["commit"], again["number"]) == ("a" * 40, made["number"] + 1)
    client.builds.cancel_build(ORGANIZATION, "demo", again["number"])


def test_logs_in_each_format(client: Client, played: FakeJob) -> None:
    where = (ORGANIZATION, "demo", 1, played.id)
    assert client.jobs.get_job_log(*where, LogFormat.JSON)["content"] == "a <b> & c\n"
    assert client.jobs.get_job_log(*where, LogFormat.TEXT) == b"a <b> & c\n"
    page = client.jobs.get_job_log(*where, LogFormat.HTML)
    assert b"<pre>a &lt;b&gt; &amp; c\n</pre>" in page


def test_environment_retry_and_unblock(client: Client, running: RunningServer) -> None:
    running.api.create_pipeline(STEPS.replace("SLUG", "again"), "again")
    running.api.create_build("again", env={"LEVEL": "2"})
    agent = FakeAgent(running.api, "queue=again")
    job = agent.run(1)
    where = (ORGANIZATION, "again", 1)
    assert client.jobs.get_job_environment_variables(*where, job.id)["env"]["LEVEL"] == "2"
    retried = client.jobs.retry_job(*where, job.id)
    assert retried["id"] != job.id
    agent.run(0)
    agent.disconnect()
    gate = next(one for one in running.api.build(1, "again")["jobs"] if one["type"] == "manual")
    let_go = client.jobs.unblock_job(*where, gate["id"], {}, "Maria")
    assert let_go["unblocked_by"]["name"] == "Maria"


def test_a_log_is_deleted(client: Client, running: RunningServer) -> None:
    running.api.create_pipeline(STEPS.replace("SLUG", "cleared"), "cleared")
    running.api.create_build("cleared")
    agent = FakeAgent(running.api, "queue=cleared")
    job = agent.take()
    job.chunk(1, 0, b"secret\n")
    where = (ORGANIZATION, "cleared", 1, job.id)
    assert refusal(lambda: client.jobs.delete_job_log(*where)) == (409, "state.unfinished")
    job.finish(0)
    agent.disconnect()
    client.jobs.delete_job_log(*where)
    assert client.jobs.get_job_log(*where, LogFormat.TEXT) == b""


def test_artifacts(client: Client, played: FakeJob) -> None:
    where = (ORGANIZATION, "demo", 1)
    (one,) = client.artifacts.list_artifacts_for_build(*where)
    assert client.artifacts.list_artifacts_for_job(*where, played.id) == [one]
    assert client.artifacts.get_artifact(*where, played.id, one["id"]) == one
    assert client.artifacts.download_artifact(*where, played.id, one["id"]) == b"the report"
    pieces = client.artifacts.download_artifact(*where, played.id, one["id"], as_stream=True)
    assert b"".join(pieces) == b"the report"


def test_annotations(client: Client, played: FakeJob) -> None:
    assert [one["context"] for one in client.annotations.list_annotations(ORGANIZATION, "demo", 1)] == ["c"]


def test_agents_are_found_and_stopped_with_and_without_force(client: Client, running: RunningServer) -> None:
    running.api.create_pipeline("steps:\n  - command: x\n    agents: {queue: hold}\n", "hold")
    running.api.create_build("hold")
    busy, idle = FakeAgent(running.api, "queue=hold", name="busy"), FakeAgent(running.api, "queue=no", name="idle")
    job = busy.take()
    assert [one["id"] for one in client.agents.list_all(ORGANIZATION, name="busy")] == [busy.id]
    assert client.agents.list_all(ORGANIZATION, name="idle", hostname="elsewhere") == []
    assert client.agents.list_all(ORGANIZATION, hostname="host", version="3.137.0", name="idle")[0]["id"] == idle.id
    assert client.agents.get_agent(ORGANIZATION, idle.id)["name"] == "idle"
    assert client.agents.stop_agent(ORGANIZATION, busy.id, force=False)
    assert job.call("GET", "").json["state"] == "running"
    assert client.agents.stop_agent(ORGANIZATION, busy.id)
    assert job.call("GET", "").json["state"] == "canceling"
    assert client.agents.stop_agent(ORGANIZATION, idle.id)
    assert idle.ping()["action"] == "disconnect"
    job.finish(1)
    busy.disconnect()
    idle.disconnect()


def test_token_and_its_end(client: Client, running: RunningServer) -> None:
    assert "read_builds" in client.access_tokens.get_token()["scopes"]
    made = running.api.rest("POST", "/tokens", {"description": "short", "scopes": ["read_builds"]}).json["token"]
    short = Client(running.api.url, made)
    assert refusal(lambda: short.agents.list_all(ORGANIZATION)) == (403, "access.scope")
    assert refusal(short.users.get_current_user) == (404, "request.not_found")
    assert short.access_tokens.revoke_token()
    assert refusal(short.access_tokens.get_token) == (401, "access.unknown_token")


def test_what_is_not_there_is_refused_cleanly(client: Client, played: FakeJob) -> None:
    for call in (
        lambda: client.teams.list_teams(ORGANIZATION),
        lambda: client.emojis.list_emojis(ORGANIZATION),
        client.meta.get_meta_information,
        lambda: client.pipelines.archive_pipeline(ORGANIZATION, "demo"),
        lambda: client.pipelines.unarchive_pipeline(ORGANIZATION, "demo"),
        lambda: client.pipelines.get_pipeline(ORGANIZATION, "none"),
        lambda: client.builds.get_build_by_number(ORGANIZATION, "demo", 999),
        lambda: client.organizations.get_org("elsewhere"),
    ):
        assert refusal(call) == (404, "request.not_found")
    deletion = refusal(lambda: client.pipelines.delete_pipeline(ORGANIZATION, "demo"))
    assert deletion == (405, "request.method")
    steps = refusal(lambda: client.pipelines.create_pipeline(ORGANIZATION, "x", "https://git.example.test/x.git"))
    assert steps == (422, "request.malformed")


# --- what the client has no calls for -----------------------------------------------------------------------------


def test_annotations_are_written_and_removed_over_the_api(running: RunningServer, played: FakeJob) -> None:
    api, where = running.api, "/pipelines/demo/builds/1/annotations"
    made = api.rest("POST", where, {"body": "one", "context": "api", "style": "warning", "priority": 9})
    assert (made.status, made.json["scope"], made.json["style"]) == (201, "build", "warning")
    more = api.rest("POST", where, {"body": " two", "context": "api", "append": True}).json
    assert (more["id"], more["body"]) == (made.json["id"], "one two")
    assert api.rest("POST", where, {"body": "x", "style": "loud"}).json["code"] == "request.malformed"
    assert api.rest("POST", "/pipelines/demo/builds/99/annotations", {"body": "x"}).status == 404
    assert api.rest("DELETE", f"{where}/{more['id']}").status == 204
    assert api.rest("DELETE", f"{where}/{more['id']}").status == 404
    assert [one["context"] for one in api.rest("GET", where).json] == ["c"]


def test_annotation_of_another_build_is_not_removed(running: RunningServer, played: FakeJob) -> None:
    api = running.api
    number = api.create_build()["number"]
    (one,) = api.rest("GET", "/pipelines/demo/builds/1/annotations").json
    assert api.rest("DELETE", f"/pipelines/demo/builds/{number}/annotations/{one['id']}").status == 404
    assert api.rest("GET", "/pipelines/demo/builds/1/annotations").json == [one]


def test_meta_data_is_read_and_set_over_the_api(running: RunningServer, played: FakeJob) -> None:
    api, where = running.api, "/pipelines/demo/builds/1/meta-data"
    assert api.rest("GET", where).json == {"release": "one"}
    assert api.rest("PATCH", where, {"extra": "2"}).json == {"extra": "2", "release": "one"}
    assert api.rest("PATCH", where, {"": "2"}).json["code"] == "request.malformed"


def test_log_is_asked_for_again_only_when_it_grew(running: RunningServer, played: FakeJob) -> None:
    path = f"/pipelines/demo/builds/1/jobs/{played.id}/log.txt"
    whole = running.api.rest("GET", path)
    tag = whole.headers["etag"]
    head = running.api.rest("HEAD", path)
    assert (head.status, head.body, head.headers["content-length"], head.headers["etag"]) == (200, b"", "10", tag)
    assert running.api.rest("GET", path, headers={"If-None-Match": f'"x", W/{tag}'}).status == 304
    part = running.api.rest("GET", path, headers={"Range": "bytes=2-", "If-Range": tag})
    assert (part.status, part.body) == (206, whole.body[2:])
    other = running.api.rest("GET", path, headers={"Range": "bytes=2-", "If-Range": '"other"'})
    assert (other.status, other.body) == (200, whole.body)

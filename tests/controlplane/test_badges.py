"""Badges and the feed for build monitors: what strangers see of public pipelines, and nothing of others."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import URL

from pipeseal.controlplane.http.badges import Badge, _draw, _shown
from tests.controlplane.running import QUICK, Answer, FakeAgent, RunningServer, running_server

STEPS = """
steps:
  - command: make
    key: make
    label: Make <it>
    agents: {queue: SLUG}
"""
SIGNED = (
    STEPS
    + """    signature: {algorithm: EdDSA, signed_fields: [command], value: a..b}
  - command: other
    agents: {queue: SLUG}
"""
)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("data"), QUICK) as server:
        assert server.api.rest("PATCH", "", {"public_pipelines": True}).status == 200
        yield server


def pipeline(running: RunningServer, slug: str, steps: str = STEPS, *, public: bool = True) -> str:
    running.api.create_pipeline(steps.replace("SLUG", slug), slug)
    if public:
        running.api.rest("PATCH", f"/pipelines/{slug}", {"visibility": "public"})
    return str(running.api.rest("GET", f"/pipelines/{slug}").json["id"])


def build(running: RunningServer, slug: str, exit_status: int | None = None, **body: str) -> int:
    made = running.api.create_build(slug, **body)
    if exit_status is not None:
        agent = FakeAgent(running.api, f"queue={slug}")
        agent.run(exit_status)
        agent.disconnect()
    number: int = made["number"]
    return number


def badge(running: RunningServer, pipeline_id: str, query: str = "", kind: str = "json", **headers: str) -> Answer:
    return running.api.call("GET", f"/badge/{pipeline_id}.{kind}{query}", headers=headers)


def word(running: RunningServer, pipeline_id: str, query: str = "") -> str:
    return str(badge(running, pipeline_id, query).json["message"])


def test_word_is_that_of_the_last_build_that_came_to_something(running: RunningServer) -> None:
    demo = pipeline(running, "demo")
    assert word(running, demo) == "unknown"
    number = build(running, "demo")
    assert word(running, demo) == "running"
    running.api.rest("PUT", f"/pipelines/demo/builds/{number}/cancel")
    assert word(running, demo) == "unknown"
    build(running, "demo", 0)
    assert word(running, demo) == "passing"
    build(running, "demo")
    assert badge(running, demo).json == {"label": "build", "message": "passing", "running": True}
    running.api.rest("PUT", "/pipelines/demo/builds/3/cancel")
    build(running, "demo", 1)
    assert word(running, demo) == "failing"


def test_branch_and_step_are_chosen(running: RunningServer) -> None:
    two = pipeline(running, "two")
    build(running, "two", 0)
    build(running, "two", 1, branch="other")
    assert word(running, two) == "passing"
    assert word(running, two, "?branch=other") == "failing"
    assert word(running, two, "?branch=none") == "unknown"
    assert word(running, two, "?step=make") == "passing"
    assert word(running, two, "?step=Make%20%3Cit%3E") == "passing"
    assert word(running, two, "?step=make&branch=other") == "failing"
    assert word(running, two, "?step=none") == "unknown"


def test_signatures_are_counted_and_never_called_verified(running: RunningServer) -> None:
    plain, some = pipeline(running, "plain"), pipeline(running, "some", SIGNED)
    build(running, "plain")
    build(running, "some")
    assert badge(running, plain, "?show=signing").json["message"] == "no steps"
    assert badge(running, some, "?show=signing").json == {
        "label": "signatures",
        "message": "some steps",
        "running": False,
    }
    assert b"verified" not in badge(running, some, "?show=signing", "svg").body.lower()


@pytest.mark.parametrize("kind", ["svg", "json"])
@pytest.mark.parametrize("query", ["", "?show=signing", "?branch=main&step=make", "?theme=dark&style=flat-square"])
def test_private_pipeline_looks_like_none(running: RunningServer, kind: str, query: str) -> None:
    slug = f"hidden-{kind}-{abs(hash(query))}"
    hidden = pipeline(running, slug, public=False)
    build(running, slug, 0)
    known, unknown = (badge(running, one, query, kind) for one in (hidden, "01234567-0000-7000-8000-000000000000"))
    assert (known.status, known.body, dict(known.headers) | {"date": ""}) == (
        unknown.status,
        unknown.body,
        dict(unknown.headers) | {"date": ""},
    )
    token = {"Authorization": f"Bearer {running.api.api_token}"}
    assert badge(running, hidden, query, kind, **token).body == known.body, "a README shows what everybody sees"
    running.api.rest("PATCH", f"/pipelines/{slug}", {"visibility": "public", "public_since": "all"})
    assert badge(running, hidden, query, kind).body != known.body, "the pipeline was there to be shown"


def test_builds_from_before_the_pipeline_was_public_stay_private(running: RunningServer) -> None:
    old = pipeline(running, "old", public=False)
    build(running, "old", 1)
    running.api.rest("PATCH", "/pipelines/old", {"visibility": "public"})
    assert word(running, old) == "unknown"
    assert b'name="old"' in feed(running).body
    assert b"Failure" not in feed(running, anonymous=True).body.partition(b'name="old"')[2].partition(b"/>")[0]


def test_badge_may_be_shown_anywhere_and_is_asked_for_again(running: RunningServer) -> None:
    first = badge(running, "none", kind="svg")
    assert first.headers["content-type"] == "image/svg+xml"
    assert first.headers["cross-origin-resource-policy"] == "cross-origin"
    assert first.headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert first.headers["cache-control"] == "no-cache"
    again = badge(running, "none", kind="svg", **{"If-None-Match": first.headers["etag"]})
    assert (again.status, again.body) == (304, b"")


@given(st.text(max_size=80), st.sampled_from(["passing", "failing", "running", "unknown"]), st.text(max_size=12))
def test_whatever_step_is_asked_for_the_picture_is_well_formed(step: str, message: str, theme: str) -> None:
    label = _shown(step) or "build"
    picture = ET.fromstring(_draw(Badge(label, message, False), theme=theme, style=theme))
    title = picture.find("{http://www.w3.org/2000/svg}title")
    assert title is not None
    assert title.text == f"{label}: {message}"
    assert not [one for one in picture.iter() if one.tag.endswith(("script", "foreignObject"))]


def feed(running: RunningServer, *, anonymous: bool = False) -> Answer:
    path = "/v2/organizations/local/cc.xml"
    return running.api.call("GET", path, authorization=None if anonymous else f"Bearer {running.api.api_token}")


def test_feed_lists_the_pipelines_that_its_reader_may_see(running: RunningServer) -> None:
    pipeline(running, "shown")
    pipeline(running, "secret", public=False)
    build(running, "shown", 0)
    build(running, "secret", 1)
    build(running, "secret")
    everything = {one.attrib["name"]: one.attrib for one in ET.fromstring(feed(running).body)}
    assert everything["secret"]["lastBuildStatus"] == "Failure"
    assert (everything["secret"]["activity"], everything["secret"]["lastBuildLabel"]) == ("Building", "1")
    strangers = {one.attrib["name"]: one.attrib for one in ET.fromstring(feed(running, anonymous=True).body)}
    assert "secret" not in strangers
    assert strangers["shown"]["lastBuildStatus"] == "Success"
    assert URL(strangers["shown"]["webUrl"]).path == "/local/shown"


def test_feed_holds_any_name(running: RunningServer) -> None:
    running.api.create_pipeline(STEPS, "odd")
    running.api.rest("PATCH", "/pipelines/odd", {"name": 'a "<&> \ufffe b'})
    names = [one.attrib["name"] for one in ET.fromstring(feed(running).body)]
    assert any(name.startswith('a "<&>') for name in names)

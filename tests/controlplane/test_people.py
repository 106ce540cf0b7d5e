"""What keeps people's side safe: headers, limits on asking, the list of changes, and one's own account."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeseal.controlplane.domain.limits import Limits
from pipeseal.controlplane.domain.rates import MAX_KEYS, Rate
from pipeseal.controlplane.http.app import make_app
from pipeseal.controlplane.http.headers import with_headers
from pipeseal.controlplane.services.accounts import make_first_link
from pipeseal.controlplane.services.changes import KEPT_DAYS
from pipeseal.errors import VerificationError
from tests.controlplane.running import QUICK, RunningServer, running_server
from tests.controlplane.test_accounts import MARIA, PASSWORD, Browser, Hand

NEW = "another horse battery"
CHANGES = "/v2/organizations/local/changes"
OWN = "/v2/user/sessions"


class Ticking(Hand):
    """A clock that is moved by hand, and of which no two looks find the same time."""

    def now(self) -> float:
        self.time += 0.001
        return self.time


@pytest.fixture(scope="module")
def clock() -> Hand:
    return Ticking()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, clock: Hand) -> Iterator[RunningServer]:
    settings = dataclasses.replace(QUICK, sweep_interval=30)
    with running_server(tmp_path_factory.mktemp("data"), settings, clock=clock) as server:
        yield server


@pytest.fixture(scope="module")
def owner(running: RunningServer) -> Browser:
    browser = Browser(running, **{"User-Agent": "Firefox on Linux"})
    token = make_first_link(running.plane)
    assert browser.ask("POST", "/session/link", {"token": token, **MARIA}).status == 204
    return browser


def member(running: RunningServer, owner: Browser, name: str) -> Browser:
    email = f"{name}@example.org"
    link = owner.ask("POST", "/v2/organizations/local/members", {"email": email}).json["link"]
    browser = Browser(running)
    body = {"token": link.partition("#")[2], "name": name, "password": PASSWORD}
    assert browser.ask("POST", "/session/link", body).status == 204
    return browser


def signed_in(running: RunningServer, email: str, password: str = PASSWORD) -> Browser:
    browser = Browser(running)
    assert browser.ask("POST", "/session", {"email": email, "password": password}).status == 204
    return browser


# --- headers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "embedded", "kept"),
    [
        ("/", "same-origin", "no-cache"),
        ("/web/main.js", "same-origin", "no-cache"),
        ("/session", "same-origin", "no-store"),
        ("/v2/organizations", "same-origin", "no-store"),
        ("/v3/ping", "same-origin", "no-store"),
        ("/nothing/at/all/here", "same-origin", "no-store"),
        ("/x?a=%00", "same-origin", "no-store"),
        ("/badge/x.svg", "cross-origin", "no-cache"),
        ("/openapi.json", "cross-origin", "public, max-age=300"),
    ],
)
def test_every_answer_has_the_headers(running: RunningServer, path: str, embedded: str, kept: str) -> None:
    headers = running.api.call("GET", path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cross-origin-resource-policy"] == embedded
    assert headers["cache-control"] == kept
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "strict-transport-security" not in headers, "the server is not reached with TLS"


def test_private_json_is_kept_by_nobody(running: RunningServer) -> None:
    assert running.api.rest("GET", "/pipelines").headers["cache-control"] == "no-store"


async def test_server_with_tls_says_so(running: RunningServer) -> None:
    before, running.plane.url = running.plane.url, "https://ci.example.org"
    try:
        assert make_app(running.plane)._secure  # type: ignore[attr-defined]  # the door of the application
    finally:
        running.plane.url = before
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    await with_headers(send, secure=True)({"type": "http.response.start", "status": 200, "headers": []})
    assert (b"strict-transport-security", b"max-age=31536000") in sent[0]["headers"]


# --- limits ------------------------------------------------------------------------------------------------------


def test_strangers_and_tokens_have_limits_of_their_own(tmp_path: Path, clock: Hand) -> None:
    limits = Limits(max_requests_per_minute=30, max_anonymous_requests_per_minute=3)
    settings = dataclasses.replace(QUICK, limits=limits, sweep_interval=30)
    with running_server(tmp_path / "data", settings, clock=clock) as running:
        path = "/v2/organizations/local/pipelines"
        answers = [running.api.call("GET", path).status for _ in range(4)]
        assert answers == [401, 401, 401, 429]
        over = running.api.call("GET", "/badge/x.json")
        assert (over.status, over.json["code"], over.headers["retry-after"]) == (429, "access.too_often", "20")
        assert [running.api.rest("GET", "/pipelines").status for _ in range(31)] == [200] * 30 + [429]
        other = running.api.agent_call("POST", "/register", running.api.registration_token, {"name": "a"})
        assert other.status == 200, "agents are not counted"
        clock.time += 21
        assert running.api.call("GET", path).status == 401
        assert running.api.rest("GET", "/pipelines").status == 200


@given(st.lists(st.floats(0, 30), max_size=80), st.integers(1, 50))
def test_nobody_gets_more_than_a_full_bucket_and_its_rate(pauses: list[float], limit: int) -> None:
    rate, now, taken = Rate(limit), 0.0, 0
    for pause in pauses:
        now += pause
        try:
            rate.take("a", now)
            taken += 1
        except VerificationError as error:
            assert error.code == "access.too_often"
            # Whoever waits as long as is said is let in.
            again = Rate(limit)
            again._left["a"] = rate._left["a"]
            again.take("a", now + int(error.evidence["retry-after"]))
    assert taken <= limit + limit * now / 60 + 1e-6


def test_many_callers_do_not_fill_the_memory() -> None:
    rate = Rate(1)
    for number in range(MAX_KEYS + 10):
        rate.take(str(number), 0.0)
    assert len(rate._left) == MAX_KEYS
    with pytest.raises(VerificationError):
        rate.take(str(MAX_KEYS + 9), 0.0)


# --- who changed what --------------------------------------------------------------------------------------------


def test_changes_of_people_and_tokens_are_told_to_owners(running: RunningServer, owner: Browser) -> None:
    running.api.create_pipeline("steps: [{command: x}]", "told")
    owner.ask("PATCH", "/v2/organizations/local", {"public_pipelines": True})
    owner.ask("PATCH", "/v2/organizations/local/pipelines/told", {"visibility": "public"})
    owner.ask("PUT", "/v2/organizations/local/secrets/DEPLOY", {"value": "very secret", "description": "for deploys"})
    newest = owner.ask("GET", f"{CHANGES}?per_page=4").json
    assert [(one["by"], one["method"], one["subject"]) for one in newest] == [
        ("Maria", "PUT", "/secrets/DEPLOY"),
        ("Maria", "PATCH", "/pipelines/told"),
        ("Maria", "PATCH", ""),
        ("of the first run", "POST", "/pipelines"),
    ]
    assert newest[0]["members"] == {"value": None, "description": "for deploys"}
    assert newest[1]["members"] == {"visibility": "public"}
    assert (newest[3]["by_kind"], newest[3]["members"]["configuration"]) == ("token", None)
    assert b"very secret" not in owner.ask("GET", CHANGES).body


def test_what_failed_or_only_looked_is_no_change(running: RunningServer, owner: Browser) -> None:
    before = owner.ask("GET", CHANGES).json
    owner.ask("PATCH", "/v2/organizations/local/pipelines/none", {"visibility": "public"})
    owner.ask("PATCH", "/v2/organizations/local", {"public_pipelines": "perhaps"})
    owner.ask("GET", "/v2/organizations/local/members")
    assert owner.ask("GET", CHANGES).json == before


def test_builds_of_people_are_told_and_those_of_programs_are_not(running: RunningServer, owner: Browser) -> None:
    running.api.create_pipeline("steps: [{command: x}]", "made")
    running.api.create_build("made")
    owner.ask(
        "POST", "/v2/organizations/local/pipelines/made/builds", {"message": "by hand\nmore", "env": {"A": "b"}}
    )
    newest = owner.ask("GET", f"{CHANGES}?per_page=2").json
    assert [one["subject"] for one in newest] == ["/pipelines/made/builds", "/pipelines"]
    assert newest[0]["members"] == {"message": "by hand", "env": None}


def test_only_owners_read_changes(running: RunningServer, owner: Browser) -> None:
    lee = member(running, owner, "lee")
    assert lee.ask("GET", CHANGES).json["code"] == "access.scope"
    assert running.api.call("GET", CHANGES).json["code"] == "access.no_token"


def test_signing_in_is_told_and_old_changes_go(running: RunningServer, owner: Browser, clock: Hand) -> None:
    signed_in(running, MARIA["email"])
    newest = owner.ask("GET", f"{CHANGES}?per_page=1").json[0]
    assert (newest["by"], newest["method"], newest["subject"], newest["members"]) == ("Maria", "POST", "/session", {})
    clock.time += KEPT_DAYS * 86_400 + 1
    signed_in(running, MARIA["email"])
    assert len(running.api.rest("GET", "/changes").json) == 1
    owner.cookie = signed_in(running, MARIA["email"]).cookie


# --- one's own account -------------------------------------------------------------------------------------------


def test_person_sees_and_ends_their_own_browsers_alone(running: RunningServer, owner: Browser) -> None:
    ann = member(running, owner, "ann")
    elsewhere = signed_in(running, "ann@example.org")
    listed = ann.ask("GET", OWN).json
    assert sorted(one["here"] for one in listed) == [False, True]
    other = next(one["id"] for one in listed if not one["here"])
    assert owner.ask("DELETE", f"{OWN}/{other}").status == 404, "nobody else's"
    assert elsewhere.account() is not None
    assert ann.ask("DELETE", f"{OWN}/{other}").status == 204
    assert elsewhere.account() is None
    assert [one["here"] for one in ann.ask("GET", OWN).json] == [True]


def test_session_tells_what_its_browser_calls_itself(running: RunningServer, owner: Browser) -> None:
    browser = Browser(running, **{"User-Agent": "Odd browser " + "x" * 300})
    browser.ask("POST", "/session", {"email": MARIA["email"], "password": PASSWORD})
    here = next(one for one in browser.ask("GET", OWN).json if one["here"])
    assert here["browser"].startswith("Odd browser")
    assert len(here["browser"]) < 201


def test_new_password_signs_all_other_browsers_out(running: RunningServer, owner: Browser) -> None:
    kim = member(running, owner, "kim")
    elsewhere = signed_in(running, "kim@example.org")
    wrong = kim.ask("PUT", "/v2/user/password", {"current": NEW, "password": NEW})
    assert (wrong.status, wrong.json["code"]) == (403, "access.sign_in")
    short = kim.ask("PUT", "/v2/user/password", {"current": PASSWORD, "password": "short"})
    assert short.json["code"] == "account.password"
    assert elsewhere.account() is not None
    assert kim.ask("PUT", "/v2/user/password", {"current": PASSWORD, "password": NEW}).status == 204
    assert (kim.account()["name"], elsewhere.account()) == ("kim", None)
    refused = Browser(running).ask("POST", "/session", {"email": "kim@example.org", "password": PASSWORD})
    assert refused.json["code"] == "access.sign_in"
    signed_in(running, "kim@example.org", NEW)


def test_open_browser_is_no_place_to_guess_passwords(running: RunningServer, owner: Browser) -> None:
    guessed = member(running, owner, "guessed")
    body = {"current": NEW, "password": NEW}
    codes = [guessed.ask("PUT", "/v2/user/password", body).json["code"] for _ in range(11)]
    assert codes == ["access.sign_in"] * 10 + ["access.slow_down"]


def test_neither_tokens_nor_other_pages_touch_an_account(running: RunningServer, owner: Browser) -> None:
    token = f"Bearer {running.api.api_token}"
    for method, path in (("GET", OWN), ("DELETE", f"{OWN}/x"), ("PUT", "/v2/user/password")):
        body = {"current": PASSWORD, "password": NEW} if method == "PUT" else None
        assert running.api.call(method, path, body=body, authorization=token).json["code"] == "access.signed_out"
        if method != "GET":
            foreign = owner.ask(method, path, body, Origin="https://evil.example")
            assert foreign.json["code"] == "access.other_page"

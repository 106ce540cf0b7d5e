"""People at the web pages: the first link, signing in and out, and who may ask a browser to change something."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeseal.clock import Clock
from pipeseal.controlplane.domain.access import ROLES, SCOPES, Reader
from pipeseal.controlplane.domain.attempts import MAX_KEYS, Attempts
from pipeseal.controlplane.domain.passwords import digest_password, verify_password
from pipeseal.controlplane.http import rest
from pipeseal.controlplane.http.scopes import NEEDED
from pipeseal.controlplane.services.accounts import make_first_link
from pipeseal.controlplane.services.plane import Settings
from pipeseal.errors import VerificationError
from tests.controlplane.running import Answer, RunningServer, running_server

PASSWORD = "correct horse battery"
MARIA = {"name": "Maria", "email": "maria@example.org", "password": PASSWORD}


class Browser:
    """A browser that keeps its cookie and says where its requests come from."""

    def __init__(self, running: RunningServer, **headers: str) -> None:
        self.running = running
        self.cookie = ""
        self.headers = {"Origin": running.api.url, "X-Pipeseal-Page": "1", "Sec-Fetch-Site": "same-origin", **headers}

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        sent = {name: value for name, value in {**self.headers, **headers}.items() if value}
        if self.cookie:
            sent["Cookie"] = self.cookie
        answer = self.running.api.call(method, path, body=body, headers=sent)
        if "set-cookie" in answer.headers:
            self.cookie = answer.headers["set-cookie"].partition(";")[0]
        return answer

    def account(self) -> Any:
        return self.ask("GET", "/session").json["account"]


class Hand(Clock):
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.time = 1_900_000_000.0

    def now(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Hand:
    return Hand()


@pytest.fixture
def running(tmp_path: Path, clock: Hand) -> Iterator[RunningServer]:
    with running_server(tmp_path / "data", Settings(sweep_interval=30), clock=clock) as server:
        yield server


def first_owner(running: RunningServer) -> Browser:
    token = make_first_link(running.plane)
    assert token is not None
    browser = Browser(running)
    answer = browser.ask("POST", "/session/link", {"token": token, **MARIA})
    assert answer.status == 204, answer.json
    return browser


def test_first_link_makes_the_owner_once(running: RunningServer) -> None:
    older, newer = make_first_link(running.plane), make_first_link(running.plane)
    browser = Browser(running)
    assert browser.ask("POST", "/session/link", {"token": older, **MARIA}).json["code"] == "access.link_used"
    answer = browser.ask("POST", "/session/link", {"token": newer, **MARIA})
    assert answer.status == 204
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(answer.headers["set-cookie"].split("; "))
    account = browser.account()
    assert (account["name"], account["email"], account["role"]) == ("Maria", "maria@example.org", "owner")
    assert Browser(running).ask("POST", "/session/link", {"token": newer, **MARIA}).status == 410
    assert make_first_link(running.plane) is None


def test_person_signs_in_and_out(running: RunningServer) -> None:
    first_owner(running)
    browser = Browser(running)
    assert browser.account() is None
    assert browser.ask("POST", "/session", {"email": " Maria@Example.org ", "password": PASSWORD}).status == 204
    assert browser.account()["name"] == "Maria"
    kept = browser.cookie
    assert browser.ask("DELETE", "/session").status == 204
    browser.cookie = kept
    assert browser.account() is None


@pytest.mark.parametrize(
    ("email", "password"), [("maria@example.org", "wrong horse battery"), ("nobody@example.org", PASSWORD)]
)
def test_failed_sign_in_does_not_say_why(running: RunningServer, email: str, password: str) -> None:
    first_owner(running)
    answer = Browser(running).ask("POST", "/session", {"email": email, "password": password})
    assert (answer.status, answer.json["code"]) == (403, "access.sign_in")
    assert "set-cookie" not in answer.headers


def test_guessing_is_slowed_down_and_forgotten(running: RunningServer, clock: Hand) -> None:
    first_owner(running)
    browser = Browser(running)
    for _ in range(10):
        assert browser.ask("POST", "/session", {"email": MARIA["email"], "password": "guess"}).status == 403
    answer = browser.ask("POST", "/session", {"email": MARIA["email"], "password": PASSWORD})
    assert (answer.status, answer.json["code"]) == (429, "access.slow_down")
    assert 0 < int(answer.headers["retry-after"]) <= 901
    clock.time += 901
    assert browser.ask("POST", "/session", {"email": MARIA["email"], "password": PASSWORD}).status == 204


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Pipeseal-Page": ""},
        {"Origin": "https://elsewhere.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_other_sites_cannot_act_for_a_person(running: RunningServer, headers: dict[str, str]) -> None:
    browser = first_owner(running)
    answer = browser.ask("DELETE", "/session", **headers)
    assert (answer.status, answer.json["code"]) == (403, "access.other_page")
    assert browser.account() is not None


def test_session_ends_by_itself(running: RunningServer, clock: Hand) -> None:
    browser = first_owner(running)
    for _ in range(6):
        clock.time += 5 * 86_400
        signed_in = browser.account() is not None
    # Used every five days, and over after a month.
    assert not signed_in
    browser = Browser(running)
    browser.ask("POST", "/session", {"email": MARIA["email"], "password": PASSWORD})
    clock.time += 7 * 86_400 + 1
    assert browser.account() is None


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"password": "short"}, "account.password"),
        ({"password": "aaaaaaaaaaaaaaaa"}, "account.password"),
        ({"password": "maria@example.org"}, "account.password"),
        ({"email": "maria"}, "account.email"),
        ({"email": "a b@example.org"}, "account.email"),
        ({"name": "  "}, "account.name"),
        ({"name": "x" * 81}, "account.name"),
    ],
)
def test_what_cannot_be_an_account_leaves_the_link_as_it_is(
    running: RunningServer, change: dict[str, str], code: str
) -> None:
    token = make_first_link(running.plane)
    browser = Browser(running)
    answer = browser.ask("POST", "/session/link", {"token": token, **MARIA, **change})
    assert (answer.status, answer.json["code"]) == (422, code)
    assert browser.ask("POST", "/session/link", {"token": token, **MARIA}).status == 204


# --- members and tokens ------------------------------------------------------------------------------------------

ORGANIZATION = "/v2/organizations/local"


def invited(owner: Browser, email: str, role: str) -> Browser:
    answer = owner.ask("POST", f"{ORGANIZATION}/members", {"email": email, "role": role})
    assert answer.status == 201, answer.json
    browser = Browser(owner.running)
    token = answer.json["link"].rpartition("#")[2]
    used = browser.ask("POST", "/session/link", {"token": token, "name": email, "password": PASSWORD})
    assert used.status == 204, used.json
    return browser


def test_role_decides_what_a_person_may_do(running: RunningServer) -> None:
    owner = first_owner(running)
    running.api.create_pipeline("steps:\n  - command: make\n")
    builds = f"{ORGANIZATION}/pipelines/demo/builds"
    member, reader = invited(owner, "lee@example.org", "member"), invited(owner, "kim@example.org", "reader")
    assert member.ask("POST", builds, {"commit": "HEAD", "branch": "main"}).status == 201
    answer = reader.ask("POST", builds, {"commit": "HEAD", "branch": "main"})
    assert (answer.status, answer.json["code"]) == (403, "access.scope")
    assert reader.ask("GET", builds).status == 200
    assert member.ask("GET", f"{ORGANIZATION}/members").status == 200
    assert member.ask("POST", f"{ORGANIZATION}/members", {"email": "x@example.org", "role": "owner"}).status == 403
    assert member.ask("POST", builds, {}, **{"Sec-Fetch-Site": "cross-site"}).json["code"] == "access.other_page"


def test_member_who_is_switched_off_is_signed_out(running: RunningServer) -> None:
    owner = first_owner(running)
    member = invited(owner, "lee@example.org", "owner")
    members = owner.ask("GET", f"{ORGANIZATION}/members").json
    ids = {row["email"]: row["id"] for row in members}
    lee, maria = ids["lee@example.org"], ids["maria@example.org"]
    path = f"{ORGANIZATION}/members"
    assert owner.ask("PATCH", f"{path}/{lee}", {"disabled": True}).json["disabled"] is True
    assert member.ask("GET", path).json["code"] == "access.signed_out"
    assert member.ask("POST", "/session", {"email": "lee@example.org", "password": PASSWORD}).status == 403
    assert owner.ask("PATCH", f"{path}/{maria}", {"role": "reader"}).json["code"] == "account.last_owner"
    assert owner.ask("PATCH", f"{path}/{maria}", {"role": "king"}).json["code"] == "account.role"
    assert owner.ask("PATCH", f"{path}/nobody", {"role": "reader"}).status == 404


def test_link_for_a_known_person_is_another_password(running: RunningServer) -> None:
    owner = first_owner(running)
    invited(owner, "lee@example.org", "member")
    link = owner.ask("POST", f"{ORGANIZATION}/members", {"email": "lee@example.org", "role": "owner"}).json["link"]
    other = {"token": link.rpartition("#")[2], "name": "Lee", "password": "another horse battery"}
    browser = Browser(running)
    assert browser.ask("POST", "/session/link", other).status == 204
    assert browser.account()["role"] == "member"
    assert browser.ask("POST", "/session", {"email": "lee@example.org", "password": PASSWORD}).status == 403


def test_token_does_what_it_was_made_for_until_it_is_taken_back(running: RunningServer) -> None:
    owner = first_owner(running)
    asked = {"description": "dashboard", "scopes": ["read_pipelines", "read_builds"]}
    made = owner.ask("POST", f"{ORGANIZATION}/tokens", asked).json
    authorization = f"Bearer {made['token']}"
    call = running.api.call
    shown = call("GET", "/v2/access-token", authorization=authorization).json
    assert shown["scopes"] == ["read_builds", "read_pipelines"]
    assert call("GET", f"{ORGANIZATION}/pipelines", authorization=authorization).status == 200
    body = {"name": "x", "repository": "https://git.example.test/r.git"}
    answer = call("POST", f"{ORGANIZATION}/pipelines", authorization=authorization, body=body)
    assert (answer.status, answer.json["code"]) == (403, "access.scope")
    listed = owner.ask("GET", f"{ORGANIZATION}/tokens").json
    assert {"dashboard": "Maria"}.items() <= {row["description"]: row["created_by"] for row in listed}.items()
    assert made["token"] not in str(listed)
    assert owner.ask("DELETE", f"{ORGANIZATION}/tokens/{made['id']}").status == 204
    assert call("GET", "/v2/access-token", authorization=authorization).status == 401
    assert owner.ask("DELETE", f"{ORGANIZATION}/tokens/{made['id']}").status == 404


def test_nobody_makes_a_token_that_may_do_more_than_they(running: RunningServer) -> None:
    first_owner(running)
    small = running.api.rest("POST", "/tokens", {"description": "keys", "scopes": ["write_organizations"]}).json[
        "token"
    ]
    call, path = running.api.call, f"{ORGANIZATION}/tokens"
    more = call("POST", path, authorization=f"Bearer {small}", body={"description": "all"})
    assert more.json["code"] == "access.scope"
    assert running.api.rest("POST", "/tokens", {"description": "", "scopes": []}).json["code"] == "account.token"
    odd = running.api.rest("POST", "/tokens", {"description": "x", "scopes": ["everything"]})
    assert odd.json["code"] == "account.token"


def test_every_endpoint_says_which_scope_it_needs() -> None:
    rows = {f"{method} {path}" for method, path, _ in (*rest.ENDPOINTS, *rest.OUTER_ENDPOINTS)}
    assert rows == set(NEEDED)
    assert {scope for scope in NEEDED.values() if scope} <= set(SCOPES)
    for row, scope in NEEDED.items():
        # A token may always take itself back, and whoever is signed in look after their own account.
        own = row == "DELETE /access-token" or " /user/" in row
        assert row.startswith("GET ") or scope.startswith("write_") or own, row


def test_database_holds_nothing_that_signs_in(running: RunningServer) -> None:
    browser = first_owner(running)
    kept = b"".join(path.read_bytes() for path in running.folder.glob("control-plane.sqlite*"))
    if kept:  # with PostgreSQL there is no file
        assert PASSWORD.encode() not in kept
        assert browser.cookie.partition("=")[2].encode() not in kept


@settings(deadline=None, max_examples=8)  # each takes as long as it is meant to
@given(st.text(max_size=300))
def test_no_other_password_is_taken(password: str) -> None:
    stored = STORED
    if password == PASSWORD:
        assert verify_password(password, stored) == password
    else:
        with pytest.raises(VerificationError):
            verify_password(password, stored)


STORED = digest_password(PASSWORD, lambda count: b"s" * count)


def test_failures_of_many_keys_do_not_fill_the_memory() -> None:
    attempts = Attempts(3, 60)
    for number in range(MAX_KEYS + 5):
        attempts.note_failure(str(number), 0)
    for _ in range(2):
        attempts.note_failure("0", 0)
    attempts.check("0", 0)  # the first failure was forgotten
    attempts.note_failure("0", 0)
    with pytest.raises(VerificationError, match="too many"):
        attempts.check("0", 0)


def test_roles_only_ever_add() -> None:
    reader, member, maintainer, owner = (ROLES[name] for name in ("reader", "member", "maintainer", "owner"))
    assert reader < member < maintainer < owner == set(SCOPES)
    with pytest.raises(VerificationError, match="write_builds"):
        Reader("account", name="Lee", scopes=reader).need("write_builds")

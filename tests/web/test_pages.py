"""The pages around builds: signing in, pipelines, settings with their visibility, members, tokens, agents."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.controlplane.running import FakeAgent
from tests.controlplane.test_public import played
from tests.web.build_stage import Stage, open_stage
from tests.web.conftest import PASSWORD, Visitor

pytestmark = pytest.mark.peer("chromium")


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[Stage]:
    with open_stage(tmp_path_factory.mktemp("stage"), browser) as stage:
        yield stage


def test_person_signs_out_and_in_again(owner: Visitor) -> None:
    page = owner.page
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("link", name="Sign in").first.click()
    page.get_by_label("Email").fill("owner@example.org")
    page.get_by_label("Password").fill("wrong horse battery")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("no account has this address and password")
    expect(page.get_by_label("Email")).to_have_value("owner@example.org")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()


def test_dashboard_is_empty_and_says_what_fills_it(owner: Visitor) -> None:
    page = owner.visit("/")
    expect(page.get_by_text("No pipelines yet.")).to_be_visible()
    expect(page.locator("pre")).to_contain_text("pipeseal build create")


def test_dashboard_finds_pipelines_and_shows_how_their_builds_ended(stage: Stage) -> None:
    with stage.owner() as owner:
        played(stage.api, "found")
        stage.api.create_pipeline("steps: [{command: make}]", "other")
        page = owner.visit("/")
        names = page.locator(".pipelines strong")
        row = page.locator(".pipelines > li").filter(has=page.get_by_role("link", name="found"))
        expect(row.locator(".trend")).to_have_text("The newest 1: 1 passed")
        page.keyboard.press("/")
        page.keyboard.type("OTH")
        expect(names.filter(visible=True)).to_have_text(["other"])
        page.reload()
        expect(names.filter(visible=True)).to_have_text(["other"])
        page.get_by_label("Find a pipeline").fill("nothing like it")
        expect(page.get_by_text("No pipeline with nothing like it.")).to_be_visible()
        page.get_by_role("button", name="Clear the filter").click()
        expect(names.filter(visible=True).filter(has_text="found")).to_have_count(1)
        page.get_by_role("heading", name="Pipelines").click()
        page.keyboard.press("v")
        page.wait_for_url("**/local/keys")


def test_pipeline_is_made_public_in_its_settings_under_general(stage: Stage) -> None:
    with stage.owner() as owner, stage.stranger() as stranger:
        played(stage.api, "open")
        stage.api.rest("PATCH", "", {"public_pipelines": False})
        stranger.visit("/local/open")
        expect(stranger.page.get_by_role("heading", name="Nothing to see here")).to_be_visible()

        page = owner.visit("/local/open/settings")
        expect(page.get_by_text("does not allow public pipelines")).to_be_visible()
        expect(page.get_by_label("Public.")).to_be_disabled()
        page = owner.visit("/local/settings")
        page.get_by_label("Pipelines may be made public").check()
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_role("status").first).to_have_text("Saved")

        page = owner.visit("/local/open/settings")
        expect(page.locator(".tabs [aria-current=page]")).to_have_text("General")
        page.get_by_label("Public.").check()
        page.get_by_label("Also the builds that are there already").check()
        page.get_by_role("button", name="Save visibility").click()
        expect(page.get_by_text("This pipeline is public.", exact=False).first).to_be_visible()

        page = stranger.visit("/local/open")
        expect(page.get_by_role("heading", name="open", exact=True)).to_be_visible()
        expect(page.get_by_text("fix it")).to_be_visible()
        expect(page.get_by_text("second line")).to_have_count(0)
        expect(page.get_by_role("link", name="Settings")).to_have_count(0)
        expect(page.get_by_role("button", name="New build")).to_have_count(0)
        stranger.visit("/")
        expect(stranger.page.get_by_role("heading", name="Public pipelines")).to_be_visible()


def test_owner_sees_what_a_stranger_sees(stage: Stage) -> None:
    with stage.owner() as owner:
        played(stage.api, "seen")
        stage.api.rest("PATCH", "", {"public_pipelines": True})
        stage.api.rest("PATCH", "/pipelines/seen", {"visibility": "public", "public_since": "all"})
        page = owner.visit("/local/seen/settings")
        page.get_by_role("link", name="See it as a stranger does").click()
        expect(page.get_by_text("You see what a stranger sees.")).to_be_visible()
        expect(page.get_by_text("Ann")).to_have_count(0)
        expect(page.get_by_role("button", name="Sign out")).to_have_count(0)
        page.get_by_role("link", name="Back to yourself").click()
        expect(page.get_by_text("Ann")).to_have_count(1)


def test_builds_are_found_by_branch_and_state(stage: Stage) -> None:
    with stage.owner() as owner:
        played(stage.api, "branches")
        stage.api.create_build("branches", branch="release/1", message="for the release")
        page = owner.visit("/local/branches")
        expect(page.locator(".list > li")).to_have_count(2)
        page.get_by_label("Branch").fill("release/*")
        page.get_by_role("button", name="Filter").click()
        expect(page.locator(".list > li")).to_have_count(1)
        expect(page.get_by_text("for the release")).to_be_visible()
        page = owner.visit("/local/branches?state=canceled")
        expect(page.get_by_text("No builds with state cancelled.")).to_be_visible()


def test_build_is_made_on_the_page(stage: Stage) -> None:
    with stage.owner() as owner:
        stage.api.create_pipeline("steps:\n  - command: make\n", "made")
        page = owner.visit("/local/made")
        page.get_by_role("button", name="New build").click()
        page.get_by_label("Message").fill("from the page")
        page.get_by_role("button", name="Create the build").click()
        page.wait_for_url("**/local/made/builds/1")
        assert stage.api.build(1, "made")["message"] == "from the page"


def test_members_are_invited_and_switched_off(stage: Stage) -> None:
    with stage.owner() as owner, stage.stranger() as lee:
        page = owner.visit("/local/settings/members")
        page.get_by_label("Email").fill("lee@example.org")
        page.get_by_role("button", name="Make the link").click()
        link = page.locator(".notice code").inner_text()
        lee.visit(link.removeprefix(stage.api.url))
        lee.page.get_by_label("Your name").fill("Lee")
        lee.page.get_by_label("Password").fill(PASSWORD)
        lee.page.get_by_role("button", name="Make the account").click()
        expect(lee.page.get_by_text("Lee")).to_be_visible()
        page = owner.visit("/local/settings/members")
        page.get_by_role("row", name="Lee").get_by_role("button", name="Switch off").click()
        expect(page.get_by_text("switched off")).to_be_visible()
        lee.visit("/local/settings")
        expect(lee.page.get_by_role("heading", name="Nothing to see here")).to_be_visible()


def test_token_is_shown_once(stage: Stage) -> None:
    with stage.owner() as owner:
        page = owner.visit("/local/settings/tokens")
        page.get_by_label("What is it for?").fill("dashboard")
        page.get_by_label("read_builds").check()
        page.get_by_role("button", name="Make the token").click()
        token = page.locator(".notice code").inner_text()
        shown = stage.api.call("GET", "/v2/access-token", authorization=f"Bearer {token}").json
        assert shown["scopes"] == ["read_builds"]
        page = owner.visit("/local/settings/tokens")
        assert token not in page.content()
        expect(page.get_by_text("dashboard")).to_be_visible()


def test_agents_are_listed_and_paused(stage: Stage) -> None:
    with stage.owner() as owner:
        FakeAgent(stage.api, "queue=mac", name="mac-2")
        page = owner.visit("/local/agents")
        row = page.get_by_role("row", name="mac-2")
        expect(row).to_contain_text("idle")
        row.get_by_role("button", name="Pause").click()
        expect(page.get_by_role("row", name="mac-2")).to_contain_text("paused")


def test_theme_and_keys(stage: Stage) -> None:
    with stage.owner() as owner:
        page = owner.visit("/")
        page.get_by_role("button", name="Theme: system").click()
        page.get_by_role("button", name="Theme: light").click()
        assert page.evaluate("document.documentElement.dataset.theme") == "dark"
        page.keyboard.press("?")
        expect(page.get_by_role("dialog")).to_contain_text("Keys on this page")
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)

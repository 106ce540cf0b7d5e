"""What agents tell of their policies, on pages: of jobs, builds and agents, settings > Signing, and the dashboard."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from pipeseal.policy.file import parse_policy
from pipeseal.policy.policy import Mode
from tests.controlplane.running import FakeAgent
from tests.controlplane.test_public import publish
from tests.web.build_stage import Stage, check_accessible, open_stage

pytestmark = [pytest.mark.peer("chromium"), pytest.mark.timeout(180)]

STEPS = """
steps:
  - {key: one, label: First, command: make}
  - {key: two, label: Second, command: make test}
"""
FINDING = {"code": "environment.unknown", "fields": ["DEPLOY_TARGET", "REGION"]}
SEALED = {"mode": "enforce", "proof": "seal", "key": "uploader-1", "thumbprint": "T" * 43, "seal": "ab" * 32}
OBSERVED = {"mode": "observe", "proof": "none", "findings": [{"code": "signature.missing", "fields": []}]}
WARNED = {"mode": "warn", "proof": "signature", "key": "uploader-1", "thumbprint": "T" * 43, "findings": [FINDING]}


@pytest.fixture(scope="module")
def stage(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    expect.set_options(timeout=30_000)  # a busy machine takes its time
    with open_stage(tmp_path_factory.mktemp("told"), browser) as stage:
        yield stage


def ran(stage: Stage, *decisions: Any) -> tuple[str, list[str]]:
    """A build whose jobs ran on one agent each, which told this; the build's address, and the jobs' ids."""
    path, _, tag = stage.build(STEPS)
    jobs = [FakeAgent(stage.api, tag, name=f"agent-{at}").run(decision=each).id for at, each in enumerate(decisions)]
    return path, jobs


def settings_of(path: str) -> str:
    return path.partition("/builds/")[0] + "/settings/signing"


def pictured(page: Page, name: str) -> None:
    """Keep a picture where somebody wants to look at one."""
    if folder := os.environ.get("PIPESEAL_PICTURES"):
        for scheme in ("light", "dark"):
            for width in (1280, 390):
                page.emulate_media(color_scheme=scheme)
                page.set_viewport_size({"width": width, "height": 900})
                page.screenshot(path=Path(folder) / f"{name}-{scheme}-{width}.png", full_page=True)


def test_job_says_what_its_agent_told_as_the_servers_word(stage: Stage) -> None:
    path, (sealed, warned) = ran(stage, SEALED, WARNED)
    with stage.owner() as visitor:
        page = visitor.visit(f"{path}/jobs/{sealed}/trust")
        section = page.locator(".told")
        expect(section.get_by_role("heading")).to_have_text("What the agent made of it server says")
        for text in ("enforce", "a seal of uploader-1", "T" * 43, f"sha256 {'ab' * 32}"):
            expect(section.get_by_text(text, exact=True)).to_be_visible()
        # What an agent told is no state of trust: nothing of it carries a mark.
        expect(section.locator(".trust")).to_have_count(0)
        expect(page.locator(".would-refuse")).to_have_count(0)
        page = visitor.visit(f"{path}/jobs/{warned}")
        line = page.locator(".would-refuse")
        expect(line).to_contain_text("This job would have been refused: environment.unknown; policy warns.")
        line.get_by_role("link", name="What the agent told").click()
        section = page.locator(".told")
        expect(section.get_by_text("DEPLOY_TARGET")).to_be_visible()
        expect(section.get_by_text("pipeseal explain environment.unknown")).to_be_visible()
        check_accessible(page)
        pictured(page, "job")


def test_build_says_which_jobs_would_have_been_refused(stage: Stage) -> None:
    path, jobs = ran(stage, OBSERVED, OBSERVED)
    with stage.owner() as visitor:
        page = visitor.visit(path)
        line = page.locator(".build-observed")
        expect(line).to_contain_text("2 of 2 jobs would have been refused: signature.missing (2); policy observes.")
        expect(line.locator(".speaker")).to_have_text("server says")
        check_accessible(page)
        pictured(page, "build")
        line.get_by_role("link", name="signature.missing").click()
        page.wait_for_url(f"**/jobs/{jobs[0]}/trust")
        expect(page.locator(".build-observed")).to_be_empty()


def test_running_build_says_it_as_soon_as_a_job_has_ended(stage: Stage) -> None:
    path, _, tag = stage.build(STEPS)
    with stage.owner() as visitor:
        page = visitor.visit(path)
        expect(page.locator(".build-observed")).to_be_empty()
        FakeAgent(stage.api, tag).run(decision=OBSERVED)
        expect(page.locator(".build-observed")).to_contain_text("1 of 2 jobs would have been refused")


def test_list_of_agents_marks_those_that_would_run_anything(stage: Stage) -> None:
    _, _, tag = stage.build(STEPS)
    FakeAgent(stage.api, tag, name="mac-off").run(decision={"mode": "off", "proof": "none"})
    FakeAgent(stage.api, tag, name="linux-strict").run(decision=SEALED)
    FakeAgent(stage.api, tag, name="stock")
    with stage.owner() as visitor:
        page = visitor.visit("/local/agents")
        expect(page.get_by_role("row", name="mac-off")).to_contain_text("no verification keys: runs unsigned jobs")
        expect(page.get_by_role("row", name="linux-strict")).to_contain_text("enforces")
        expect(page.get_by_role("row", name="stock")).to_contain_text("not told")
        check_accessible(page)


def test_untold_refused_and_unknown_are_said_as_such(stage: Stage) -> None:
    strange = {"mode": "<b>strict</b>", "proof": "<i>", "findings": [{"code": "<img src=x>", "fields": ["<b>"]}]}
    path, (untold, unknown) = ran(stage, None, strange)
    with stage.owner() as visitor:
        page = visitor.visit(f"{path}/jobs/{untold}/trust")
        expect(page.locator(".told")).to_contain_text("Its agent told nothing")
        page = visitor.visit(f"{path}/jobs/{unknown}/trust")
        section = page.locator(".told")
        expect(section).to_contain_text("one that this page does not know")
        # What agents send is text, whatever it looks like.
        expect(section.get_by_text("<img src=x>", exact=True)).to_be_visible()
        expect(section.locator("b, i, img")).to_have_count(0)


def test_settings_sum_up_agents_and_what_would_have_been_refused(stage: Stage) -> None:
    path, (job, _) = ran(stage, OBSERVED, WARNED)
    slug, tag = path.split("/")[2], f"queue={path.split('/')[2]}"
    stage.api.create_build(slug)
    FakeAgent(stage.api, tag, name="mac-2").run(decision={"mode": "off", "proof": "none"})
    refusal = {"code": "key.unknown", "message": "the key is not known here"}
    FakeAgent(stage.api, tag, name="strict").run(
        -1, signal_reason="signature_rejected", refusal=refusal, decision={"mode": "enforce", "proof": "none"}
    )
    with stage.owner() as visitor:
        page = visitor.visit(settings_of(path))
        expect(page.get_by_text("Mixed: 1 enforce, 1 warn, 1 observe, 1 off.")).to_be_visible()
        row = page.get_by_role("row", name="signature.missing one")
        expect(row).to_contain_text("pipeseal explain signature.missing")
        expect(row.get_by_role("link")).to_have_attribute("href", f"/local/{slug}/builds/1/jobs/{job}/trust")
        expect(page.get_by_role("row", name="environment.unknown")).to_contain_text("DEPLOY_TARGET, REGION")
        expect(page.get_by_role("row", name="key.unknown")).to_contain_text("the key is not known here")
        expect(page.get_by_text("2 jobs ran that an enforcing policy refuses.")).to_be_visible()
        expect(page.get_by_role("row", name="2 50 % proved by nothing, and run")).to_be_visible()
        expect(page.get_by_text("no verification keys: runs unsigned jobs")).to_be_visible()
        # The weakest of those that verify observes, from today on; the day for the next stage is a week ahead.
        stands = page.get_by_text("The agents that verify stand at observe since ")
        expect(stands).to_contain_text("Proposed: warn from ")
        since, on = (time.get_attribute("datetime") for time in stands.locator("time").all())
        assert since is not None and on is not None and since[:10] < on[:10]
        expect(page.get_by_text("Mind: mac-2 takes jobs of this pipeline")).to_be_visible()
        check_accessible(page)
        pictured(page, "settings")
        page.get_by_role("link", name="Last 7 days").click()
        expect(page.get_by_role("heading", name="Would have been refused in the last 7 days")).to_be_visible()


def test_settings_give_the_text_and_set_nothing(stage: Stage) -> None:
    path, _ = ran(stage, {**OBSERVED, "findings": []}, None)
    slug = path.split("/")[2]
    with stage.owner() as visitor:
        page = visitor.visit(settings_of(path))
        expect(page.get_by_text("This page cannot set it.")).to_be_visible()
        everything, section = page.locator(".copyable pre").all()
        expect(everything).to_have_text('mode = "warn"')
        # An agent's own reader takes what is to be copied.
        assert parse_policy(f"version = 1\n{everything.inner_text()}\n".encode()).mode is Mode.WARN
        (part,) = parse_policy(f"version = 1\n{section.inner_text()}\n".encode()).sections
        assert part.mode is Mode.WARN and part.pipelines is not None and part.pipelines.match(slug)
        sent: list[str] = []
        page.on("request", lambda request: sent.append(request.method))
        page.get_by_role("button", name="Copy").first.click()
        expect(page.locator("#status")).to_have_text(re.compile("Copied|Selected; copy it from there"))
        assert set(sent) <= {"GET"}
        main = page.locator("main")
        expect(main.locator("input, select, form")).to_have_count(0)


def test_dashboard_hints_at_pipelines_that_are_not_signed_until_it_is_put_away(stage: Stage) -> None:
    path, _, _ = stage.build(STEPS)
    slug = path.split("/")[2]
    with stage.owner() as visitor:
        page = visitor.visit("/")
        hint = page.get_by_role("region", name="Pipelines that are not signed")
        expect(hint).to_contain_text("steps that are not signed")
        check_accessible(page)
        pictured(page, "dashboard")
        command = f"pipeseal init --repository https://git.example.test/r.git --pipeline {slug}"
        names = {one["pipeline"] for one in stage.api.rest("GET", "/signing?per_page=5").json}
        expect(hint.locator("code")).to_have_count(min(5, len(stage.api.rest("GET", "/signing?per_page=100").json)))
        if slug in names:
            expect(hint.get_by_text(command, exact=True)).to_be_visible()
        hint.get_by_role("button", name="Put away").click()
        expect(hint).to_have_count(0)
        page = visitor.visit("/")
        expect(page.get_by_role("link", name=slug, exact=True)).to_be_visible()
        expect(hint).to_have_count(0)
        stage.build(STEPS)
        visitor.visit("/")
        expect(hint).to_be_visible()


def test_strangers_see_none_of_it(stage: Stage) -> None:
    path, (job, _) = ran(stage, OBSERVED, WARNED)
    publish(stage.api, path.split("/")[2], public_since="all")
    with stage.stranger() as visitor:
        page = visitor.visit(path)
        expect(page.get_by_text("First", exact=True)).to_be_visible()
        expect(page.locator(".build-observed")).to_be_empty()
        page = visitor.visit(f"{path}/jobs/{job}/trust")
        expect(page.get_by_role("heading", name="Signature of the step")).to_be_visible()
        expect(page.locator(".told, .would-refuse")).to_have_count(0)

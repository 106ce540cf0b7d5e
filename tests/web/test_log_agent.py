"""What real agents print, as the page shows it; and a job that an agent refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.controlplane.running import FakeAgent
from tests.web.build_stage import Stage, check_accessible, open_stage, wait_until
from tests.web.trust_scene import Reader, sign_in, trust_scene

pytestmark = pytest.mark.peer("chromium")


def test_log_of_a_real_agent(tmp_path: Path, browser: Browser) -> None:
    with trust_scene(tmp_path) as scene:
        context = browser.new_context(storage_state=sign_in(browser, scene))
        reader = Reader(context, scene)
        page = reader.visit(scene.job_path("lint"))
        page.wait_for_selector(".log[data-state=loaded]")
        expect(page.get_by_text("linted", exact=True)).to_be_visible()
        headings = page.locator(".log-box h3").all_inner_texts()
        assert any("Running commands" in heading for heading in headings), headings
        # What the agent does before and after is folded, and the times are its own.
        expect(page.get_by_role("button", name="Preparing working directory")).to_have_attribute(
            "aria-expanded", "false"
        )
        page.get_by_label("Times").select_option("utc")
        wait_until(page, "[...document.querySelectorAll('.l')].every((line) => line.dataset.t?.length === 12)")
        page = reader.visit(scene.path)
        expect(page.get_by_role("heading", level=1)).to_contain_text("passed")
        for name in ("Lint", "Test alpine", "Test debian"):
            expect(page.locator(".step", has_text=name)).to_contain_text("passed")
        context.close()
        assert not reader.problems, reader.problems


def test_refused_job_is_not_one_that_failed(tmp_path: Path, browser: Browser) -> None:
    with open_stage(tmp_path, browser) as stage:
        look_at_refused(stage)


def look_at_refused(stage: Stage) -> None:
    path, _, tag = stage.build("steps:\n  - {label: deploy, command: make}\n")
    job = FakeAgent(stage.api, tag, name="linux-1").take()
    log = b"+++ Refused by agent linux-1\nrefused[signature.missing]: this step has no signature\nNothing was run.\n"
    assert job.chunk(1, 0, log).status == 200
    refusal = {"code": "signature.missing", "message": "this step has no signature"}
    answer = job.finish(-1, signal_reason="signature_rejected", refusal=refusal)
    assert answer.status == 200, answer.json
    with stage.owner() as owner:
        page = owner.visit(path)
        expect(page.locator(".step")).to_contain_text("refused")
        page.locator(".step").get_by_text("deploy", exact=True).click()
        expect(page.locator(".job-facts")).to_contain_text("refused")
        expect(page.locator(".job-body")).to_contain_text("signature.missing")
        expect(page.get_by_text("Nothing was run.", exact=True)).to_be_visible()
        expect(page.get_by_role("button", name="Run again")).to_have_count(0)
        check_accessible(page)

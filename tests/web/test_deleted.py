"""What pages tell in the place of a log and of an artifact that somebody deleted."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.controlplane.job_side import upload
from tests.controlplane.running import FakeAgent
from tests.web.build_stage import Stage, check_accessible, open_stage
from tests.web.test_told import pictured

pytestmark = [pytest.mark.peer("chromium"), pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def stage(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    expect.set_options(timeout=30_000)  # a busy machine takes its time
    with open_stage(tmp_path_factory.mktemp("deleted"), browser) as stage:
        yield stage


def test_deleted_logs_and_artifacts_say_so_with_when_and_by_whom(stage: Stage) -> None:
    path, build, tag = stage.build("steps: [{label: Packs, command: make}]")
    job = FakeAgent(stage.api, tag).take()
    job.chunk(1, 0, b"a line of the log\n")
    gone, _ = upload(job, "gone.txt", b"gone"), upload(job, "kept.txt", b"kept")
    job.finish()
    base = f"/pipelines/{build['pipeline']['slug']}/builds/{build['number']}/jobs/{job.id}"
    made = stage.api.rest(
        "POST", "/tokens", {"description": "cleaner", "scopes": ["write_artifacts", "write_build_logs"]}
    ).json
    with stage.owner() as owner:
        page = owner.visit(f"{path}/jobs/{job.id}")
        expect(page.get_by_text("a line of the log")).to_be_visible()
        for rest in ("/log", f"/artifacts/{gone}"):
            full = f"/v2/organizations/local{base}{rest}"
            assert stage.api.call("DELETE", full, authorization=f"Bearer {made['token']}").status == 204
        page.reload()
        told = page.get_by_text("This log was deleted by cleaner")
        expect(told).to_be_visible()
        expect(told.locator("time")).to_have_count(1)
        expect(page.get_by_text("a line of the log")).to_have_count(0)
        check_accessible(page)
        pictured(page, "deleted-log")
        page = owner.visit(f"{path}/jobs/{job.id}/artifacts")
        row = page.get_by_role("row").filter(has_text="gone.txt")
        expect(row).to_contain_text("deleted by cleaner")
        expect(row.get_by_role("link", name="Download gone.txt")).to_have_count(0)
        expect(page.get_by_role("link", name="Download kept.txt")).to_be_visible()
        check_accessible(page)
        pictured(page, "deleted-artifact")

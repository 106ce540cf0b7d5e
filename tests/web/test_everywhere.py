"""Every page in its states, signed in and not, light and dark, on a desk and on a phone: usable by everybody.

With `PIPESEAL_SCREENSHOTS=FOLDER` pictures of them are written there; `make screenshots` does it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.controlplane.job_side import upload
from tests.controlplane.running import FakeAgent
from tests.web.build_stage import Stage
from tests.web.conftest import Visitor
from tests.web.palette import with_palette
from tests.web.trust_scene import Scene, trust_scene

pytestmark = [pytest.mark.peer("chromium"), pytest.mark.timeout(180)]

STEPS = """
agents: {queue: QUEUE}
steps:
  - group: ":test_tube: Checks"
    key: checks
    steps:
      - {key: lint, label: Lint, command: make lint}
      - {key: unit, label: "Unit tests", command: make test, parallelism: 2}
  - wait
  - {key: package, label: Package, command: make package, artifact_paths: "dist/*"}
  - block: "Release to production?"
    key: release
    prompt: Look at the numbers first.
    fields:
      - {select: Where to, key: where, options: [{label: Europe, value: eu}, {label: America, value: us}]}
      - {text: Why, key: why, required: false}
"""
LOG = (
    b"~~~ Preparing\n$ git checkout 4f2a9c1\n--- Running tests\n\x1b[32mok\x1b[0m   test_sign    0.12s\n"
    b"\x1b[31mFAIL\x1b[0m test_verify  0.40s\n  expected 3 keys, found 2\n+++ Summary\n1 failed, 41 passed\n"
)
PHONE, DESK = 390, 1280


class View(NamedTuple):
    """A page in one of its states.

    Parameters:
        waits: what is there once it is whole, where that comes later than the page.
    """

    name: str
    path: str
    stranger: bool = False
    waits: str = ""


VIEWS = (
    View("dashboard", "/"),
    View("pipeline", "/local/app"),
    View("pipeline-filtered", "/local/app?state=canceled"),
    View("pipeline-empty", "/local/empty"),
    View("build-passed", "/local/widgets/builds/1#pin=THUMBPRINT"),
    View("build-failed", "/local/app/builds/1"),
    View("build-blocked", "/local/app/builds/2"),
    View("build-running", "/local/app/builds/4"),
    View("build-table", "/local/app/builds/1?view=table"),
    View("build-graph", "/local/app/builds/2?view=graph"),
    View("build-waterfall", "/local/app/builds/2?view=waterfall"),
    View("build-annotations", "/local/app/builds/2/annotations"),
    View("build-artifacts", "/local/app/builds/2/artifacts"),
    View("build-trust", "/local/widgets/builds/1/trust#pin=THUMBPRINT"),
    View("job-log", "/local/app/builds/1/jobs/FAILED", waits=".l"),
    View("job-running", "/local/app/builds/4/jobs/RUNNING", waits=".l"),
    View("job-environment", "/local/app/builds/1/jobs/FAILED/environment"),
    View("job-timeline", "/local/app/builds/1/jobs/FAILED/timeline"),
    View("job-artifacts", "/local/app/builds/2/jobs/PACKAGED/artifacts"),
    View("job-trust", "/local/widgets/builds/1/jobs/SIGNED/trust#pin=THUMBPRINT"),
    View("job-refused", "/local/app/builds/3/jobs/REFUSED"),
    View("job-block", "/local/app/builds/2/jobs/BLOCKED"),
    View("agents", "/local/agents"),
    View("keys", "/local/keys"),
    View("key", "/local/keys?key=THUMBPRINT"),
    View("settings-general", "/local/app/settings"),
    View("settings-steps", "/local/app/settings/steps"),
    View("settings-signing", "/local/app/settings/signing"),
    View("organization", "/local/settings"),
    View("members", "/local/settings/members"),
    View("tokens", "/local/settings/tokens"),
    View("changes", "/local/settings/changes"),
    View("account", "/account"),
    View("as-a-stranger", "/local/widgets?as=anonymous"),
    View("sign-in", "/sign-in", stranger=True),
    View("welcome", "/welcome#x", stranger=True),
    View("public-dashboard", "/", stranger=True),
    View("public-build", "/local/widgets/builds/1", stranger=True),
    View("public-log", "/local/widgets/builds/1/jobs/SIGNED", stranger=True, waits=".l"),
    View("nothing-to-see", "/local/app", stranger=True),
)


class Everything(NamedTuple):
    """A server with all of it, and people who look."""

    stage: Stage
    ids: dict[str, str]

    def path(self, view: View) -> str:
        path = view.path
        for name, job_id in self.ids.items():
            path = path.replace(name, job_id)
        return path


@pytest.fixture(scope="module")
def everything(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Everything]:
    with trust_scene(tmp_path_factory.mktemp("scene")) as scene:
        stage = Stage(scene.running, browser)
        try:
            yield Everything(stage, play(scene))
        finally:
            stage.close()


def play(scene: Scene) -> dict[str, str]:
    """Builds in every state, and something on every page; returns the ids of the jobs that views name."""
    api = scene.api
    api.rest("PATCH", "", {"public_pipelines": True})
    api.rest("PATCH", "/pipelines/widgets", {"visibility": "public", "public_since": "all"})
    api.rest("POST", "/keys", {"jwks": {"keys": [scene.public]}})
    api.create_pipeline("steps: [{command: make}]", "empty")
    api.create_pipeline(STEPS.replace("QUEUE", "app"), "app")
    agent = FakeAgent(api, "queue=app", "os=linux", name="linux-2")

    def build(message: str) -> dict[str, Any]:
        commit = "4f2a9c1" + "0" * 33
        return api.create_build("app", message=message, commit=commit, branch="main", author={"name": "A developer"})

    build("Verify with three keys")
    agent.run(0, b"all good\n")
    failed = agent.run(1, LOG)
    agent.run(0, b"all good\n")

    build("Package for release")
    for _ in range(3):
        agent.run(0, LOG.replace(b"1 failed, 41 passed", b"42 passed"))
    packaged = agent.take()
    upload(packaged, "dist/widgets-1.0.tar.gz", b"x" * 5000)
    upload(packaged, "dist/SHA256SUMS", b"y" * 80)
    note = "**42 tests** passed in 3.1 s\n\n| suite | tests |\n| --- | --- |\n| unit | 40 |\n| end to end | 2 |\n"
    packaged.call("POST", "/annotations", {"body": note, "context": "tests", "style": "success"})
    packaged.call("POST", "/annotations", {"body": "Coverage fell to 81 %.", "context": "cover", "style": "warning"})
    packaged.finish(0)

    build("Not what was signed")
    refused = agent.run(
        -1,
        signal_reason="signature_rejected",
        refusal={
            "code": "signature.mismatch",
            "message": "the command differs from the one that was signed",
            "fields": ["command"],
            "evidence": {"signed": "sha256:5f1d", "sent": "sha256:9ab0"},
        },
    )
    agent.run(0, b"all good\n")
    agent.run(0, b"all good\n")

    build("Try the new queue")
    running = agent.take()
    running.chunk(1, 0, LOG)
    blocked = next(job for job in api.build(2, "app")["jobs"] if job["type"] == "manual")
    return {
        "FAILED": failed.id,
        "PACKAGED": packaged.id,
        "RUNNING": running.id,
        "REFUSED": refused.id,
        "BLOCKED": blocked["id"],
        "THUMBPRINT": scene.thumbprint,
        "SIGNED": scene.job("lint")["id"],
    }


@pytest.mark.parametrize("view", VIEWS, ids=[view.name for view in VIEWS])
def test_page_is_for_everybody(everything: Everything, view: View) -> None:
    stage = everything.stage
    size = {"viewport": {"width": DESK, "height": 800}, "reduced_motion": "reduce"}
    with stage.stranger(**size) if view.stranger else stage.owner(**size) as visitor:
        look(visitor, everything.path(view), view)


def look(visitor: Visitor, path: str, view: View) -> None:
    name = view.name
    page = visitor.visit(path)
    come_to_rest(page, view.waits)
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        for width in (DESK, PHONE):
            page.set_viewport_size({"width": width, "height": 800})
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, f"{name} reaches {wide - width} pixels out of a page of {width}"
            if (theme, width) in (("light", DESK), ("dark", PHONE)):  # each of both once
                found = Axe().run(page, options={"resultTypes": ["violations"]})
                assert found.violations_count == 0, f"{name}, {theme}, {width}: {found.generate_report()}"
            keep_picture(page, f"{name}-{theme}-{width}")


def come_to_rest(page: Page, waits: str) -> None:
    """Wait until the page is whole: nothing is loading, signatures are checked, and what comes later is there."""
    expect(page.locator("[aria-busy]")).to_have_count(0)
    expect(page.get_by_text("Checking the signature")).to_have_count(0)
    bar = page.locator("main > .trust-bar")
    if bar.count() > 0:
        expect(bar).not_to_be_empty()
    if waits:
        expect(page.locator(waits).first).to_be_visible()


def keep_picture(page: Page, name: str) -> None:
    folder = os.environ.get("PIPESEAL_SCREENSHOTS")
    if folder:
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        browser = page.context.browser
        assert browser is not None
        with browser.new_context() as context:
            (target / f"{name}.png").write_bytes(with_palette(page.screenshot(), context.new_page()))


def test_pictures_of_the_documentation_are_small_and_of_pages_that_there_are() -> None:
    folder = Path(__file__).parents[2] / "docs" / "screenshots"
    themes, widths = ("light", "dark"), (DESK, PHONE)
    wanted = {f"{view.name}-{theme}-{width}.png" for view in VIEWS for theme in themes for width in widths}
    found = {path.name: path.stat().st_size for path in folder.glob("*.png")}
    assert set(found) == wanted
    assert {name: size for name, size in found.items() if size > 60_000} == {}

"""The site in a browser: accessible, no wider than the window, in light and dark, with nothing from elsewhere."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from docs.build_site import build_site

from .pages import ROOT

pytestmark = pytest.mark.peer("chromium")
# How long a busy machine may take; nothing is waited for longer than it takes.
PATIENCE_MILLISECONDS = 60_000
expect.set_options(timeout=PATIENCE_MILLISECONDS)

LOOKS: tuple[tuple[Literal["light", "dark"], int], ...] = (("light", 1280), ("dark", 360))
# As strict as a server can be: files of its own alone, and nothing from inside of a page.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site") / "site"
    build_site(ROOT, folder)
    return folder


class _Strict(SimpleHTTPRequestHandler):
    def end_headers(self) -> None:
        self.send_header("Content-Security-Policy", POLICY)
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def served(site: Path) -> Iterator[str]:
    """The site's address on a server with a strict policy."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Strict, directory=str(site)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def check(page: Page, what: str) -> None:
    """Nothing that keeps somebody out, at both widths and in both themes."""
    for theme, width in LOOKS:
        page.emulate_media(color_scheme=theme)
        page.set_viewport_size({"width": width, "height": 800})
        found = Axe().run(page, options={"resultTypes": ["violations"], "preload": False})
        assert found.violations_count == 0, found.generate_report()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{what} at {width}"


def test_pages_are_accessible_in_light_and_dark_and_on_a_phone(site: Path, browser: Browser) -> None:
    asked: list[str] = []
    with browser.new_context() as context:
        context.set_default_timeout(PATIENCE_MILLISECONDS)
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        for name in ("signed-pipelines", "tutorials/five-minutes", "how-to/policy-recipes", "security/browser"):
            page.goto((site / f"{name}.html").as_uri())
            check(page, name)
    assert {url.partition(":")[0] for url in asked} == {"file"}


@pytest.mark.parametrize("where", ["disk", "server"])
def test_search_finds_sections_from_a_disk_and_under_a_strict_policy(
    site: Path, served: str, browser: Browser, where: str
) -> None:
    root = site.as_uri() if where == "disk" else served
    problems: list[str] = []
    with browser.new_context() as context:
        context.set_default_timeout(PATIENCE_MILLISECONDS)
        page = context.new_page()
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(f"{root}/how-to/keys.html")
        field = page.get_by_role("searchbox", name="Search these pages")
        expect(field).to_be_visible()
        page.keyboard.press("/")
        expect(field).to_be_focused()
        expect(field).to_have_value("")
        page.keyboard.type("Signature.Mismatch")
        found = page.get_by_role("region", name="Found")
        first = found.get_by_role("link").first
        expect(first).to_contain_text("signature.mismatch: the step is not what was signed")
        expect(first.locator("mark")).to_have_text("signature.mismatch")
        expect(found.get_by_role("status")).to_contain_text("sections")
        check(page, "found")
        # Every word counts, in any order; what a page says is text.
        field.fill("elsewhere downloads led")
        expect(first).to_contain_text("I03: Downloads led elsewhere")
        page.keyboard.press("ArrowDown")
        expect(first).to_be_focused()
        page.keyboard.press("ArrowUp")
        expect(field).to_be_focused()
        page.keyboard.press("Enter")
        page.wait_for_url(f"{root}/security/attacks.html#i03-downloads-led-elsewhere")
        # In a field the key is a character like others; and it can be switched off.
        field.fill("<img src=x onerror=alert(1)>")
        expect(found.get_by_role("status")).to_have_text("Nothing has all of these words.")
        page.keyboard.press("/")
        expect(field).to_have_value("<img src=x onerror=alert(1)>/")
        page.keyboard.press("Escape")
        expect(found).to_be_hidden()
        expect(field).to_have_value("")
        field.fill("seal")
        found.get_by_label("The key / begins a search").uncheck()
        page.keyboard.press("Escape")
        page.reload()
        page.locator("h1").click()
        page.keyboard.press("/")
        expect(field).not_to_be_focused()
    assert problems == []


def test_without_scripts_there_is_no_search_and_everything_else(site: Path, browser: Browser) -> None:
    with browser.new_context(java_script_enabled=False) as context:
        context.set_default_timeout(PATIENCE_MILLISECONDS)
        page = context.new_page()
        page.goto((site / "index.html").as_uri())
        expect(page.get_by_role("heading", name="Pipeseal", level=1)).to_be_visible()
        expect(page.locator("input[type=search]")).to_be_hidden()
        expect(page.get_by_role("navigation", name="Pages").get_by_role("link").first).to_be_visible()

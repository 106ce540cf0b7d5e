"""The site in a browser: accessible, no wider than the window, in light and dark, with nothing from elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser

from docs.build_site import build_site

from .pages import ROOT

LOOKS: tuple[tuple[Literal["light", "dark"], int], ...] = (("light", 1280), ("dark", 360))


@pytest.mark.peer("chromium")
def test_pages_are_accessible_in_light_and_dark_and_on_a_phone(tmp_path: Path, browser: Browser) -> None:
    assert build_site(ROOT, tmp_path / "site") == []
    asked: list[str] = []
    with browser.new_context() as context:
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        for name in ("signed-pipelines", "tutorials/five-minutes", "how-to/policy-recipes"):
            page.goto((tmp_path / "site" / f"{name}.html").as_uri())
            for theme, width in LOOKS:
                page.emulate_media(color_scheme=theme)
                page.set_viewport_size({"width": width, "height": 800})
                found = Axe().run(page, options={"resultTypes": ["violations"]})
                assert found.violations_count == 0, found.generate_report()
                assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{name} at {width}"
    assert {url.partition(":")[0] for url in asked} == {"file"}

"""A server with somebody signed in at its pages, shared by the tests of a module."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page

from pipeseal.controlplane.services.accounts import make_first_link
from tests.controlplane.running import QUICK, Api, RunningServer, running_server
from tests.web.conftest import PASSWORD, Visitor

_AXE: dict[str, Any] = {"resultTypes": ["violations"]}
# The theme changes colours and nothing else: in the second one the rules about those are asked again.
_AXE_COLOURS = {**_AXE, "runOnly": {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}}


class Stage:
    """A server and a browser, and somebody who made the first account."""

    def __init__(self, running: RunningServer, browser: Browser) -> None:
        self.running = running
        self.api: Api = running.api
        self._browser = browser
        self._contexts: list[BrowserContext] = []
        self._names = 0
        first = self._visitor()
        page = first.visit(f"/welcome#{make_first_link(running.plane)}")
        page.get_by_label("Your name").fill("The owner")
        page.get_by_label("Email").fill("owner@example.org")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Make the account").click()
        page.wait_for_url(running.api.url + "/")
        first.settle()
        self._state: Any = first.page.context.storage_state()

    def _visitor(self, **options: Any) -> Visitor:
        context = self._browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
        self._contexts.append(context)
        return Visitor(context, self.api.url)

    @contextmanager
    def owner(self, **options: Any) -> Iterator[Visitor]:
        """Somebody who may do everything. Nothing may go wrong on any of their pages."""
        yield from self._checked(self._visitor(storage_state=self._state, **options))

    @contextmanager
    def stranger(self, **options: Any) -> Iterator[Visitor]:
        """Somebody nobody knows."""
        yield from self._checked(self._visitor(**options))

    def _checked(self, visitor: Visitor) -> Iterator[Visitor]:
        yield visitor
        visitor.page.context.close()
        problems = [problem for problem in visitor.problems if "status of 40" not in problem]
        assert not problems, problems

    def build(self, steps: str, **body: Any) -> tuple[str, dict[str, Any], str]:
        """A pipeline of its own with one build, whose jobs no other test's agents take.

        Parameters:
            steps: YAML of the pipeline, where `QUEUE` stands for its queue.

        Returns:
            The build's address, the build, and the tag of agents for it.
        """
        self._names += 1
        slug = f"p{self._names}"
        self.api.create_pipeline(f"agents: {{queue: {slug}}}\n{steps}", slug)
        build = self.api.create_build(slug, **{"message": "try it", "commit": "a" * 40, "branch": "main", **body})
        return f"/local/{slug}/builds/{build['number']}", build, f"queue={slug}"

    def close(self) -> None:
        """End what is still open."""
        for context in self._contexts:
            context.close()


@contextmanager
def open_stage(folder: Path, browser: Browser) -> Iterator[Stage]:
    """A stage."""
    settings = replace(QUICK, limits=replace(QUICK.limits, max_jobs_per_upload=5000, max_jobs_per_build=5000))
    with running_server(folder / "data", settings) as running:
        stage = Stage(running, browser)
        try:
            yield stage
        finally:
            stage.close()


def check_accessible(page: Page, *, narrow: bool = True) -> None:
    """Nothing on the page is against the rules that axe knows, light and dark; nothing reaches out of it sideways.

    Parameters:
        narrow: look at it as wide as a phone too.
    """
    for theme, options in (("light", _AXE), ("dark", _AXE_COLOURS)):
        page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]  # a word of the two
        found = Axe().run(page, options=options)
        assert found.violations_count == 0, found.generate_report()
    for width in (390, 1280) if narrow else (1280,):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"it is wider than {width}"


def wait_until(page: Page, expression: str, seconds: float = 60) -> None:
    """Wait until an expression holds on the page, whose policy lets nothing there evaluate text by itself."""
    deadline = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, f"never came: {expression}"
        page.wait_for_timeout(20)

"""A real browser at the pages of a real server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from pipeseal.controlplane.services.accounts import make_first_link
from tests.controlplane.running import QUICK, RunningServer, running_server

PASSWORD = "correct horse battery"
# How long anything on a page may take, on a machine that has much else to do.
PATIENCE_MILLISECONDS = 60_000
expect.set_options(timeout=PATIENCE_MILLISECONDS)


class Visitor:
    """Somebody at a browser. Whatever goes wrong on a page, in its console or with its policy, fails the test.

    Parameters:
        context: of the browser, with cookies of its own.
        url: of the server.
    """

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.page: Page = context.new_page()
        self.page.set_default_timeout(PATIENCE_MILLISECONDS)
        self.url = url
        self.problems: list[str] = []
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("console", lambda said: self.problems.append(said.text) if said.type == "error" else None)

    def visit(self, path: str) -> Page:
        """Go to a page, and wait until it is whole."""
        self.page.goto(self.url + path)
        return self.settle()

    def settle(self) -> Page:
        """Wait until the page is whole."""
        self.page.wait_for_selector("main:not([aria-busy])")
        return self.page


@pytest.fixture
def running(tmp_path: Path) -> Iterator[RunningServer]:
    """A control plane."""
    with running_server(tmp_path / "data", QUICK) as server:
        yield server


@pytest.fixture
def visitors(browser: Browser, running: RunningServer) -> Iterator[Callable[..., Visitor]]:
    """Makes visitors; each has a browser of their own, and nothing may have gone wrong on any of their pages."""
    made: list[Visitor] = []
    with ExitStack() as stack:

        def make(**options: object) -> Visitor:
            context = browser.new_context(viewport={"width": 1280, "height": 800}, **options)  # type: ignore[arg-type]  # whatever a test chooses
            stack.callback(context.close)
            made.append(Visitor(context, running.api.url))
            return made[-1]

        yield make
        problems = [problem for visitor in made for problem in visitor.problems if "status of 40" not in problem]
        assert not problems


@pytest.fixture
def owner(visitors: Callable[..., Visitor], running: RunningServer) -> Visitor:
    """Somebody who made the first account."""
    visitor = visitors()
    page = visitor.visit(f"/welcome#{make_first_link(running.plane)}")
    page.get_by_label("Your name").fill("The owner")
    page.get_by_label("Email").fill("owner@example.org")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Make the account").click()
    page.wait_for_url(running.api.url + "/")
    visitor.settle()
    return visitor

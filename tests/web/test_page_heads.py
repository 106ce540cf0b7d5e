"""Dashboard, build and log page as programs that rate pages see them: accessible, quiet, with what heads are for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage

from tests.controlplane.running import FakeAgent
from tests.web.build_stage import Stage, open_stage

pytestmark = pytest.mark.peer("chromium")

HEAD = """() => ({
    language: document.documentElement.lang,
    title: document.title,
    names: Object.fromEntries([...document.querySelectorAll("meta[name]")].map((one) => [one.name, one.content])),
    charset: document.characterSet,
    headings: document.querySelectorAll("h1").length,
    unlabelled: [...document.querySelectorAll("iframe:not([title]), img:not([alt])")].length,
})"""


class Places(NamedTuple):
    """A server with one build that ran, and where its pages are."""

    stage: Stage
    paths: dict[str, str]


@pytest.fixture(scope="module")
def places(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    with open_stage(tmp_path_factory.mktemp("heads"), browser) as stage:
        path, build, tag = stage.build("steps:\n  - {label: test, command: make}\n")
        FakeAgent(stage.api, tag).run(0, b"--- Tests\n\x1b[32mok\x1b[0m one\n")
        yield Places(stage, {"dashboard": "/", "build": path, "log": f"{path}/jobs/{build['jobs'][0]['id']}"})


@pytest.mark.parametrize("name", ["dashboard", "build", "log"])
def test_page_is_accessible_and_quiet_and_says_what_it_is(places: Places, name: str) -> None:
    with places.stage.owner() as owner:
        page = owner.page
        said: list[str] = []

        def note(message: ConsoleMessage) -> None:
            if message.type in ("error", "warning"):
                said.append(message.text)

        page.on("console", note)
        failed: list[str] = []
        page.on("response", lambda answer: failed.append(answer.url) if answer.status >= 400 else None)
        owner.visit(places.paths[name])
        if name == "log":
            page.get_by_text("ok one").wait_for(timeout=60_000)
        # Every rule that axe has, those that are only advice among them.
        assert Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"] == []
        head = page.evaluate(HEAD)
        assert (head["language"], head["charset"], head["headings"], head["unlabelled"]) == ("en", "UTF-8", 1, 0)
        assert head["title"].endswith(" · Pipeseal")
        assert head["title"] != " · Pipeseal"
        assert head["names"]["viewport"] == "width=device-width, initial-scale=1"
        assert 50 <= len(head["names"]["description"]) <= 160
        assert head["names"]["robots"] == "noindex, nofollow"
        assert (said, failed) == ([], [])

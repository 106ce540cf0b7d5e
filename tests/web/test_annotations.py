"""Annotations in a real browser: drawn as they should be, and whatever a job writes runs nothing and reaches nothing.

The attacks are tried twice: as jobs write them, and as if the sanitiser had let all of it through, so that only the
frame's sandbox and its policy are in their way.
"""

from __future__ import annotations

import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Frame, Page, expect

from pipeseal.controlplane.domain.annotation_html import WIDTHS, AnnotationHtml
from pipeseal.controlplane.http import annotations as shown
from tests.controlplane.job_side import upload
from tests.controlplane.running import FakeAgent, FakeJob
from tests.web.build_stage import Stage, check_accessible, open_stage, wait_until

pytestmark = pytest.mark.peer("chromium")

STEPS = "steps:\n  - {label: writer, command: make}\n"


def png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = (b"\0" + b"\x20\x90\x40" * width) * height
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


class Elsewhere:
    """Somebody else's server, which notes who asked for what."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.asked: list[tuple[str, str | None]] = []

    @property
    def paths(self) -> list[str]:
        return [path for path, _ in self.asked]


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    found: list[Elsewhere] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found[0].asked.append((self.path, self.headers["Referer"]))
            is_picture = self.path.endswith(".png")
            kind, content = ("image/png", png(3, 2)) if is_picture else ("text/html", b"<p>elsewhere</p>")
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    found.append(Elsewhere(f"http://127.0.0.1:{server.server_port}"))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield found[0]
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def stage(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with open_stage(tmp_path_factory.mktemp("annotations"), browser) as made:
        yield made


def written(stage: Stage, body: str, context: str = "note", **more: Any) -> tuple[str, FakeJob]:
    """A build with an annotation: the address of its page, and the job."""
    path, _, tag = stage.build(STEPS)
    job = FakeAgent(stage.api, tag).take()
    assert job.call("POST", "/annotations", {"body": body, "context": context, **more}).status == 200
    return path + "/annotations", job


def frame_of(page: Page) -> Frame:
    """The first annotation's document, all of it there."""
    handle = page.locator("iframe.annotation-frame").first.element_handle(timeout=60_000)
    frame = handle.content_frame()
    assert frame is not None
    frame.wait_for_selector("main", timeout=60_000, state="attached")
    frame.wait_for_load_state("load", timeout=60_000)
    return frame


def only_its_own(problems: list[str]) -> None:
    """Forget what the browser refused to the program that clicks for us: in such a frame it runs nothing either."""
    problems[:] = [problem for problem in problems if not problem.startswith("Blocked script execution in ")]


def nobody_else_was_asked(page: Page, elsewhere: Elsewhere) -> None:
    """Whatever was on its way to elsewhere has come: a request that is made last is there, and it is the only one."""
    last = page.context.new_page()
    last.goto(f"{elsewhere.url}/last")
    assert [path for path in elsewhere.paths if path != "/favicon.ico"] == ["/last"]
    last.close()


def test_markdown_is_drawn_in_a_frame_that_says_who_wrote_it(stage: Stage) -> None:
    body = (
        "# Results\n\n- [x] **12** passed, *1* ~~skipped~~\n\n| name | time |\n|---|--:|\n| one | 1s |\n\n"
        "<details><summary>More</summary>\n\nhidden\n\n</details>\n\n![chart](artifact://out/chart.png) "
        "[report](artifact://out/report.txt)\n"
    )
    path, job = written(stage, body, "tests", style="error")
    upload(job, "out/chart.png", png(40, 20))
    upload(job, "out/report.txt", b"the report")
    stage.api.rest("POST", f"/pipelines{path.removeprefix('/local')}", {"body": "by hand", "context": "other"})
    with stage.owner() as owner:
        page = owner.visit(path)
        expect(page.locator(".annotation")).to_have_count(2)
        first, second = page.locator(".annotation").all()
        expect(first.locator(".annotation-by")).to_contain_text("error tests: written by job writer, the server says")
        expect(second.locator(".annotation-by")).to_contain_text("written by a job of this build, or through the API")
        frame = frame_of(page)
        expect(frame.get_by_role("heading", name="Results")).to_be_visible()
        expect(frame.locator("li")).to_have_text("☑ 12 passed, 1 skipped")
        expect(frame.locator("td")).to_have_text(["one", "1s"])
        expect(frame.get_by_text("hidden")).to_be_hidden()
        frame.get_by_text("More").click()
        expect(frame.get_by_text("hidden")).to_be_visible()
        assert frame.locator("img").evaluate("(image) => image.decode().then(() => image.naturalWidth)") == 40
        with page.expect_download() as download:
            frame.get_by_role("link", name="report").click()
        assert Path(download.value.path()).read_bytes() == b"the report"
        only_its_own(owner.problems)
        check_accessible(page)


def test_frame_follows_the_theme_and_is_as_high_as_its_text(stage: Stage) -> None:
    path, job = written(stage, "One line.")
    assert job.call("POST", "/annotations", {"body": "word " * 5000, "context": "z-long"}).status == 200
    with stage.owner(color_scheme="light") as owner:
        page = owner.visit(path)
        ground = "getComputedStyle(document.body).backgroundColor"
        assert frame_of(page).evaluate(ground) == "rgb(255, 255, 255)"
        assert frame_of(page).evaluate("document.documentElement.scrollHeight <= innerHeight")
        expect(page.locator("iframe")).to_have_count(2)
        heights = page.locator("iframe").evaluate_all("(frames) => frames.map((frame) => frame.clientHeight)")
        assert heights[0] < 80 < heights[1] == 760
        page.get_by_role("button", name="Theme").click()
        page.get_by_role("button", name="Theme").click()
        wait_until(page, "document.documentElement.dataset.theme === 'dark'", 60)
        expect(page.frame_locator("iframe >> nth=0").locator("html[data-theme=dark]")).to_be_attached(timeout=60_000)


def test_pictures_from_elsewhere_are_loaded_when_the_reader_asks(stage: Stage, elsewhere: Elsewhere) -> None:
    path, _ = written(stage, f"![shot]({elsewhere.url}/shot.png)")
    with stage.owner() as owner:
        page = owner.visit(path)
        frame = frame_of(page)
        assert frame.locator("img").count() == 0
        assert elsewhere.asked == []
        frame.get_by_role("link", name="Load them").click()
        picture = page.frame_locator("iframe").locator("img")
        picture.wait_for(timeout=60_000)
        assert picture.evaluate("(image) => image.decode().then(() => image.naturalWidth)") == 3
        assert elsewhere.asked == [("/shot.png", None)]
        only_its_own(owner.problems)


def test_link_opens_a_tab_that_knows_nothing_of_the_page(stage: Stage, elsewhere: Elsewhere) -> None:
    path, _ = written(stage, f"[out]({elsewhere.url}/out)")
    with stage.owner() as owner:
        page = owner.visit(path)
        with page.expect_popup(timeout=60_000) as popup:
            frame_of(page).get_by_role("link", name="out").click()
        popup.value.wait_for_load_state(timeout=60_000)
        assert popup.value.evaluate("[window.opener, window.name, document.referrer]") == [None, "", ""]
        assert ("/out", None) in elsewhere.asked
        assert page.url == stage.api.url + path
        only_its_own(owner.problems)


HOSTILE = """
<script>parent.document.title = "taken"; top.location = "ELSEWHERE/script-top"; fetch("ELSEWHERE/script")</script>
<script src="ELSEWHERE/script.js"></script>
<img src="ELSEWHERE/picture.png" onerror="new Image().src = 'ELSEWHERE/on-error.png'">
<svg onload="fetch('ELSEWHERE/svg')"><image href="ELSEWHERE/svg.png" /><use href="ELSEWHERE/use.svg#a" /></svg>
<style>@import "ELSEWHERE/import.css"; body { background: url(ELSEWHERE/style.png) }</style>
<link rel="stylesheet" href="ELSEWHERE/link.css"><link rel="prefetch" href="ELSEWHERE/prefetch">
<div id="over" style="position: fixed; inset: 0; background: url(ELSEWHERE/inline.png)">All signatures verified</div>
<meta http-equiv="refresh" content="0;url=ELSEWHERE/refresh">
<base href="ELSEWHERE/base/"><img src="relative.png">
<iframe src="ELSEWHERE/frame"></iframe><iframe srcdoc="<script>top.location = 'ELSEWHERE/srcdoc'</script>"></iframe>
<object data="ELSEWHERE/object"></object><embed src="ELSEWHERE/embed">
<video src="ELSEWHERE/video" poster="ELSEWHERE/poster.png" autoplay></video>
<audio src="ELSEWHERE/audio" autoplay></audio>
<form action="ELSEWHERE/form" method="post"><input name="a" value="b" autofocus><button>Send</button></form>
<a href="javascript:fetch('ELSEWHERE/javascript')">script</a>
<a href="ELSEWHERE/top" target="_top">top</a> <a href="ELSEWHERE/parent" target="_parent">parent</a>
<a href="ELSEWHERE/here" target="_self">here</a>
<input type="image" src="ELSEWHERE/input.png" onfocus="fetch('ELSEWHERE/focus')" autofocus>
"""


def test_hostile_text_is_text(stage: Stage, elsewhere: Elsewhere) -> None:
    path, _ = written(stage, HOSTILE.replace("ELSEWHERE", elsewhere.url))
    with stage.owner() as owner:
        page = owner.visit(path)
        frame = frame_of(page)
        found = frame.evaluate("[...document.querySelectorAll('body *')].map((element) => element.localName)")
        assert set(found) <= {"main", "div", "p", "a"}
        expect(frame.locator("main")).to_contain_text("<script>parent.document.title")
        expect(frame.locator("main")).to_contain_text("<iframe src=")
        # The addresses that stood in it are links at most, and each opens a tab of its own.
        targets = frame.locator("main a[href]").evaluate_all("(links) => links.map((link) => link.target)")
        assert set(targets) == {"_blank"}
        nobody_else_was_asked(page, elsewhere)


@contextmanager
def hole(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A sanitiser that lets everything through."""
    with monkeypatch.context() as patch:
        patch.setattr(shown, "_KEPT", shown._Kept())
        patch.setattr(
            shown,
            "render_annotation",
            lambda text, *, pictures=False: AnnotationHtml(text, (), (), (5,) * len(WIDTHS)),
        )
        yield


def test_frame_holds_what_a_sanitiser_lets_through(
    stage: Stage, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hole(monkeypatch), stage.owner() as owner:
        path, _ = written(stage, HOSTILE.replace("ELSEWHERE", elsewhere.url))
        page = owner.visit(path)
        title = page.title()
        frame = frame_of(page)
        # It is there as it was written, so what follows is the frame's doing alone.
        assert frame.locator("main script, main form, main iframe, main base").count() == 6
        over = "getComputedStyle(document.getElementById('over')).position"
        assert frame.evaluate(f"[origin, {over}]") == ["null", "static"]
        # Forms and ways out of the frame; after the last the frame shows that the page does not let it go there.
        with page.expect_event("framenavigated", lambda one: one.parent_frame == page.main_frame, timeout=60_000):
            frame.evaluate("""() => {
                document.querySelector("form button").click();
                for (const link of document.querySelectorAll("main > a")) link.click();
            }""")
        # What was clicked led nowhere, or to a page that says that it is not shown.
        nobody_else_was_asked(page, elsewhere)
        assert (page.url, page.title()) == (stage.api.url + path, title)
        expect(page.locator("#trust")).to_contain_text("not signed")
        assert any("sandboxed" in problem or "Content Security Policy" in problem for problem in owner.problems)
        owner.problems.clear()  # the browser's word for what it refused is what was wanted here


def test_link_that_asks_for_its_opener_does_not_get_it(
    stage: Stage, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hole(monkeypatch), stage.owner() as owner:
        path, _ = written(stage, f'<a href="{elsewhere.url}/out" target="_blank" rel="opener">out</a>')
        page = owner.visit(path)
        with page.expect_popup(timeout=60_000) as popup:
            frame_of(page).get_by_role("link", name="out").click()
        popup.value.wait_for_load_state(timeout=60_000)
        assert popup.value.evaluate("window.opener") is None
        only_its_own(owner.problems)


def test_nothing_of_the_reader_goes_along(stage: Stage, elsewhere: Elsewhere) -> None:
    path, job = written(stage, "![chart](artifact://chart.png)")
    upload(job, "chart.png", png(4, 4))
    with stage.owner() as owner:
        page = owner.visit(path)
        frame_of(page)
        # The picture was asked for by a document with no origin, so without the session that the page has.
        with page.expect_response(lambda answer: "/pictures/" in answer.url, timeout=60_000) as asked:
            page.reload()
        assert asked.value.status == 200
        assert "cookie" not in asked.value.request.all_headers()
        assert page.context.cookies()


def test_document_alone_is_as_harmless(stage: Stage, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch) -> None:
    with hole(monkeypatch), stage.owner() as owner:
        path, _ = written(stage, HOSTILE.replace("ELSEWHERE", elsewhere.url))
        (one,) = stage.api.rest("GET", f"/pipelines{path.removeprefix('/local')}").json
        page = owner.page
        page.goto(one["frame"]["url"])
        assert page.evaluate("origin") == "null"
        nobody_else_was_asked(page, elsewhere)
        assert urlsplit(page.url).path == urlsplit(one["frame"]["url"]).path
        owner.problems.clear()  # as above


def test_a_stranger_sees_annotations_of_a_public_pipeline(stage: Stage) -> None:
    path, _ = written(stage, "**seen**")
    slug = path.split("/")[2]
    stage.api.rest("PATCH", "", {"public_pipelines": True})
    with stage.stranger() as stranger:
        page = stranger.visit(path)
        expect(page.locator("iframe")).to_have_count(0)
    public = {"visibility": "public", "public_since": "all"}
    assert stage.api.rest("PATCH", f"/pipelines/{slug}", public).status == 200
    with stage.stranger() as stranger:
        page = stranger.visit(path)
        expect(frame_of(page).locator("strong")).to_have_text("seen")
        check_accessible(page)
    with stage.owner() as owner:
        page = owner.visit(path + "?as=anonymous")
        expect(frame_of(page).locator("strong")).to_have_text("seen")

"""Logs in the browser: as they come, as text, with groups, times, links to lines and search; small and large."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.controlplane.job_side import upload
from tests.controlplane.running import FakeAgent, FakeJob, until
from tests.web.build_stage import Stage, check_accessible, open_stage, wait_until

pytestmark = pytest.mark.peer("chromium")

ONE = "steps:\n  - {label: only, command: make}\n"
# The smallest PNG there is.
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c4944415408d763f8cfc0000003010100"
    "18dd8db00000000049454e44ae426082"
)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[Stage]:
    with open_stage(tmp_path_factory.mktemp("stage"), browser) as stage:
        yield stage


def begin(stage: Stage) -> tuple[str, FakeJob]:
    """A job that runs, and the address of its page."""
    path, build, tag = stage.build(ONE)
    job = FakeAgent(stage.api, tag).take()
    return f"{path}/jobs/{build['jobs'][0]['id']}", job


def finished(stage: Stage, log: bytes, exit_status: int = 0) -> str:
    """The address of the page of a job that ended, and printed `log`."""
    path, job = begin(stage)
    at = 0
    for sequence, start in enumerate(range(0, len(log), 1 << 20), 1):
        piece = log[start : start + (1 << 20)]
        assert job.chunk(sequence, at, piece).status == 200
        at += len(piece)
    assert job.finish(exit_status).status == 200
    return path


def lines(page: Page) -> list[str]:
    texts: list[str] = page.locator(".log-box .l:visible").all_inner_texts()
    return texts


def loaded(page: Page) -> Page:
    page.wait_for_selector(".log[data-state=loaded]")
    return page


def test_lines_come_while_the_job_runs(stage: Stage) -> None:
    path, job = begin(stage)
    assert job.chunk(1, 0, b"first\nprogress 1%").status == 200
    with stage.owner() as owner:
        page = owner.visit(path)
        expect(page.locator(".l")).to_have_text(["first", "progress 1%"])
        assert job.chunk(2, 17, b"\rprogress 99%\nlast \xe2").status == 200
        expect(page.locator(".l")).to_have_text(["first", "progress 99%", "last "])
        assert job.chunk(3, 37, b"\x82\xac\n").status == 200
        expect(page.locator(".l")).to_have_text(["first", "progress 99%", "last €"])
        assert job.finish(0).status == 200
        loaded(page)
        expect(page.locator(".job-facts")).to_contain_text("passed")


def test_stream_that_breaks_goes_on_without_a_gap(stage: Stage) -> None:
    path, job = begin(stage)
    assert job.chunk(1, 0, b"one\n").status == 200
    asked: list[str] = []

    def unsteady(route: Route) -> None:
        asked.append(route.request.headers.get("last-event-id", ""))
        if len(asked) == 1:
            # Some of it comes, and then the connection ends.
            answer = route.fetch(url=route.request.url.replace("wait=300", "wait=0"))
            route.fulfill(response=answer)
        elif len(asked) == 2:
            route.abort()
        else:
            route.continue_()

    with stage.owner() as owner:
        owner.page.route("**/log/stream*", unsteady)
        page = owner.visit(path)
        expect(page.locator(".l")).to_have_text(["one"])
        assert job.chunk(2, 4, b"two\n").status == 200
        assert job.chunk(3, 8, b"three\n").status == 200
        expect(page.locator(".l")).to_have_text(["one", "two", "three"])
        assert asked[:3] == ["0", "4", "4"]
        assert job.finish(0).status == 200
        loaded(page)
        owner.problems[:] = [one for one in owner.problems if "ERR_FAILED" not in one]


def test_following_stops_when_the_reader_scrolls(stage: Stage) -> None:
    path, job = begin(stage)
    text = b"".join(b"line %d\n" % number for number in range(300))
    assert job.chunk(1, 0, text).status == 200
    at_end = "(box) => box.scrollHeight - box.scrollTop - box.clientHeight < 2"
    with stage.owner() as owner:
        page = owner.visit(path)
        box = page.locator(".log-box")
        wait_until(
            page, f"({at_end})(document.querySelector('.log-box')) && document.querySelectorAll('.l').length === 300"
        )
        box.hover()

        def is_at_the_top() -> bool:
            page.mouse.wheel(0, -2000)  # as readers do: until they are where they want to be
            return bool(box.evaluate("(box) => box.scrollTop") == 0)

        until(is_at_the_top, "the top of the log")
        assert job.chunk(2, len(text), b"more\nand more\n").status == 200
        pill = page.get_by_role("button", name="2 new lines")
        expect(pill).to_be_visible()
        assert box.evaluate("(box) => box.scrollTop") == 0
        pill.click()
        wait_until(page, f"({at_end})(document.querySelector('.log-box'))")
        expect(pill).to_be_hidden()
        assert job.chunk(3, len(text) + 14, b"x\n" * 100).status == 200
        expect(page.locator(".l")).to_have_count(402)
        wait_until(page, f"({at_end})(document.querySelector('.log-box'))")
        assert job.finish(0).status == 200


def test_job_cannot_draw_anything_but_text(stage: Stage) -> None:
    hostile = (
        b"<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>\n"
        b"\x1b]8;;javascript:document.title='taken'\x07click\x1b]8;;\x07\n"
        b"\x1b]1338;url=https://elsewhere.test/green.png;alt=verified\x07\n"
        b"+++ <b>heading</b>\n" + "safe\u202etxt.exe\n".encode()
    )
    path = finished(stage, hostile)
    with stage.owner() as owner:
        asked: list[str] = []
        owner.page.on("request", lambda request: asked.append(request.url))
        page = loaded(owner.visit(path))
        assert lines(page)[0].startswith("<img src=x")
        assert page.locator(".log-box img, .log-box script, .log-box b").count() == 0
        assert page.locator(".log-box a").evaluate_all("(links) => links.map((link) => link.href)") == [
            "https://elsewhere.test/green.png"
        ]
        expect(page.locator(".log-box a")).to_contain_text("(at elsewhere.test)")
        expect(page.get_by_role("heading", name="<b>heading</b>")).to_be_visible()
        assert lines(page)[-1] == "safe[U+202E]txt.exe"
        assert "taken" not in page.title()
        assert not [url for url in asked if "elsewhere" in url]


def test_groups_open_as_the_log_asks_and_as_the_reader_does(stage: Stage) -> None:
    log = b"before\n~~~ Preparing\nquiet\n--- One\nin one\n+++ Two\nin two\n--- Three\nin three\n^^^ +++\n"
    path = finished(stage, log)
    with stage.owner() as owner:
        page = loaded(owner.visit(path))
        assert lines(page) == ["before", "in two", "in three"]
        assert page.locator(".l").count() == 4  # what is folded has no elements
        page.get_by_role("button", name="One").click()
        expect(page.get_by_text("in one")).to_be_visible()
        page.keyboard.press("g")
        expect(page.locator(".l:visible")).to_have_text(["before"])
        page.keyboard.press("g")
        expect(page.locator(".l:visible")).to_have_text(["before", "quiet", "in one", "in two", "in three"])
        check_accessible(page)


def copied(page: Page, says: str) -> str:
    """What the page has just put where it can be pasted from."""
    wait_until(page, f"document.getElementById('status').textContent === {says!r}")
    text: str = page.evaluate("navigator.clipboard.readText()")
    return text


def digest(*texts: str) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]


def test_link_leads_to_lines_and_marks_them(stage: Stage) -> None:
    path = finished(
        stage, b"--- Group\n" + b"".join(b"line %d\n" % number for number in range(2, 2001)) + b"+++ Last\nend\n"
    )
    with stage.owner() as owner:
        page = loaded(owner.visit(path + "#L1500-L1502"))
        expect(page.locator(".l.on")).to_have_text(["line 1500", "line 1501", "line 1502"])
        expect(page.locator(".l.on").first).to_be_in_viewport()
        page.locator('.l[data-n="1498"]').click(position={"x": 10, "y": 8})
        page.locator('.l[data-n="1499"]').click(position={"x": 10, "y": 8}, modifiers=["Shift"])
        assert page.url.endswith("#L1498-L1499")
        expect(page.locator(".l.on")).to_have_count(2)
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page.keyboard.press("y")
        assert copied(page, "The link is copied") == f"{page.url}&h={digest('line 1498', 'line 1499')}"
        page.keyboard.press("Escape")
        expect(page.locator(".l.on")).to_have_count(0)
        owner.visit("/")
        loaded(owner.visit(path + "#L99999"))
        expect(page.get_by_text("this log has 2,002 lines")).to_be_visible()


def test_search_covers_closed_groups_and_counts(stage: Stage) -> None:
    log = b"--- Closed\nneedle one\nNeedle two\n+++ Open\nhay\n\x1b[31mneed\x1b[0mle three needle\n"
    path = finished(stage, log)
    with stage.owner() as owner:
        page = loaded(owner.visit(path))
        expect(page.get_by_text("needle one")).to_have_count(0)
        page.keyboard.press("s")
        page.keyboard.type("needle")
        expect(page.locator(".log-found")).to_have_text("1 of 4, all 6 lines searched")
        expect(page.get_by_text("needle one")).to_be_visible()
        page.keyboard.press("Enter")
        page.keyboard.press("Enter")
        expect(page.locator(".log-found")).to_have_text("3 of 4, all 6 lines searched")
        found = "[...CSS.highlights.get('found-now')].map(String)"
        wait_until(page, f"{found}.join() === 'needle'")
        assert page.evaluate("[...CSS.highlights.get('found')].length") == 3
        page.get_by_role("button", name="aA").click()
        expect(page.locator(".log-found")).to_have_text("1 of 3, all 6 lines searched")
        page.keyboard.press("Escape")
        page.locator(".log-box").focus()
        page.keyboard.press("n")
        expect(page.locator(".log-found")).to_have_text("2 of 3, all 6 lines searched")
        page.get_by_label("Search this log").fill("absent")
        expect(page.locator(".log-found")).to_have_text("Nothing found, all 6 lines searched")


def test_times_wrap_and_errors(stage: Stage) -> None:
    start = 1_767_225_600_000  # 2026-01-01T00:00:00Z
    log = b"".join(
        b"\x1b_bk;t=%d\x07%s\n" % (start + after, text)
        for after, text in ((0, b"a"), (1500, b"ERROR: b"), (61_500, b"w" * 400))
    )
    path = finished(stage, log, 1)
    with stage.owner(timezone_id="Asia/Tokyo") as owner:
        page = loaded(owner.visit(path))
        shown = "[...document.querySelectorAll('.l')].map((line) => line.dataset.t ?? '')"
        wanted = {
            "Times: since start": ["0.0s", "1.5s", "1m 01.5s"],
            "Times: since the line before": ["", "+1.5s", "+1m 00.0s"],
            "Times: local": ["09:00:00.000", "09:00:01.500", "09:01:01.500"],
            "Times: UTC": ["00:00:00.000", "00:00:01.500", "00:01:01.500"],
            "Times: off": ["", "", ""],
        }
        for name, times in wanted.items():
            page.keyboard.press("t")
            expect(page.get_by_label("Times").locator("option:checked")).to_have_text(name)
            wait_until(page, f"JSON.stringify({shown}) === JSON.stringify({times!r})")
        wide = "((box) => box.scrollWidth > box.clientWidth)(document.querySelector('.log-box'))"
        wait_until(page, wide)
        page.keyboard.press("w")
        wait_until(page, f"!{wide}")
        page.keyboard.press("f")
        expect(page.locator(".l.on")).to_have_text(["ERROR: b"])
        page.keyboard.press("z")
        expect(page.locator(".top")).to_be_hidden()
        page.keyboard.press("Escape")
        expect(page.locator(".top")).to_be_visible()


def test_picture_is_looked_at_when_the_reader_asks(stage: Stage) -> None:
    path, job = begin(stage)
    upload(job, "shot.png", PNG)
    upload(job, "fake.png", b"<svg onload=alert(1)>")
    assert (
        job.chunk(
            1, 0, b"\x1b]1338;url=artifact://shot.png;alt=shot\x07\n\x1b]1338;url=artifact://fake.png;alt=fake\x07\n"
        ).status
        == 200
    )
    assert job.finish(0).status == 200
    with stage.owner() as owner:
        page = loaded(owner.visit(path))
        assert page.locator(".log-box img").count() == 0
        page.get_by_role("button", name="[image: shot]").click()
        expect(page.locator(".log-box img")).to_have_count(1)
        wait_until(page, "document.querySelector('.log-box img').naturalWidth === 1")
        page.get_by_role("button", name="[image: fake]").click()
        expect(page.get_by_text("this is no PNG, JPEG, GIF or WebP picture")).to_be_visible()
        expect(page.locator(".log-box img")).to_have_count(1)


def test_raw_log_is_there_before_anything_else_is(stage: Stage) -> None:
    path = finished(stage, b"\x1b[31mraw\x1b[0m\n")
    with stage.owner() as owner:
        owner.page.route(
            "**/log.txt", lambda route: route.abort() if "range" in route.request.headers else route.continue_()
        )
        page = owner.visit(path)
        raw = page.get_by_role("link", name="Raw").get_attribute("href")
        assert raw is not None
        expect(page.get_by_role("link", name="Download")).to_be_visible()
        expect(page.get_by_text("The log stopped coming")).to_be_visible()
        assert page.request.get(owner.url + raw).body() == b"\x1b[31mraw\x1b[0m\n"
        owner.page.unroute("**/log.txt")
        expect(page.locator(".l")).to_have_text(["raw"])
        owner.problems[:] = [one for one in owner.problems if "ERR_FAILED" not in one]


def test_empty_log_says_so(stage: Stage) -> None:
    path = finished(stage, b"", 3)
    with stage.owner() as owner:
        page = loaded(owner.visit(path))
        expect(page.get_by_text("No output. Exit status 3, the server says.")).to_be_visible()


def test_empty_log_of_a_job_that_ends_meanwhile_says_how_it_ended(stage: Stage) -> None:
    path, job = begin(stage)
    with stage.owner() as owner:
        page = owner.visit(path)
        page.wait_for_selector(".log[data-state=loading]")
        assert job.finish(4).status == 200
        loaded(page)
        expect(page.get_by_text("No output. Exit status 4, the server says.")).to_be_visible()


def test_large_log_has_elements_for_what_is_near(stage: Stage) -> None:
    count = 120_000
    text = b"".join(
        b"line %d of a log that is long enough to be one of those that are large\n" % number
        for number in range(1, count + 1)
    )
    path = finished(stage, text)
    with stage.owner() as owner:
        page = loaded(owner.visit(path))
        expect(page.locator(".l").first).to_have_text(
            "line 1 of a log that is long enough to be one of those that are large"
        )
        page.keyboard.press("End")
        expect(page.get_by_text(f"line {count} of")).to_be_in_viewport()
        page.keyboard.press("Control+f")
        page.keyboard.type("line 60000 of")
        expect(page.locator(".log-found")).to_have_text("1 of 1, all 120,000 lines searched")
        expect(page.get_by_text("line 60000 of")).to_be_in_viewport()
        wait_until(page, "document.querySelectorAll('.l').length < 6000")
        height = page.locator(".log-box").evaluate("(box) => box.scrollHeight")
        assert height >= count * 20
        page.keyboard.press("Escape")
        page.keyboard.press("Home")
        expect(page.locator('.l[data-n="1"]')).to_be_in_viewport()


def test_stranger_reads_the_log_of_a_public_pipeline_and_no_other(stage: Stage) -> None:
    path = finished(stage, b"for everybody\n")
    slug = path.split("/")[2]
    with stage.stranger() as stranger:
        page = stranger.visit(path)
        expect(page.get_by_role("heading", name="Nothing to see here")).to_be_visible()
        stage.api.rest("PATCH", "", {"public_pipelines": True})
        stage.api.rest("PATCH", f"/pipelines/{slug}", {"visibility": "public", "public_since": "all"})
        page = loaded(stranger.visit(path))
        expect(page.locator(".l")).to_have_text(["for everybody"])
        expect(page.get_by_role("button", name="Run again")).to_have_count(0)
        check_accessible(page)

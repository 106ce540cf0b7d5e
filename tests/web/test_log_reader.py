"""What readers do with a log: links that know their text, copies, codes, groups, searches, gaps; with keys alone."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.web.build_stage import Stage, check_accessible, open_stage, wait_until
from tests.web.test_log import begin, copied, digest, finished, lines, loaded

pytestmark = pytest.mark.peer("chromium")


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[Stage]:
    with open_stage(tmp_path_factory.mktemp("stage"), browser) as stage:
        yield stage


def allow_copying(page: Page) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])


def test_link_says_whether_its_text_is_still_the_same(stage: Stage) -> None:
    path = finished(stage, b"one\n\x1b[31mtwo\x1b[0m\nthree\n")
    note = ".log-note .notice"
    with stage.owner() as owner:
        page = loaded(owner.visit(f"{path}#L2-L3&h={digest('two', 'three')}"))
        expect(page.locator(note)).to_have_text("Checked here: this is the text that was linked.")
        expect(page.locator(".l.on")).to_have_text(["two", "three"])
        check_accessible(page)
        for wrong in (f"#L2-L3&h={digest('two', 'four')}", f"#L3-L9&h={digest('three')}"):
            owner.visit("/")
            page = loaded(owner.visit(path + wrong))
            expect(page.locator(note)).to_have_text("The text of these lines has changed since the link was made.")
        check_accessible(page)
        owner.visit("/")
        # As it is on a page without HTTPS.
        page.add_init_script("Object.defineProperty(crypto, 'subtle', { value: undefined })")
        page = loaded(owner.visit(f"{path}#L2&h={digest('two')}"))
        expect(page.locator(note)).to_contain_text("cannot be checked")
        allow_copying(page)
        page.keyboard.press("y")
        assert copied(page, "The link is copied").endswith("#L2")


def test_link_to_what_still_comes_is_checked_when_it_can_change_no_more(stage: Stage) -> None:
    path, job = begin(stage)
    assert job.chunk(1, 0, b"progress 1%\n").status == 200
    with stage.owner() as owner:
        page = owner.visit(f"{path}#L1&h={digest('progress 99%')}")
        expect(page.locator(".l.on")).to_have_text(["progress 1%"])
        expect(page.locator(".log-note")).to_be_empty()
        assert job.chunk(2, 12, b"\x1b[A\rprogress 99%\n").status == 200
        expect(page.locator(".l")).to_have_text(["progress 99%"])
        assert job.finish(0).status == 200
        loaded(page)
        expect(page.locator(".log-note")).to_have_text("Checked here: this is the text that was linked.")


def test_lines_are_copied_as_text_with_times_and_as_markdown(stage: Stage) -> None:
    start = 1_767_225_600_000  # 2026-01-01T00:00:00Z
    path = finished(stage, b"".join(b"\x1b_bk;t=%d\x07line %d ```\n" % (start + n * 1000, n) for n in range(3)))
    with stage.owner() as owner:
        page = loaded(owner.visit(path))
        allow_copying(page)
        expect(page.get_by_role("group", name="Marked lines")).to_be_hidden()
        page.locator('.l[data-n="2"]').click(position={"x": 10, "y": 8})
        page.locator('.l[data-n="3"]').click(position={"x": 10, "y": 8}, modifiers=["Shift"])
        bar = page.get_by_role("group", name="Marked lines")
        expect(bar).to_contain_text("Lines 2–3")
        expect(bar.get_by_role("button", name="Copy with times")).to_be_hidden()
        check_accessible(page)
        bar.get_by_role("button", name="Copy text").click()
        assert copied(page, "The text is copied") == "line 1 ```\nline 2 ```"
        page.get_by_label("Times").select_option("utc")
        bar.get_by_role("button", name="Copy with times").click()
        assert copied(page, "The text is copied, with times") == "00:00:01.000  line 1 ```\n00:00:02.000  line 2 ```"
        bar.get_by_role("button", name="Copy as Markdown").click()
        address = f"{page.url}&h={digest('line 1 ```', 'line 2 ```')}"
        assert copied(page, "The lines are copied as Markdown") == (
            f"[Lines 2–3 of only, build 1](<{address}>), as the server has it:\n\n"
            "````text\nline 1 ```\nline 2 ```\n````\n"
        )
        bar.get_by_role("button", name="Mark no lines").click()
        expect(bar).to_be_hidden()
        assert "#" not in page.url


def test_text_is_copied_where_the_browser_has_no_clipboard_for_pages(stage: Stage) -> None:
    path = finished(stage, b"one\ntwo\n")
    with stage.owner() as owner:
        allow_copying(owner.page)
        owner.page.add_init_script("navigator.clipboard.writeText = () => Promise.reject(new Error('no'))")
        page = loaded(owner.visit(path + "#L2"))
        page.get_by_role("button", name="Copy text").click()
        assert copied(page, "The text is copied") == "two"


def test_codes_are_shown_as_text_when_the_reader_asks(stage: Stage) -> None:
    path = finished(stage, "\x1b[31mred\x1b[0m 10%\r20%\n\x1b]0;<b>title</b>\x07zero\u200bwidth\n".encode())
    with stage.owner() as owner:
        page = loaded(owner.visit(path))
        assert lines(page) == ["20% 10%", "zero\u200bwidth"]
        page.get_by_label("Codes").check()
        expect(page.locator(".l")).to_have_text(
            ["<ESC>[31mred<ESC>[0m 10%<CR>20%", "<ESC>]0;<b>title</b><BEL>zero[U+200B]width"]
        )
        expect(page.locator(".l").first.locator(".fg1")).to_have_text("red")
        assert page.locator(".log-box b").count() == 0
        assert "codes=1" in page.url
        check_accessible(page)
        page = loaded(owner.visit(page.url.removeprefix(owner.url)))
        expect(page.get_by_label("Codes")).to_be_checked()
        page.keyboard.press("x")
        expect(page.locator(".l").first).to_have_text("20% 10%")
        assert "codes" not in page.url


def test_groups_say_how_long_they_took_and_the_address_which_are_open(stage: Stage) -> None:
    at = 1_767_225_600_000
    log = b"".join(
        b"\x1b_bk;t=%d\x07%s\n" % (at + after, text)
        for after, text in (
            (0, b"--- :package: Install :<b>:"),
            (2500, b"installed"),
            (65_000, b"+++ :no-such-name: Test"),
            (70_500, b"tested"),
        )
    )
    path = finished(stage, log)
    with stage.owner() as owner:
        page = loaded(owner.visit(path))
        expect(page.locator(".group-button")).to_have_text(["📦 Install :<b>:", ":no-such-name: Test"])
        expect(page.locator(".group-time")).to_have_text(["1m 5s", "5.5s"])
        assert lines(page) == ["tested"]
        page.get_by_role("button", name="Install").click()
        page.get_by_role("button", name="Test", exact=False).last.click()
        expect(page.locator(".l:visible")).to_have_text(["installed"])
        page = loaded(owner.visit(page.url.removeprefix(owner.url)))
        assert lines(page) == ["installed"]
        page.keyboard.press("g")
        expect(page.locator(".l:visible")).to_have_count(0)
        assert "groups=none" in page.url
        page = loaded(owner.visit(page.url.removeprefix(owner.url)))
        expect(page.locator(".l:visible")).to_have_count(0)
        check_accessible(page)


def test_labels_of_steps_show_emoji_and_stay_text(stage: Stage) -> None:
    steps = "steps:\n  - {label: ':rocket: <b>Ship</b> :no-such-name:', command: make}\n"
    path, _, _ = stage.build(steps)
    with stage.owner() as owner:
        page = owner.visit(path)
        expect(page.locator(".step")).to_contain_text("🚀 <b>Ship</b> :no-such-name:")
        assert page.locator(".step b").count() == 0


def test_expressions_are_searched_for_and_ended_when_they_take_for_ever(stage: Stage) -> None:
    path = finished(stage, b"pay 12\npay 345 and 6\n" + b"a" * 60 + b"b\n")
    with stage.owner() as owner:
        page = loaded(owner.visit(path))
        found = page.locator(".log-found")
        page.get_by_role("button", name=".*").click()
        page.get_by_label("Search this log").fill(r"\d{2,}$|\d{3}")
        expect(found).to_have_text("1 of 2, all 3 lines searched")
        page.keyboard.press("Enter")
        wait_until(page, "[...CSS.highlights.get('found-now')].map(String).join() === '345'")
        page.get_by_label("Search this log").fill("(unclosed")
        expect(found).to_contain_text("Invalid regular expression")
        page.get_by_label("Search this log").fill("(a+)+$")
        expect(found).to_have_text("The expression takes too long.", timeout=60_000)
        # The page is as quick as before, and searches on.
        page.get_by_label("Search this log").fill("PAY")
        expect(found).to_have_text("1 of 2, all 3 lines searched")
        page.get_by_role("button", name="aA").click()
        expect(found).to_have_text("Nothing found, all 3 lines searched")
        page.get_by_label("Search this log").fill("pay")
        expect(found).to_have_text("1 of 2, all 3 lines searched")
        assert "find=pay" in page.url
        page = loaded(owner.visit(page.url.removeprefix(owner.url)))
        expect(found).to_have_text("1 of 2, all 3 lines searched")
        for name in ("aA", ".*"):
            expect(page.get_by_role("button", name=name)).to_have_attribute("aria-pressed", "true")
        check_accessible(page)


@pytest.mark.parametrize("watched", [False, True], ids=["later", "meanwhile"])
def test_parts_that_never_came_are_drawn_and_printed_ones_are_not(stage: Stage, watched: bool) -> None:
    path, job = begin(stage)
    assert job.chunk(1, 0, b"head\n").status == 200
    with stage.owner() as owner:
        if watched:
            expect(owner.visit(path).locator(".l")).to_have_text(["head"])
        assert job.chunk(2, 20_005, b"tail\n").status == 200
        assert job.finish(0).status == 200
        page = loaded(owner.page if watched else owner.visit(path))
        expect(page.locator(".l.gap")).to_have_text(["[20000 bytes of this log never reached the server]"])
        assert [text for text in lines(page) if text] == ["head", page.locator(".l.gap").inner_text(), "tail"]
        # What fills the gap up does not make the page wide.
        assert page.locator(".log-box").evaluate("(box) => box.scrollWidth <= box.clientWidth")
        check_accessible(page)
        printed = b"[40 bytes of this log never reached the server]\n" + b" " * 60 + b"\n"
        page = loaded(owner.visit(finished(stage, printed)))
        assert lines(page)[0] == "[40 bytes of this log never reached the server]"
        expect(page.locator(".l.gap")).to_have_count(0)
        path, job = begin(stage)
        assert job.chunk(1, 0, printed).status == 200
        assert job.chunk(2, len(printed) + 500, b"tail\n").status == 200
        assert job.finish(0).status == 200
        page = loaded(owner.visit(path))
        expect(page.get_by_text("[500 bytes of this log never reached the server]")).to_be_visible()
        expect(page.locator(".l.gap")).to_have_count(0)


@pytest.mark.parametrize("runs", [True, False], ids=["running", "ended"])
def test_page_says_when_there_are_more_lines_than_it_can_show(stage: Stage, runs: bool) -> None:
    path, job = begin(stage)
    text = b"\n" * 1_400_000
    for sequence, start in enumerate(range(0, len(text), 1 << 20), 1):
        assert job.chunk(sequence, start, text[start : start + (1 << 20)]).status == 200
    if not runs:
        assert job.finish(0).status == 200
    with stage.owner() as owner:
        owner.page.set_default_timeout(60_000)
        page = loaded(owner.visit(path))
        note = page.locator(".log-note").inner_text()
        found = re.match(
            r"These are the first ([\d,]+) lines, as many as a page can show[.] What follows is not shown", note
        )
        assert found, note
        count = int(found[1].replace(",", ""))
        assert 1_300_000 <= count < 1_400_000
        expect(page.get_by_role("button", name="Load more of it")).to_have_count(0)
        page.keyboard.press("End")
        expect(page.locator(f'.l[data-n="{count}"]')).to_be_in_viewport()
    if runs:
        assert job.finish(0).status == 200


def test_everything_is_reached_with_keys(stage: Stage) -> None:
    log = b"+++ Open\n" + b"".join(b"line %d\n" % number for number in range(2, 300)) + b"ERROR: last\n"
    path = finished(stage, log)
    with stage.owner() as owner:
        page = loaded(owner.visit(path))
        allow_copying(page)
        marked = "[...document.querySelectorAll('.l.on')].map((line) => line.dataset.n).join()"
        page.keyboard.press("End")
        page.keyboard.press("F")
        expect(page.locator(".l.on")).to_have_text(["ERROR: last"])
        page.keyboard.press("Home")
        page.keyboard.press("l")
        expect(page.locator(".group-head.on")).to_have_count(1)
        page.keyboard.press("ArrowDown")
        wait_until(page, f"{marked} === '2'")
        for _ in range(3):
            page.keyboard.press("Shift+ArrowDown")
        wait_until(page, f"{marked} === '2,3,4,5'")
        page.keyboard.press("Shift+ArrowUp")
        wait_until(page, f"{marked} === '2,3,4'")
        page.keyboard.press("y")
        text = copied(page, "The link is copied")
        assert text.endswith(f"#L2-L4&h={digest('line 2', 'line 3', 'line 4')}")
        page.keyboard.press("ArrowUp")
        wait_until(page, f"{marked} === '3'")
        page.keyboard.press("Escape")
        wait_until(page, f"{marked} === ''")
        page.get_by_role("button", name="Skip to the lines of the log").focus()
        page.keyboard.press("Enter")
        expect(page.locator(".log-box")).to_be_focused()
        page.keyboard.press("?")
        for words in (
            "show control codes",
            "mark the first line in view",
            "copy a link to the lines that are marked",
        ):
            expect(page.get_by_role("dialog")).to_contain_text(words)

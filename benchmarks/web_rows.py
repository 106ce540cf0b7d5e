"""Rows about the web page: how soon a large log can be read in a browser, how it is followed, and what that costs."""

from __future__ import annotations

import itertools
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.bare_browser import bare_page
from benchmarks.control_plane import PretendAgent, Server, create_pipeline, start_build
from benchmarks.measure import CommandFailed, Pairs, Sample, Series, alternate, descendants, process_memory
from benchmarks.peers import find_chromium
from benchmarks.report import MEGABYTES, MIB, MILLISECONDS, Row, Target
from benchmarks.workspace import Workspace

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PER_LINE = "page with an element per line"
LINES = {"100k": 100_000, "500k": 500_000}
# What a page may take, the log's own 13.5 and 67.5 MB and the page without a log included.
MEMORY = {"100k": 120 * MIB, "500k": 150 * MIB}
# The page with an element per line takes a minute for the larger one.
FEWEST = {"100k": 5, "500k": 2}
LIMIT = ("--max-log-bytes", str(1 << 30))
# Chunks of a log may be two megabytes.
_CHUNK_BYTES = 1 << 20
_WAIT_MILLISECONDS = 240_000
# How a log that is followed grows: so many times so many lines, and the pause between.
_FOLLOWED, _AT_ONCE, _PAUSE_SECONDS = 60, 300, 0.05
_numbers = itertools.count(1)
OPTIONS = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync")
# What most log pages do: all of it, then an element for each line.
_PER_LINE_SCRIPT = """
const main = document.createElement("main");
document.body.replaceChildren(main);
const style = document.createElement("style");
style.textContent = "body { font: 12.5px/20px monospace } div { white-space: pre }";
document.head.append(style);
function show(text) {
  for (const line of text.split("\\n")) {
    const element = document.createElement("div");
    element.textContent = line;
    element.className = "l";
    main.append(element);
  }
}
const asked = new URLSearchParams(location.search);
function read(log) {
  fetch(log).then((answer) => answer.text()).then((text) => {
    show(text);
    document.body.dataset.state = "loaded";
  });
}
function follow(stream) {
  let rest = "";
  new EventSource(stream).addEventListener("log", (event) => {
    const lines = (rest + atob(JSON.parse(event.data).data)).split("\\n");
    rest = lines.pop();
    show(lines.join("\\n"));
    scrollTo(0, document.body.scrollHeight);
  });
}
if (asked.has("log")) read(asked.get("log"));
if (asked.has("stream")) follow(asked.get("stream"));
"""
_PER_LINE_PAGE = (
    f"""<!doctype html><meta charset="utf-8"><title>per line</title><body><script>{_PER_LINE_SCRIPT}</script>"""
)
# From the start of the navigation to the frame after the first lines are on the page; when everything is there; and
# the longest time without a frame until then.
_WATCH = """
const seen = (window.seen = { first: 0, whole: 0, gap: 0, task: 0, frames: [], isWatched: false });
new PerformanceObserver((list) => {
  for (const { startTime, duration } of list.getEntries())
    if (seen.whole === 0 || startTime < seen.whole) seen.task = Math.max(seen.task, duration);
}).observe({ type: "longtask", buffered: true });
let last = performance.now();
(function look() {
  requestAnimationFrame(() => {
    const now = performance.now();
    const isWhole = document.querySelector("[data-state=loaded]") !== null;
    if (seen.whole === 0) seen.gap = Math.max(seen.gap, now - last);
    if (seen.isWatched) seen.frames.push(now - last);
    if (seen.first === 0 && document.querySelector(".l")) setTimeout(() => (seen.first ||= performance.now()));
    if (seen.whole === 0 && isWhole) setTimeout(() => (seen.whole ||= performance.now()));
    last = now;
    look();
  });
})();
"""


def _lines(first: int, last: int, of: int) -> bytes:
    return b"".join(
        b"%08d  tests/test_module_%04d.py::test_case_%06d PASSED after a while, so that this line is as long "
        b"as others are in logs  [%3d%%]\n" % (number, number % 977, number, number * 100 // of)
        for number in range(first, last)
    )


def measure_log_view(space: Workspace, size: str) -> tuple[Row, ...]:
    """A log of so many lines, from the address to what its reader sees, in a new browser page each time."""
    chromium = find_chromium()
    if chromium.path is None:
        raise CommandFailed(chromium.detail)
    text = _lines(0, LINES[size], LINES[size])
    # The whole, the longest time without a frame, and the longest task, for each side.
    more = {name: {"ours": Series(), "peer": Series()} for name in ("whole", "stop", "task")}
    with Server(space.fresh("web"), space.env, *LIMIT) as server:
        job = PublishedJob(server, text)
        job.finish()
        with open_browser(chromium.path) as browser:

            def view(side: str, address: str) -> Sample:
                seen, memory = _look(browser, server.url + address)
                for name, value in (("whole", seen["whole"]), ("stop", seen["gap"]), ("task", seen["task"])):
                    more[name][side].samples.append(Sample(value / 1000, 0.0, 0))
                return Sample(seen["first"] / 1000, 0.0, memory)

            pairs = alternate(
                lambda: view("ours", job.page),
                lambda: view("peer", f"/per-line.html?log={job.raw}"),
                pairs=space.pairs,
                budget_seconds=space.budget_seconds,
                fewest=FEWEST[size],
            )
        memory = Pairs(
            _weigh(space, chromium.path, server.url + job.page, "", rounds=3),
            _weigh(space, chromium.path, f"{server.url}/openapi.json?log={job.raw}", _PER_LINE_SCRIPT, rounds=1),
            pairs.idle,
        )
    for name in more:
        for series in more[name].values():
            del series.samples[0]  # of the round that is not measured
    further = {name: Pairs(found["ours"], found["peer"], pairs.idle) for name, found in more.items()}
    return (
        Row(f"log.view.{size}", pairs, MILLISECONDS, PER_LINE, Target(ratio=0.15), Target(ratio=1.0)),
        Row(f"log.view.{size}.whole", further["whole"], MILLISECONDS, PER_LINE, Target(ratio=0.15)),
        Row(f"log.view.{size}.stop", further["stop"], MILLISECONDS, PER_LINE),
        Row(f"log.view.{size}.task", further["task"], MILLISECONDS, PER_LINE),
        Row(f"log.view.{size}.memory", memory, MEGABYTES, PER_LINE, Target(limit=MEMORY[size])),
    )


def measure_log_follow(space: Workspace) -> tuple[Row, ...]:
    """A page that follows a log of 100,000 lines while 300 come twenty times a second: the time between frames."""
    chromium = find_chromium()
    if chromium.path is None:
        raise CommandFailed(chromium.detail)
    begun = LINES["100k"]
    text = _lines(0, begun, begun)
    worst: dict[str, Series] = {"ours": Series(), "peer": Series()}
    with Server(space.fresh("web"), space.env, *LIMIT) as server, open_browser(chromium.path) as browser:

        def follow(side: str) -> Sample:
            job = PublishedJob(server, text)
            address = job.page if side == "ours" else f"/per-line.html?stream={job.stream}"
            with _page(browser, server.url + address) as page:
                _wait_for(page, _shows(begun - 1))
                page.evaluate("seen.isWatched = true")
                for at in range(begun, begun + _FOLLOWED * _AT_ONCE, _AT_ONCE):
                    job.print(_lines(at, at + _AT_ONCE, begun * 2))
                    time.sleep(_PAUSE_SECONDS)
                _wait_for(page, _shows(begun + _FOLLOWED * _AT_ONCE - 1))
                frames = sorted(page.evaluate("seen.frames"))
            job.finish()
            worst[side].samples.append(Sample(frames[-1] / 1000, 0.0, 0))
            return Sample(frames[len(frames) * 95 // 100] / 1000, 0.0, 0)

        pairs = alternate(
            lambda: follow("ours"),
            lambda: follow("peer"),
            pairs=space.pairs,
            budget_seconds=space.budget_seconds,
            fewest=FEWEST["100k"],
        )
    for series in worst.values():
        del series.samples[0]  # of the round that is not measured
    longest = Pairs(worst["ours"], worst["peer"], pairs.idle)
    return (
        Row("log.view.follow", pairs, MILLISECONDS, PER_LINE, Target(limit=0.05)),
        Row("log.view.follow.stop", longest, MILLISECONDS, PER_LINE),
    )


def _shows(number: int) -> str:
    """Whether the line of that number is the last one on the page."""
    last = "([...document.querySelectorAll('.block')].at(-1) ?? document.querySelector('main'))?.lastElementChild"
    return f"{last}?.textContent.startsWith('{number:08d} ')"


@contextmanager
def open_browser(program: Path) -> Iterator[Browser]:
    """A browser without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(program), args=list(OPTIONS))
        yield browser
        browser.close()


class PublishedJob:
    """A job that printed `text` and runs, in a pipeline that everybody may read.

    `page`, `raw` and `stream` are the addresses of its page, of its log, and of its log as it comes.
    """

    def __init__(self, server: Server, text: bytes) -> None:
        rest = server.rest()
        slug = f"view-{next(_numbers)}"
        create_pipeline(rest, slug, "steps:\n  - command: make\n")
        rest.call("PATCH", "", {"public_pipelines": True})
        rest.call("PATCH", f"/pipelines/{slug}", {"visibility": "public"})
        build = start_build(rest, slug)
        self._agent = PretendAgent(server)
        self._job = self._agent.start_next_job()
        self._sequence = self._printed = 0
        for start in range(0, len(text), _CHUNK_BYTES):
            self.print(text[start : start + _CHUNK_BYTES])
        below = f"{slug}/builds/{build['number']}/jobs/{self._job['id']}"
        self.page = f"/local/{below}"
        self.raw = f"/v2/organizations/local/pipelines/{below}/log.txt"
        self.stream = f"/v2/organizations/local/pipelines/{below}/log/stream%3Fwait=300"

    def print(self, data: bytes) -> None:
        """Print something."""
        self._sequence += 1
        self._agent.send_log(self._job, self._sequence, self._printed, data)
        self._printed += len(data)

    def finish(self) -> None:
        """End it."""
        self._agent.finish(self._job)
        self._agent.close()


@contextmanager
def _page(browser: Browser, address: str) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    try:
        page = context.new_page()
        page.add_init_script(_WATCH)
        page.route(
            re.compile("/per-line[.]html"), lambda route: route.fulfill(content_type="text/html", body=_PER_LINE_PAGE)
        )
        page.goto(address)
        yield page
    finally:
        context.close()


def _look(browser: Browser, address: str) -> tuple[dict[str, float], int]:
    """What the page saw of itself, in milliseconds, and the bytes of its process."""
    with _page(browser, address) as page:
        _wait_for(page, "seen.whole > 0 && seen.first > 0")
        seen: dict[str, float] = page.evaluate("seen")
        return seen, _largest_page()


def _wait_for(page: Page, expression: str) -> None:
    deadline = time.monotonic() + _WAIT_MILLISECONDS / 1000
    while not page.evaluate(f"Boolean({expression})"):
        if time.monotonic() > deadline:
            raise CommandFailed(f"the page did not show the log: {page.inner_text('body')[:300]}")
        page.wait_for_timeout(100)


def _weigh(space: Workspace, program: Path, address: str, script: str, *, rounds: int) -> Series:
    """The private memory of a page with a log, in bytes.

    Parameters:
        script: for the page, which then is no page of the product; empty for none.
    """
    series = Series()
    for _ in range(rounds):
        with bare_page(program, space.fresh("profile"), OPTIONS) as page:
            page.go(address)
            page.wait_for("document.readyState === 'complete'")
            if script:
                page.evaluate(script)
            page.wait_for("document.querySelector('[data-state=loaded]')")
            series.samples.append(Sample(page.private_memory(), 0.0, 0))
    return series


def _largest_page() -> int:
    """The resident memory of the largest process below this one that draws pages."""
    most = 0
    for pid in descendants(os.getpid()):
        with suppress(OSError, KeyError):  # it has just ended
            if b"--type=renderer" in Path(f"/proc/{pid}/cmdline").read_bytes():
                most = max(most, process_memory(pid)["VmRSS"])
    return most

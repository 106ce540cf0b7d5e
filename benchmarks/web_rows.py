"""Rows about the web page: how soon a large log can be read in a browser, and what that costs the browser."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.control_plane import PretendAgent, Server, create_pipeline, start_build
from benchmarks.measure import CommandFailed, Pairs, Sample, Series, alternate, descendants, process_memory
from benchmarks.peers import find_chromium
from benchmarks.report import MILLISECONDS, Row, Target
from benchmarks.workspace import Workspace

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PER_LINE = "page with an element per line"
LINES = {"100k": 100_000, "500k": 500_000}
LIMIT = ("--max-log-bytes", str(1 << 30))
# Chunks of a log may be two megabytes.
_CHUNK_BYTES = 1 << 20
_WAIT_MILLISECONDS = 120_000
_OPTIONS = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync")
# What most log pages do: all of it, then an element for each line.
_PER_LINE_PAGE = """<!doctype html><meta charset="utf-8"><title>per line</title>
<style>body { font: 12.5px/20px monospace } div { white-space: pre }</style><main></main>
<script>
fetch(new URLSearchParams(location.search).get("log")).then((answer) => answer.text()).then((text) => {
  const main = document.querySelector("main");
  for (const line of text.split("\\n")) {
    const element = document.createElement("div");
    element.textContent = line;
    element.className = "l";
    main.append(element);
  }
  document.body.dataset.state = "loaded";
});
</script>"""
# From the start of the navigation to the frame after the first lines are on the page; when everything is there; and
# the longest time without a frame until then.
_WATCH = """
const seen = (window.seen = { first: 0, whole: 0, gap: 0 });
let last = performance.now();
(function look() {
  requestAnimationFrame(() => {
    const now = performance.now();
    const isWhole = document.querySelector("[data-state=loaded]") !== null;
    if (seen.whole === 0) seen.gap = Math.max(seen.gap, now - last);
    if (seen.first === 0 && document.querySelector(".l")) setTimeout(() => (seen.first ||= performance.now()));
    if (seen.whole === 0 && isWhole) setTimeout(() => (seen.whole ||= performance.now()));
    last = now;
    look();
  });
})();
"""


def measure_log_view(space: Workspace, size: str) -> tuple[Row, ...]:
    """A log of so many lines, from the address to what its reader sees, in a new browser page each time."""
    chromium = find_chromium()
    if chromium.path is None:
        raise CommandFailed(chromium.detail)
    text = b"".join(
        b"%08d  tests/test_module_%04d.py::test_case_%06d PASSED after a while, so that this line is as long "
        b"as others are in logs  [%3d%%]\n" % (number, number % 977, number, number * 100 // LINES[size])
        for number in range(LINES[size])
    )
    with Server(space.fresh("web"), space.env, *LIMIT) as server, _browser(chromium.path) as browser:
        path, raw = _publish(server, text)
        gaps: dict[str, Series] = {"ours": Series(), "peer": Series()}
        wholes: dict[str, Series] = {"ours": Series(), "peer": Series()}

        def view(side: str, address: str) -> Sample:
            first, whole, gap, memory = _look(browser, server.url + address)
            gaps[side].samples.append(Sample(gap, 0.0, 0))
            wholes[side].samples.append(Sample(whole, 0.0, 0))
            return Sample(first, 0.0, memory)

        pairs = alternate(
            lambda: view("ours", path),
            lambda: view("peer", f"/per-line.html?log={raw}"),
            pairs=space.pairs,
            budget_seconds=space.budget_seconds,
        )
    for series in (*gaps.values(), *wholes.values()):
        del series.samples[0]  # of the round that is not measured
    return (
        Row(f"log.view.{size}", pairs, MILLISECONDS, PER_LINE, Target(ratio=0.15), Target(ratio=1.0)),
        Row(f"log.view.{size}.whole", Pairs(wholes["ours"], wholes["peer"], pairs.idle), MILLISECONDS, PER_LINE),
        Row(f"log.view.{size}.stop", Pairs(gaps["ours"], gaps["peer"], pairs.idle), MILLISECONDS, PER_LINE),
    )


@contextmanager
def _browser(program: Path) -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(program), args=list(_OPTIONS))
        yield browser
        browser.close()


def _publish(server: Server, text: bytes) -> tuple[str, str]:
    """A job that printed `text`, in a pipeline that everybody may read: the addresses of its page and of its log."""
    rest = server.rest()
    create_pipeline(rest, "view", "steps:\n  - command: make\n")
    rest.call("PATCH", "", {"public_pipelines": True})
    rest.call("PATCH", "/pipelines/view", {"visibility": "public"})
    build = start_build(rest, "view")
    agent = PretendAgent(server)
    job = agent.start_next_job()
    for sequence, start in enumerate(range(0, len(text), _CHUNK_BYTES), 1):
        agent.send_log(job, sequence, start, text[start : start + _CHUNK_BYTES])
    agent.finish(job)
    agent.close()
    below = f"view/builds/{build['number']}/jobs/{job['id']}"
    return f"/local/{below}", f"/v2/organizations/local/pipelines/{below}/log.txt"


def _look(browser: Browser, address: str) -> tuple[float, float, float, int]:
    """Seconds to the first lines, to all of it, the longest time between two frames; bytes of the page's process."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    try:
        page = context.new_page()
        page.add_init_script(_WATCH)
        page.route(
            re.compile("/per-line[.]html"), lambda route: route.fulfill(content_type="text/html", body=_PER_LINE_PAGE)
        )
        page.goto(address)
        seen = _wait(page)
        return seen["first"] / 1000, seen["whole"] / 1000, seen["gap"] / 1000, _largest_page()
    finally:
        context.close()


def _wait(page: Page) -> dict[str, Any]:
    deadline = time.monotonic() + _WAIT_MILLISECONDS / 1000
    while time.monotonic() < deadline:
        seen: dict[str, Any] = page.evaluate("window.seen")
        if seen["whole"] > 0 and seen["first"] > 0:
            return seen
        page.wait_for_timeout(100)
    raise CommandFailed(f"the page did not show the log: {page.inner_text('body')[:300]}")


def _largest_page() -> int:
    """The resident memory of the largest process below this one that draws pages."""
    most = 0
    for pid in descendants(os.getpid()):
        with suppress(OSError, KeyError):  # it has just ended
            if b"--type=renderer" in Path(f"/proc/{pid}/cmdline").read_bytes():
                most = max(most, process_memory(pid)["VmRSS"])
    return most

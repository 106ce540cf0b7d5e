"""Rows about pages as Chromium itself measures them: when something is painted, what jumps, what is fetched."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from benchmarks.control_plane import Server
from benchmarks.measure import CommandFailed, Pairs, Sample, Series, alternate
from benchmarks.peers import find_chromium
from benchmarks.report import COUNT, KILOBYTES, MILLISECONDS, Row, Target, Unit
from benchmarks.web_rows import PublishedJob, open_browser
from benchmarks.workspace import Workspace

if TYPE_CHECKING:
    from playwright.sync_api import Browser

_LOG_LINES = 2_000
_WAIT_SECONDS = 60
# https://www.w3.org/TR/paint-timing/, https://www.w3.org/TR/largest-contentful-paint/,
# https://wicg.github.io/layout-instability/, https://www.w3.org/TR/longtasks-1/. What a task takes beyond 50 ms is
# blocked time.
_WATCH = """
const seen = (window.seen = { first: 0, largest: 0, shift: 0, blocked: 0 });
const watch = (type, note) =>
  new PerformanceObserver((list) => list.getEntries().forEach(note)).observe({ type, buffered: true });
watch("paint", (entry) => entry.name === "first-contentful-paint" && (seen.first = entry.startTime));
watch("largest-contentful-paint", (entry) => (seen.largest = entry.startTime));
watch("layout-shift", (entry) => !entry.hadRecentInput && (seen.shift += entry.value));
watch("longtask", (entry) => (seen.blocked += entry.duration - 50));
"""
_READY = "document.querySelector('main:not([aria-busy])') !== null && seen.first > 0 && seen.largest > 0"
_FETCHED = """performance.getEntriesByType("resource").concat(performance.getEntriesByType("navigation"))
    .reduce((sum, entry) => [sum[0] + entry.transferSize, sum[1] + 1], [0, 0])"""
# Name behind the page's, unit, factor to seconds or bytes, and what is wanted: the bounds that are called good.
_FIGURES: tuple[tuple[str, str, Unit, float, Target], ...] = (
    ("", "largest", MILLISECONDS, 1e-3, Target(limit=2.5)),
    (".first", "first", MILLISECONDS, 1e-3, Target(limit=1.8)),
    (".blocked", "blocked", MILLISECONDS, 1e-3, Target(limit=0.2)),
    (".shift", "shift", COUNT, 1.0, Target(limit=0.1)),
    (".bytes", "bytes", KILOBYTES, 1.0, Target()),
    (".requests", "requests", COUNT, 1.0, Target()),
)


def measure_pages(space: Workspace) -> tuple[Row, ...]:
    """Dashboard, build and log page, each in a browser that has nothing of it yet."""
    chromium = find_chromium()
    if chromium.path is None:
        raise CommandFailed(chromium.detail)
    text = b"".join(b"%06d test_case PASSED\n" % number for number in range(_LOG_LINES))
    rows: list[Row] = []
    with Server(space.fresh("pages"), space.env) as server, open_browser(chromium.path) as browser:
        job = PublishedJob(server, text)
        job.finish()
        pages = {"dashboard": "/", "build": job.page.partition("/jobs/")[0], "log": job.page}
        for name, address in pages.items():
            taken: list[dict[str, float]] = []

            def look(url: str = server.url + address, taken: list[dict[str, float]] = taken) -> Sample:
                taken.append(_look(browser, url))
                return Sample(taken[-1]["largest"] / 1000, 0.0, 0)

            pairs = alternate(look, None, pairs=space.pairs, budget_seconds=space.budget_seconds)
            del taken[0]  # of the round that is not measured
            for suffix, figure, unit, factor, target in _FIGURES:
                series = Series([Sample(one[figure] * factor, 0.0, 0) for one in taken])
                rows.append(Row(f"web.pages.{name}{suffix}", Pairs(series, None, pairs.idle), unit, "", target))
    return tuple(rows)


def _look(browser: Browser, url: str) -> dict[str, float]:
    """What Chromium says of one visit: times in milliseconds, the sum of shifts, bytes on the wire, requests."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    try:
        page = context.new_page()
        page.add_init_script(_WATCH)
        page.goto(url)
        deadline = time.monotonic() + _WAIT_SECONDS
        while not page.evaluate(_READY):
            if time.monotonic() > deadline:
                raise CommandFailed(f"the page is never whole: {page.inner_text('body')[:300]}")
            page.wait_for_timeout(50)
        page.wait_for_timeout(500)  # what comes after the page is whole would jump, too
        seen: dict[str, Any] = page.evaluate("seen")
        size, count = page.evaluate(_FETCHED)
        return {**seen, "bytes": float(size), "requests": float(count)}
    finally:
        context.close()

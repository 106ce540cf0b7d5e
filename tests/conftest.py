"""What all tests share: how properties are tried, and the `peer` marker, which skips a test without its peer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from benchmarks.peers import find_peer, peers_are_required

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# A change is judged by what it changes: the same examples each time, however slow the machine is. New ones are looked
# for with `--hypothesis-profile=search`; what that finds becomes an `@example`.
settings.register_profile(
    "gate",
    derandomize=True,
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("search", settings.get_profile("gate"), derandomize=False)
settings.load_profile("gate")

# It may neither look for updates nor keep anything; root, as in containers, has no sandbox of its own.
_BROWSER_OPTIONS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--force-color-profile=srgb",
)  # fmt: skip


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The browser of this test process; there is one, since a process can drive one browser library at a time."""
    from playwright.sync_api import sync_playwright

    program = find_peer("chromium").path
    assert program is not None
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(program), args=list(_BROWSER_OPTIONS))
        yield browser
        browser.close()


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("peer"):
        peer = find_peer(marker.args[0])
        if peer.path is not None:
            continue
        message = f"peer {peer.name} is missing: {peer.detail}"
        if peers_are_required():
            pytest.fail(f"{message} (PIPESEAL_REQUIRE_PEERS=1 demands it)", pytrace=False)
        pytest.skip(message)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests recorded under `summary`: what they counted, whichever process they ran in."""
    lines = [
        str(value)
        for reports in terminalreporter.stats.values()
        for report in reports
        if isinstance(report, pytest.TestReport) and report.when == "call"
        for name, value in report.user_properties
        if name == "summary"
    ]
    if lines:
        terminalreporter.write_sep("=", "counted")
        for line in sorted(lines):
            terminalreporter.write_line(line)

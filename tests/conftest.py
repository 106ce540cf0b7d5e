"""What all tests share: the `peer` marker, which skips a test whose peer program is missing and says why."""

from __future__ import annotations

import pytest

from benchmarks.peers import find_peer, peers_are_required


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

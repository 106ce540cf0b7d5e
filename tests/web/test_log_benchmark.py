"""The page that benchmarks weigh: a browser driven over a pipe, which records nothing of what it loads."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.bare_browser import bare_page
from benchmarks.measure import CommandFailed
from benchmarks.peers import find_chromium
from benchmarks.web_rows import OPTIONS

pytestmark = pytest.mark.peer("chromium")


def test_page_is_driven_and_weighed(tmp_path: Path) -> None:
    program = find_chromium().path
    assert program is not None
    with bare_page(program, tmp_path / "profile", OPTIONS) as page:
        page.go("data:text/html,<p data-state=loaded>here</p>")
        page.wait_for("document.querySelector('[data-state=loaded]')")
        assert page.evaluate("document.body.innerText") == "here"
        before = page.private_memory()
        assert before > 1 << 20
        page.evaluate("globalThis.kept = new Uint8Array(128 << 20).fill(1); 0")
        assert 100 << 20 < page.private_memory() - before < 200 << 20
        with pytest.raises(CommandFailed, match=r"No[.]such"):
            page.call("No.such")

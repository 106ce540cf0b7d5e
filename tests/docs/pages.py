"""The command blocks of the documentation, read from its pages.

A block fenced as `console` is run; `docs/console.py` says what it may hold.

A block fenced as `sh not-run="REASON"` is not run, for the reason it gives.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt

from docs.console import Command, read_console

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted(DOCS.rglob("*.md")),
]

_NOT_RUN = re.compile(r'sh not-run="([^"]+)"')


class Block(NamedTuple):
    """A fenced or indented block.

    Parameters:
        page: the file.
        line: the line of its first line of text, from 1.
        info: what stands behind the fence; None for an indented block.
        text: its lines.
    """

    page: Path
    line: int
    info: str | None
    text: str

    @property
    def reason(self) -> str | None:
        """Why its commands are not run; None where they are, or where there are none."""
        found = _NOT_RUN.fullmatch(self.info or "")
        return found[1] if found else None


def read_blocks(page: Path) -> list[Block]:
    """All blocks of a page."""
    tokens = MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8"))
    return [
        Block(page, (token.map or [0])[0] + (2 if token.type == "fence" else 1), info, token.content)
        for token in tokens
        if token.type in {"fence", "code_block"}
        for info in [token.info.strip() if token.type == "fence" else None]
    ]


def read_commands(page: Path) -> list[Command]:
    """The commands of a page that are run, in its order; `line` counts from 1 in the page."""
    return [
        command._replace(line=block.line + command.line)
        for block in read_blocks(page)
        if block.info == "console"
        for command in read_console(block.text)
    ]

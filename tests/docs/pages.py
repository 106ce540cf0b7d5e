"""The command blocks of the documentation, read from its pages.

A block fenced as `console` is run: a line that begins with `$ ` is a command, which goes on behind a `\\` at the end
of a line and to the end of a here-document. The lines behind it are what it prints; `...` stands for anything. A
command that ends with `&` stays, and what it prints is waited for. Every command ends with 0; where that is the
point, the page says `; echo "exit status $?"`.

A block fenced as `sh not-run="REASON"` is not run, for the reason it gives.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted(DOCS.rglob("*.md")),
]

_HERE_DOCUMENT = re.compile(r"<<-?\s*['\"]?(\w+)['\"]?")
_NOT_RUN = re.compile(r'sh not-run="([^"]+)"')


class Command(NamedTuple):
    """One command of a page.

    Parameters:
        line: its line in the page, from 1.
        text: what is typed.
        prints: the lines that the page shows of its output.
    """

    line: int
    text: str
    prints: tuple[str, ...]

    @property
    def stays(self) -> bool:
        """Whether it is left running."""
        return self.text.endswith("&") and not self.text.endswith("&&")


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
    """The commands of a page that are run, in its order."""
    return [command for block in read_blocks(page) if block.info == "console" for command in _commands(block)]


def _commands(block: Block) -> Iterator[Command]:
    lines = block.text.splitlines()
    at = 0
    while at < len(lines):
        begins = at
        if not lines[at].startswith("$ "):
            raise ValueError(f"{block.page}:{block.line + at}: output without a command before it")
        text = [lines[at][2:]]
        here = _HERE_DOCUMENT.search(text[0])
        while at + 1 < len(lines) and (text[-1].endswith("\\") or (here and lines[at] != here[1])):
            at += 1
            text.append(lines[at])
        at += 1
        prints = []
        while at < len(lines) and not lines[at].startswith("$ "):
            prints.append(lines[at])
            at += 1
        yield Command(block.line + begins, "\n".join(text), tuple(line for line in prints if line.strip()))

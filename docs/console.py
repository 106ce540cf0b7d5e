"""What stands in a block fenced as `console`: commands, and what they print.

A line that begins with `$ ` is a command, which goes on behind a `\\` at the end of a line and to the end of a
here-document. The lines behind it are what it prints; `...` stands for anything. A command that ends with `&` stays,
and what it prints is waited for. Every command ends with 0; where that is the point, the page says
`; echo "exit status $?"`. The site shows these blocks, and the tests run them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_HERE_DOCUMENT = re.compile(r"<<-?\s*['\"]?(\w+)['\"]?")


class OutputFirst(ValueError):
    """A block that begins with output, of no command."""


class Command(NamedTuple):
    """One command of a page.

    Parameters:
        line: the line that it begins in, from 0 in a block.
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


def read_console(text: str) -> Iterator[Command]:
    """The commands of a block, in its order.

    Raises:
        OutputFirst: the first line is no command.
    """
    lines = text.splitlines()
    at = 0
    while at < len(lines):
        begins = at
        if not lines[at].startswith("$ "):
            raise OutputFirst(f"output without a command before it: {lines[at]}")
        typed = [lines[at][2:]]
        here = _HERE_DOCUMENT.search(typed[0])
        while at + 1 < len(lines) and (typed[-1].endswith("\\") or (here and lines[at] != here[1])):
            at += 1
            typed.append(lines[at])
        at += 1
        prints = []
        while at < len(lines) and not lines[at].startswith("$ "):
            prints.append(lines[at])
            at += 1
        yield Command(begins, "\n".join(typed), tuple(prints))

"""One row of the table of codes."""

from __future__ import annotations

from typing import NamedTuple


class Code(NamedTuple):
    """One row.

    Parameters:
        code: dotted name, lower case; the part before the dot groups codes in the docs.
        title: a few words, for headings and lists.
        meaning: one or two sentences: what was found.
        causes: likely causes, harmless ones first.
        fix: what to do now.
    """

    code: str
    title: str
    meaning: str
    causes: tuple[str, ...]
    fix: str

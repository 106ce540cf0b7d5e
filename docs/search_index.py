"""What the search of the site looks through: the text of each section of each page, as a script that sets one value.

A script and not JSON, since a page that was opened from a disk may load the one and not the other.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import NamedTuple

from markdown_it.token import Token


class Section(NamedTuple):
    """A heading with what stands below it, up to the next one.

    Parameters:
        address: of the page below the site, with the heading's anchor; the page alone for its title.
        page: the page's title.
        heading: its own; empty for the page's beginning.
        text: what it says, without markup.
    """

    address: str
    page: str
    heading: str
    text: str


def read_sections(tokens: Iterable[Token], *, target: str, title: str) -> list[Section]:
    """The sections of a page.

    Parameters:
        tokens: the page, read, its headings with their anchors as `id`.
        target: its path below the site.
        title: its one heading of the first level.
    """
    sections: list[Section] = []
    address, heading, words = target, "", list[str]()
    naming = ""

    def end() -> None:
        text = " ".join(" ".join(words).split())
        if text or heading:
            sections.append(Section(address, title, heading, text))
        words.clear()

    for token in tokens:
        if token.type == "heading_open":
            end()
            first = token.tag == "h1"
            address, heading = (target if first else f"{target}#{token.attrGet('id')}"), ""
            naming = "title" if first else "heading"
        elif token.type == "inline":
            text = _plain(token)
            if naming == "heading":
                heading = text
            elif not naming:
                words.append(text)
            naming = ""
        elif token.type in {"fence", "code_block"} and token.info.strip() != "mermaid":
            words.append(token.content)
    end()
    return sections


def _plain(inline: Token) -> str:
    """The words of a line, pictures by what they are called."""
    parts = {"softbreak": " ", "hardbreak": " "}
    return "".join(parts.get(child.type, child.content) for child in inline.children or [])


def render_index(sections: Iterable[Section]) -> str:
    """The script."""
    rows = json.dumps([list(section) for section in sections], separators=(",", ":"))
    return f"globalThis.siteSections = {rows};\n"

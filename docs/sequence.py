"""Draw the sequence diagrams of the pages as SVG, from the part of Mermaid's notation that they use.

A page holds the text, which can be read as it is; the site shows the drawing, with the text beside it for those who
cannot see it. Known are `participant`, messages (`->>`, `-->>`, `-x`), `Note over`, `alt`, `else` and `end`.
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass, field
from html import escape

_PARTICIPANT = re.compile(r"participant (\w+)(?: as (.+))?")
_MESSAGE = re.compile(r"(\w+)\s*(-->>|->>|-x)\s*(\w+)\s*:\s*(.+)")
_NOTE = re.compile(r"Note over (\w+)(?:\s*,\s*(\w+))?\s*:\s*(.+)")
_FRAME = re.compile(r"(alt|else)\s+(.+)")

_CHARACTER = 6.7  # of 12 px text, on the generous side: fonts differ
_LINE = 15
_GAP = 150
_MARGIN = 12
_WRAP = 38
_MARKERS = (
    '<defs><marker id="arrow.head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" '
    'orient="auto-start-reverse"><path d="M0 0 L8 4 L0 8 z"/></marker>'
    '<marker id="arrow.cross" viewBox="0 0 8 8" refX="4" refY="4" markerWidth="10" markerHeight="10">'
    '<path class="line" d="M1 1 L7 7 M7 1 L1 7"/></marker></defs>'
)


class UnknownLine(ValueError):
    """A line that is no part of the notation known here."""


@dataclass
class _Drawing:
    columns: dict[str, float]
    parts: list[str] = field(default_factory=list)
    y: float = 0
    right: float = 0

    def text(self, x: float, y: float, lines: list[str], anchor: str = "middle", style: str = "") -> None:
        for number, line in enumerate(lines):
            self.parts.append(
                f'<text x="{x:.0f}" y="{y + number * _LINE:.0f}" text-anchor="{anchor}"{style}>{escape(line)}</text>'
            )

    def message(self, begin: str, arrow: str, end: str, words: str) -> None:
        lines = textwrap.wrap(words, _WRAP)
        x, to = self.columns[begin], self.columns[end]
        dash = ' stroke-dasharray="5 4"' if arrow == "-->>" else ""
        head = "arrow.cross" if arrow == "-x" else "arrow.head"  # no heading's anchor has a dot
        self.y += 20
        if begin == end:
            self.text(x + 34, self.y, lines, "start")
            middle = self.y - 4 + (len(lines) - 1) * _LINE / 2
            path = f"M{x:.0f} {middle - 8:.0f} h24 v16 h-20"
            self.right = max(self.right, x + 34 + max(map(len, lines)) * _CHARACTER)
            self.y += (len(lines) - 1) * _LINE + 4
        else:
            self.text((x + to) / 2, self.y, lines)
            self.y += (len(lines) - 1) * _LINE + 7
            path = f"M{x:.0f} {self.y:.0f} H{to - 4 if to > x else to + 4:.0f}"
        self.parts.append(f'<path d="{path}" class="line"{dash} marker-end="url(#{head})"/>')

    def note(self, first: str, last: str, words: str) -> None:
        left, right = sorted((self.columns[first], self.columns[last]))
        left, right = left - 64, right + 64
        lines = textwrap.wrap(words, int((right - left - 12) / _CHARACTER))
        self.y += 10
        height = len(lines) * _LINE + 8
        self.parts.append(
            f'<rect x="{left:.0f}" y="{self.y:.0f}" width="{right - left:.0f}" height="{height}" class="note"/>'
        )
        self.text((left + right) / 2, self.y + 16, lines)
        self.right = max(self.right, right)
        self.y += height


def draw_sequence(text: str, name: str) -> str:
    """The diagram as an `svg` element whose colours are those of the page.

    Parameters:
        text: Mermaid's notation, beginning with `sequenceDiagram`.
        name: what a screen reader says of it.

    Raises:
        UnknownLine: a line is none of those that are known; the text has it.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines or lines[0] != "sequenceDiagram":
        raise UnknownLine(f"no sequence diagram: {lines[0] if lines else ''}")
    labels: dict[str, str] = {}
    for line in lines[1:]:
        if found := _PARTICIPANT.fullmatch(line):
            labels[found[1]] = found[2] or found[1]
    columns = _columns(labels, lines)
    drawing = _Drawing(columns, y=44, right=max(columns.values(), default=0) + 70)
    frames: list[float] = []
    for line in lines[1:]:
        _draw_line(drawing, line, frames)
    if frames:
        raise UnknownLine("alt without end")
    height, width = drawing.y + 28, drawing.right + _MARGIN
    heads = []
    for key, label in labels.items():
        x = columns[key]
        heads.append(f'<path d="M{x:.0f} 34 V{height - 12:.0f}" class="life"/>')
        heads.append(f'<rect x="{x - 66:.0f}" y="4" width="132" height="34" rx="4" class="actor"/>')
        rows = textwrap.wrap(label, 20)
        for number, row in enumerate(rows):
            y = 25 + (number - (len(rows) - 1) / 2) * 14
            heads.append(f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="middle">{escape(row)}</text>')
    return (
        f'<svg class="sequence" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" role="img" '
        f'aria-label="{escape(name)}">{_MARKERS}{"".join(heads)}{"".join(drawing.parts)}</svg>'
    )


def _draw_line(drawing: _Drawing, line: str, frames: list[float]) -> None:
    if _PARTICIPANT.fullmatch(line):
        return
    if found := _MESSAGE.fullmatch(line):
        _known(drawing, line, found[1], found[3])
        drawing.message(found[1], found[2], found[3], found[4])
    elif found := _NOTE.fullmatch(line):
        _known(drawing, line, found[1], found[2] or found[1])
        drawing.note(found[1], found[2] or found[1], found[3])
    elif found := _FRAME.fullmatch(line):
        drawing.y += 14
        if found[1] == "alt":
            frames.append(drawing.y)
        elif not frames:
            raise UnknownLine(line)
        else:
            drawing.parts.append(
                f'<path d="M{_MARGIN / 2:.0f} {drawing.y:.0f} H{drawing.right + 4:.0f}" class="frame"/>'
            )
        drawing.text(_MARGIN + 4, drawing.y + 15, [f"[{found[2]}]"], "start", ' class="condition"')
        drawing.y += 20
    elif line == "end" and frames:
        top = frames.pop()
        drawing.y += 12
        drawing.parts.append(
            f'<rect x="{_MARGIN / 2:.0f}" y="{top:.0f}" width="{drawing.right - 2:.0f}" '
            f'height="{drawing.y - top:.0f}" class="frame"/>'
        )
    else:
        raise UnknownLine(line)


def _known(drawing: _Drawing, line: str, *names: str) -> None:
    if any(name not in drawing.columns for name in names):
        raise UnknownLine(f"no such participant: {line}")


def _columns(labels: dict[str, str], lines: list[str]) -> dict[str, float]:
    """Where each participant stands: far enough from the last one for what is said between two neighbours."""
    order = list(labels)
    gaps = [float(_GAP)] * max(0, len(order) - 1)
    for line in lines:
        found = _MESSAGE.fullmatch(line)
        if found is None or found[1] not in labels or found[3] not in labels:
            continue
        first, last = sorted((order.index(found[1]), order.index(found[3])))
        width = max(map(len, textwrap.wrap(found[4], _WRAP))) * _CHARACTER
        if first == last and first < len(gaps):
            gaps[first] = max(gaps[first], width + 44)
        elif last == first + 1:
            gaps[first] = max(gaps[first], width + 24)
    places, x = {}, 78.0
    for index, name in enumerate(order):
        places[name] = x
        x += gaps[index] if index < len(gaps) else 0
    return places

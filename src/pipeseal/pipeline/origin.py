"""Where a pipeline came from: from a path inside it back to file, line and column."""

from __future__ import annotations

import re

from pipeseal.errors import MalformedInput, Position
from pipeseal.pipeline.nodes import SEQUENCE, Node, TreeReader
from pipeseal.pipeline.yaml import Limits, Source


class Origin:
    """The text a pipeline was parsed from.

    The values of a pipeline carry no positions, which keeps reading fast; the text is read a second time when
    somebody asks where something stands.

    Parameters:
        source: the text.
        document: which document of it, from 0.
        limits: the limits it was read with.
    """

    __slots__ = ("_document", "_limits", "_reader", "_root", "source")

    def __init__(self, source: Source, document: int, limits: Limits) -> None:
        self.source = source
        self._document = document
        self._limits = limits
        self._reader: TreeReader | None = None
        self._root: Node | None = None

    def find(self, path: tuple[str | int, ...], *, near: str | re.Pattern[str] = "") -> Position | None:
        """The position of the value at a path; of the nearest one around it when it does not stand there itself.

        Parameters:
            path: keys and indices from the document's root, such as `("steps", 2, "env", "REGION")`.
            near: some text inside the value, or a pattern for it; its own position is given when it is found there.

        Returns:
            A position, or None when there is no such document (any more).
        """
        try:
            if self._reader is None:
                self._reader = TreeReader(self.source, self._limits)
                for _ in range(self._document + 1):
                    self._root = self._reader.read_node()
            if self._root is None:
                return None
            if self._root.kind == SEQUENCE and path[:1] == ("steps",):
                # A bare list of steps has no member of that name.
                path = path[1:]
            node = self._reader.find(self._root, path)
        except MalformedInput:
            return None
        return self._inside(node, near) or self.source.position(node.line, node.column)

    def _inside(self, node: Node, near: str | re.Pattern[str]) -> Position | None:
        for line in range(node.line, node.end_line + 1) if near else ():
            text = self.source.line_text(line)
            start = node.column - 1 if line == node.line else 0
            if isinstance(near, str):
                column = text.find(near, start)
            else:
                match = near.search(text, start)
                column = match.start() if match else -1
            if column >= 0:
                return self.source.position(line, column + 1)
        return None

"""Patterns that a policy names things with: `*` for any characters and `?` for one, or regular expressions."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import translate


@dataclass(frozen=True, slots=True)
class Patterns:
    """Some patterns; a text is allowed when one of them matches.

    Parameters:
        texts: as they were written.
        compiled: the same, to be searched for.
    """

    texts: tuple[str, ...]
    compiled: tuple[re.Pattern[str], ...]

    def match(self, text: str) -> bool:
        """Whether one of the patterns matches `text`."""
        return any(pattern.search(text) for pattern in self.compiled)

    def __bool__(self) -> bool:
        return bool(self.texts)

    def __add__(self, other: Patterns) -> Patterns:
        return Patterns(self.texts + other.texts, self.compiled + other.compiled)

    def __str__(self) -> str:
        return ", ".join(self.texts) or "none"


NONE = Patterns((), ())


def globs(texts: Iterable[str]) -> Patterns:
    """Patterns of a policy file: `*` any characters, `?` one, `[ab]` one of them; the whole text must match."""
    texts = tuple(texts)
    return Patterns(texts, tuple(re.compile(r"\A" + translate(text)) for text in texts))


def expressions(texts: Iterable[str]) -> Patterns:
    """The ecosystem's regular expressions (`--allowed-repositories` and the like): a match anywhere counts.

    Raises:
        re.error: one of them is none; settings are checked before they come here.
    """
    texts = tuple(texts)
    return Patterns(texts, tuple(re.compile(text) for text in texts))

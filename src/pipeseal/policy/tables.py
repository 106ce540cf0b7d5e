"""Reading settings from TOML strictly: unknown keys are refused, with the line and the nearest key that there is."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, NoReturn

from pipeseal.errors import MalformedInput, Position
from pipeseal.policy.patterns import Patterns, globs

MAX_FILE_BYTES = 1 << 20


class Key(NamedTuple):
    """One key of the file, for reading and for the docs.

    Parameters:
        kind: what its value is: `text`, `texts` (one or a list), `boolean`, `number`, `time`, or words with `|`.
        meaning: one sentence.
    """

    kind: str
    meaning: str


class Place(NamedTuple):
    """A table of a file: `()` the top, `("allow", 0)` the first of `[[allow]]`, `("key", "id")` is `[key.id]`.

    Parameters:
        path: names and numbers from the top.
        words: what it is called in messages.
    """

    path: tuple[str | int, ...]
    words: str


def _syntax(error: Exception, data: bytes, source: str, code: str) -> MalformedInput:
    message = str(error)
    if isinstance(error, UnicodeDecodeError):
        message, line, column = "not UTF-8", data[: error.start].count(b"\n") + 1, 1
    elif match := re.search(r"\(at line (\d+), column (\d+)\)", message):
        message, line, column = message[: match.start()].strip(), int(match[1]), int(match[2])
    elif message.endswith("(at end of document)"):
        message, line, column = message.removesuffix("(at end of document)").strip(), data.count(b"\n") + 1, 1
    else:
        return MalformedInput(code, f"{source} is not TOML: {message[:200] or type(error).__name__}")
    lines = data.decode("utf-8", "replace").split("\n")
    position = Position(source, line, column, lines[line - 1].rstrip("\r") if line <= len(lines) else "")
    return MalformedInput(code, f"this is not TOML: {message}", position=position)


class TableReader:
    """Turns a parsed document into values, and knows where in the text each key stands. One for each kind of file.

    Parameters:
        data: TOML 1.0, UTF-8.
        source: the file's name, for messages.

    Raises:
        MalformedInput: by the kind's `SYNTAX` code: no TOML, or too long.
    """

    SYNTAX: ClassVar[str]
    KEY: ClassVar[str]
    VALUE: ClassVar[str]
    # What the file is called: "a policy".
    WHAT: ClassVar[str]
    # All keys of all its tables, to find the nearest among.
    ALL_KEYS: ClassVar[tuple[str, ...]]

    def __init__(self, data: bytes, source: str) -> None:
        import tomllib

        if len(data) > MAX_FILE_BYTES:
            raise MalformedInput(
                self.SYNTAX, f"{source} has {len(data):,} bytes; {self.WHAT} has at most {MAX_FILE_BYTES:,}"
            )
        try:
            self._text = data.decode("utf-8")
            self.document: dict[str, Any] = tomllib.loads(self._text)
        except (ValueError, RecursionError) as error:
            raise _syntax(error, data, source, self.SYNTAX) from None
        self._source = source

    def check_version(self, top: Place, wanted: int) -> None:
        """Refuse a file that does not say that it is written in this version of its format."""
        version = self.document.get("version")
        if version is None:
            raise MalformedInput(
                self.SYNTAX,
                f"{self._source} does not say which version of the format it is written in",
                help=f"begin it with: version = {wanted}",
            )
        if type(version) is not int or version != wanted:
            self.refuse("version", top, f"is {version!r}; this program knows version {wanted}")

    # --- values ---------------------------------------------------------------------------------------------------

    def texts(self, table: Mapping[str, Any], name: str, place: Place) -> Patterns | None:
        """Patterns: a text or a list of texts; None when the key is not there."""
        value = table.get(name)
        if value is None:
            return None
        items = [value] if isinstance(value, str) else value
        if not isinstance(items, list) or not all(isinstance(item, str) and 0 < len(item) <= 1000 for item in items):
            self.refuse(name, place, "has to be a text or a list of texts")
        if len(items) > 1000:
            self.refuse(name, place, f"has {len(items):,} entries; there can be 1,000")
        return globs(items)

    def not_empty(self, patterns: Patterns, name: str, place: Place) -> None:
        """Refuse a list that would allow nothing."""
        if not patterns:
            self.refuse(name, place, "is an empty list, which would allow nothing")

    def boolean(self, table: Mapping[str, Any], name: str, place: Place) -> bool | None:
        """True, false, or None when the key is not there."""
        value = table.get(name)
        if value is not None and not isinstance(value, bool):
            self.refuse(name, place, "has to be true or false")
        return value

    def number(self, table: Mapping[str, Any], name: str, place: Place) -> int | None:
        """A whole number from 1 to 1000; None when the key is not there."""
        value = table.get(name)
        if value is not None and (type(value) is not int or not 1 <= value <= 1000):
            self.refuse(name, place, "has to be a whole number from 1 to 1000")
        return value

    def word(self, table: Mapping[str, Any], keys: Mapping[str, Key], name: str, place: Place) -> str:
        """One of the words that the key can have; empty when it is not there."""
        value = table.get(name)
        if value is None:
            return ""
        words = keys[name].kind.split("|")
        if value not in words:
            self.refuse(name, place, f"is {str(value)[:60]!r}; it has to be {' or '.join(words)}")
        return str(value)

    def path(self, table: Mapping[str, Any], name: str, place: Place) -> Path | None:
        """A file, beside this one where it is not named from the root; None when the key is not there."""
        value = table.get(name)
        if value is None:
            return None
        if not isinstance(value, str) or not value or "\0" in value:
            self.refuse(name, place, "has to be the path of a file")
        return Path(os.path.abspath(Path(self._source).parent / value))  # noqa: PTH100  (links are followed later)

    def time(self, table: Mapping[str, Any], name: str, place: Place, *, ends: bool = False) -> float | None:
        """Seconds since 1970 of a date or time; None when it is not there. With `ends` a day alone means its end."""
        value = table.get(name)
        if value is None:
            return None
        if isinstance(value, date) and not isinstance(value, datetime):
            # A day alone means the whole of it.
            value = datetime.combine(value, time.max if ends else time.min, UTC)
        if not isinstance(value, datetime):
            self.refuse(name, place, "has to be a date or a time, such as 2027-01-31 or 2027-01-31T12:00:00Z")
        if value.tzinfo is None:
            value = value.replace(tzinfo=UTC)
        try:
            return float(value.timestamp())
        except (OverflowError, ValueError):
            self.refuse(name, place, "is out of this calendar")

    # --- errors ---------------------------------------------------------------------------------------------------

    def known(self, table: Mapping[str, Any], keys: Mapping[str, Key], place: Place) -> None:
        """Refuse a key that `keys` does not have, with the nearest that there is."""
        for name in table:
            if name in keys:
                continue
            from difflib import get_close_matches

            near = get_close_matches(name, list(keys), 2) or get_close_matches(name, self.ALL_KEYS, 1)
            elsewhere = "" if not near or near[0] in keys else " (in another part of the file)"
            raise MalformedInput(
                self.KEY,
                f"{place.words} has no key {name[:60]!r}",
                help=f"did you mean {' or '.join(near)}?{elsewhere}" if near else f"it can have: {', '.join(keys)}",
                position=self.find(name, place),
            )

    def refuse(self, name: str, place: Place, problem: str) -> NoReturn:
        """Refuse the value of a key, with its line."""
        raise MalformedInput(self.VALUE, f"`{name}` of {place.words} {problem}", position=self.find(name, place))

    def find(self, name: str, place: Place) -> Position | None:
        """Where a key stands, which TOML readers do not say; None if it is written oddly."""
        current: tuple[str | int, ...] = ()
        seen: dict[str, int] = {}
        for number, line in enumerate(self._text.split("\n"), 1):
            bare = line.strip()
            if match := _HEADER.match(bare):
                words = [_bare(word) for word in _WORD.findall(match[2])]
                if match[1] == "[[":
                    seen[words[0]] = seen.get(words[0], -1) + 1
                    current = (words[0], seen[words[0]])
                else:
                    current = tuple(words)
                inside, key = current[:-1], current[-1] if current else ""
                found = match[1] == "[" and inside == place.path and key == name
            elif match := _ASSIGNMENT.match(bare):
                found = current == place.path and _bare(match[1]) == name
            else:
                continue
            if found:
                return Position(self._source, number, len(line) - len(line.lstrip()) + 1, line.rstrip("\r"))
        return None


_WORD = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'[^']*'|[A-Za-z0-9_-]+")
_HEADER = re.compile(rf"(\[\[?)\s*((?:{_WORD.pattern})(?:\s*\.\s*(?:{_WORD.pattern}))*)\s*\]")
_ASSIGNMENT = re.compile(rf"({_WORD.pattern})\s*[.=]")


def _bare(word: str) -> str:
    return word[1:-1] if word[:1] in ("'", '"') else word

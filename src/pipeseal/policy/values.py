"""What the value of a server variable may look like: one type for each sort of fact, strict and bounded.

A value of a type (except free text) holds no quote, no white space but single blanks, no control character and
nothing that a shell expands, and never begins with a dash. So a hook that forgets its quotes does no harm with it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from pipeseal.agentapi.traceparent import LENGTH, PATTERN


class ValueType(NamedTuple):
    """A sort of value.

    Parameters:
        name: as the docs call it.
        words: what it has to be, to follow "is not".
        pattern: what matches as a whole; None when `check` alone decides.
        max_length: in characters.
        check: a further condition; True when it holds.
    """

    name: str
    words: str
    pattern: re.Pattern[str] | None
    max_length: int
    check: Callable[[str], bool] | None = None

    def admits(self, value: str) -> bool:
        """Whether `value` is of this type."""
        return (
            len(value) <= self.max_length
            and (self.pattern is None or self.pattern.fullmatch(value) is not None)
            and (self.check is None or self.check(value))
        )


def _is_reference(value: str) -> bool:
    # git check-ref-format, as far as it matters: nothing that git reads as an operator or a path outside of refs/.
    return not (
        ".." in value or "//" in value or "@{" in value or "/." in value or value.endswith(("/", ".", ".lock"))
    )


def _are_inside(value: str) -> bool:
    # Artifact patterns: no options, nothing outside of the working directory, nothing that a shell expands.
    if any(character < " " or character in "\"'`$\x7f" for character in value):
        return False
    parts = [part.strip() for part in value.split(";")]
    return not any(part.startswith(("-", "/", "~")) or ".." in part.split("/") for part in parts)


def _has_no_nul(value: str) -> bool:
    return "\0" not in value


TRUE = ValueType("true", "`true`", re.compile(r"true"), 4)
FALSE = ValueType("false", "`false`", re.compile(r"false"), 5)
BOOLEAN = ValueType("boolean", "`true` or `false`", re.compile(r"true|false"), 5)
NUMBER = ValueType("number", "a whole number", re.compile(r"0|[1-9][0-9]*"), 12)
NUMBER_OR_FALSE = ValueType("number or false", "a whole number or `false`", re.compile(r"false|0|[1-9][0-9]*"), 12)
IDENTIFIER = ValueType("identifier", "an identifier", re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*"), 100)
SLUG = ValueType("slug", "a slug (a-z, 0-9 and dashes)", re.compile(r"[a-z0-9][a-z0-9-]*"), 100)
KEY = ValueType("key", "a step's key", re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]*"), 255)
WORD = ValueType("word", "one word", re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/@+-]*"), 100)
PLAIN = ValueType(
    "plain text",
    "plain text (letters, digits, blanks and `.,_:/@+=#%-`)",
    re.compile(r"[\w./@+][\w.,:/@+=#%-]*(?: [\w.,:/@+=#%-]+)*"),
    255,
)
AGENT_NAME = ValueType(
    "agent's name",
    "the name of an agent (letters, digits, blanks and `.,_:@+=#%-`)",
    re.compile(r"\w[\w.,:@+=#%-]*(?: [\w.,:@+=#%-]+)*"),
    255,
)
OBJECT_ID = ValueType(
    "object id", "a full object id (40 or 64 of 0-9a-f)", re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?"), 64
)
COMMIT = ValueType(
    "object id or HEAD",
    "a full object id (40 or 64 of 0-9a-f) or `HEAD`",
    re.compile(r"HEAD|[0-9a-f]{40}(?:[0-9a-f]{24})?"),
    64,
)
REFERENCE = ValueType(
    "branch or tag",
    "a branch or tag (letters, digits and `._/+@=#%,:-`)",
    re.compile(r"[\w.+@=#%][\w./+@=#%,:-]*"),
    255,
    _is_reference,
)
URL = ValueType(
    "URL", "a web address", re.compile(r"https?://[A-Za-z0-9.:\[\]-]+(?:/[A-Za-z0-9._~:/?#@%=+,-]*)?"), 2000
)
REMOTE = ValueType(
    "repository",
    "the address of a repository",
    re.compile(r"(?:(?:https?|git|ssh)://)?[A-Za-z0-9_][A-Za-z0-9._~:/@%+-]*"),
    2000,
)
TRACE_PARENT = ValueType("trace parent", "a `traceparent` of W3C Trace Context", PATTERN, LENGTH)
PATTERNS = ValueType("patterns", "patterns of files inside the working directory", None, 16_384, _are_inside)
ANYTHING = ValueType("text", "text", None, 2**31, _has_no_nul)
NOTHING = ValueType("nothing", "empty", re.compile(r""), 0)

MAX_TEXT_BYTES = 65_536
TEXT = ValueType("free text", f"text of at most {MAX_TEXT_BYTES:,} characters", None, MAX_TEXT_BYTES, _has_no_nul)
# A commit message may be endless: it is shortened, where another text would be refused.
MESSAGE = ValueType("free text", "text", None, 2**31, _has_no_nul)

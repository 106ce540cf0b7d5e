"""Regular expressions of conditions, matched in linear time.

Conditions come from anybody who can write a pipeline file, and they run in the control plane, so a backtracking
engine is out of the question. RE2 does the matching. It has no look-around; the one form people use in conditions,
look-ahead straight after `^`, is taken apart here: `/^(?!main$|dev$)feature/` matches what `/^feature/` matches and
`/^(?:main$|dev$)/` does not.

`^` and `$` are the ends of the whole text, `.` is any character but a line feed; `(?m)` and `(?s)` change that.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from pipeseal.controlplane.domain.conditions.origin import Origin

MAX_PROGRAM = 3_000  # instructions of all regular expressions of one condition
_DEFAULT_WORK = 30_000_000  # about 0.1 s at the very worst, and next to nothing usually
_MAX_MEMORY = 4 * 1024 * 1024
_AHEAD = re.compile(r"\(\?([=!])")
_ANY_BYTE = re.compile(r"(?:[^\\]|\\[^C])*\\C", re.DOTALL)
_LOOK_HELP = "look-around works only as look-ahead straight after `^`, as in `/^(?!main$)/`"


@dataclass(slots=True)
class MatchBudget:
    """How much matching is still allowed, shared by whatever should have one limit together.

    Parameters:
        left: instructions times characters; RE2 does 250 to 300 million of them a second when it has to do them all.
    """

    left: int = _DEFAULT_WORK


@dataclass(frozen=True, slots=True)
class Pattern:
    """A regular expression.

    Parameters:
        at: offset in the condition.
        text: as written, without slashes.
        parts: compiled RE2 expressions, each with whether it has to match; all of them must be satisfied.
        size: instructions of its program.
    """

    at: int
    text: str
    parts: tuple[tuple[Any, bool], ...]
    size: int

    def matches(self, origin: Origin, subject: str, budget: MatchBudget) -> bool:
        """Whether it is found in `subject`.

        Parameters:
            budget: is charged for it, in full, whatever it really took.

        Raises:
            MalformedInput: `condition.limit`, the budget is used up.
        """
        budget.left -= self.size * len(subject)
        if budget.left < 0:
            raise origin.limit(
                self.at,
                f"searching {len(subject)} characters for this regular expression is more than is allowed",
                "anchor it with `^`, or compare something shorter",
            )
        encoded = subject.encode("utf-8", "replace")
        return all((part.search(encoded) is not None) is wanted for part, wanted in self.parts)


def compile_pattern(origin: Origin, at: int, text: str, flags: str) -> Pattern:
    """The regular expression `text`.

    Parameters:
        at: offset of its opening slash.
        flags: letters behind its closing slash; `i` (ignore case) is the only one.

    Raises:
        MalformedInput: `condition.pattern`; `condition.limit` when it is too large.
    """
    if flags not in ("", "i"):
        raise origin.pattern(at, f"a regular expression cannot have the flags `{flags}`", "`i` is the only flag")
    if _ANY_BYTE.match(text):
        raise origin.pattern(at, "`\\C` is not supported")
    ignore_case = flags == "i"
    parts = []
    size = 0
    for piece, start, wanted in _pieces(origin, at, text):
        compiled = _compile(origin, at, piece, start, ignore_case)
        size += compiled.programsize
        parts.append((compiled, wanted))
    if size > MAX_PROGRAM:
        raise origin.limit(at, f"this regular expression is too large ({size} steps, at most {MAX_PROGRAM})")
    return Pattern(at, text, tuple(parts), size)


def _pieces(origin: Origin, at: int, text: str) -> list[tuple[str, int, bool]]:
    """The expression without leading look-ahead: `(expression, its offset in the text, must match)`."""
    pieces: list[tuple[str, int, bool]] = []
    end = 1
    while text.startswith("^") and (ahead := _AHEAD.match(text, end)):
        start, end = ahead.end(), _close(text, end)
        if not end:
            raise origin.pattern(at, "a parenthesis of this regular expression is not closed")
        pieces.append((f"^(?:{text[start : end - 1]})", start - 4, ahead[1] == "="))
    if not pieces:
        return [(text, 0, True)]
    if _has_alternatives(text[end:]):
        raise origin.pattern(
            at, "a `|` beside a look-ahead is not supported", "put parentheses around the alternatives"
        )
    return [*pieces, (f"^{text[end:]}", end - 1, True)]


def _compile(origin: Origin, at: int, text: str, start: int, ignore_case: bool) -> Any:
    import re2

    options = re2.Options()
    options.case_sensitive = not ignore_case
    options.max_mem = _MAX_MEMORY
    options.log_errors = False
    try:
        return re2.compile(text.encode("utf-8", "replace"), options)
    except re2.error as error:
        reason = error.args[0] if error.args else "not a regular expression"
        message = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        if "too large" in message:
            raise origin.limit(at, "this regular expression is too large") from error
        what, _, fragment = message.rpartition(": ")
        found = text.find(fragment) if fragment else -1
        place = min(max(at + 1 + start + found, at), len(origin.text)) if found >= 0 else at
        if fragment.startswith(("(?=", "(?!", "(?<=", "(?<!")):
            raise origin.pattern(place, f"`{fragment}` is not supported in this place", _LOOK_HELP) from error
        raise origin.pattern(place, f"not a regular expression: {what or 'error'} `{fragment}`") from error


def _close(text: str, at: int) -> int:
    """The offset behind the parenthesis that closes the one at `at`; 0 when none does."""
    depth = 0
    for offset, character in _outside_classes(text, at):
        depth += (character == "(") - (character == ")")
        if depth == 0:
            return offset + 1
    return 0


def _has_alternatives(text: str) -> bool:
    depth = 0
    for _offset, character in _outside_classes(text, 0):
        depth += (character == "(") - (character == ")")
        if character == "|" and depth == 0:
            return True
    return False


def _outside_classes(text: str, at: int) -> list[tuple[int, str]]:
    """Characters with their offsets, without escaped ones and without those in `[...]`."""
    found: list[tuple[int, str]] = []
    while at < len(text):
        if text[at] == "\\":
            at += 2
            continue
        if text[at] == "[":
            at += 1
            at += text.startswith("^", at)
            at += text.startswith("]", at)  # a `]` in the first place stands for itself
            while at < len(text) and text[at] != "]":
                if text.startswith("[:", at) and (end := text.find(":]", at)) >= 0:
                    at = end + 2
                else:
                    at += 2 if text[at] == "\\" else 1
            at += 1
            continue
        found.append((at, text[at]))
        at += 1
    return found

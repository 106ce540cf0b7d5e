"""Regular expressions in linear time: a pattern comes from a job, so it must not be able to stall the server.

Matching follows all alternatives at once (Thompson 1968), so its time is the pattern's size times the text's,
whatever the pattern. Understood: literals, `.`, classes, `\\d \\w \\s \\b` and their opposites, `^ $ \\A \\z \\Z`,
groups, `|`, `* + ? {m,n}` (lazy marks too, which make no difference to whether something matches). Not understood,
and an error: back-references and look-around.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from pipeseal.errors import MalformedInput

_MAX_STATES = 2_000
_MAX_REPEAT = 100

_Test: TypeAlias = Callable[[str], bool]


class _State(NamedTuple):
    """One state: a test for one character, an assertion about a place, or a fork; then where to go."""

    test: _Test | None
    assertion: str
    targets: list[int]


def _is_word(character: str) -> bool:
    return character == "_" or character.isalnum()


_CLASSES: dict[str, _Test] = {
    "d": str.isdecimal,
    "D": lambda character: not character.isdecimal(),
    "w": _is_word,
    "W": lambda character: not _is_word(character),
    "s": str.isspace,
    "S": lambda character: not character.isspace(),
}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v"}
_ASSERTIONS = {"b": "word", "B": "not-word", "A": "start", "z": "end", "Z": "end"}


class Pattern:
    """A compiled pattern.

    Parameters:
        source: the pattern, without its slashes.
        ignore_case: letters match in either case.

    Raises:
        MalformedInput: `upload.condition`, it cannot be understood or is too large.
    """

    def __init__(self, source: str, *, ignore_case: bool = False) -> None:
        self._source = source
        self._ignore_case = ignore_case
        self._at = 0
        self._states: list[_State] = []
        start, ends = self._alternatives(0)
        if self._at < len(source):
            raise self._error("a `)` without its `(`")
        self._start = start
        self._accept = self._add(None, "", [])
        self._patch(ends, self._accept)

    def found_in(self, text: str) -> bool:
        """Whether the pattern matches somewhere in `text`."""
        if self._ignore_case:
            text = text.lower()
        current: set[int] = set()
        for place in range(len(text) + 1):
            self._follow(self._start, place, text, current)
            if self._accept in current:
                return True
            if place == len(text):
                return False
            following: set[int] = set()
            for index in current:
                state = self._states[index]
                if state.test is not None and state.test(text[place]):
                    self._follow(state.targets[0], place + 1, text, following)
            current = following
        return False

    def _follow(self, index: int, place: int, text: str, into: set[int]) -> None:
        """Add a state and all that is reached from it without reading a character."""
        stack = [index]
        while stack:
            index = stack.pop()
            if index in into:
                continue
            into.add(index)
            state = self._states[index]
            if state.test is None and (not state.assertion or _holds(state.assertion, place, text)):
                stack.extend(state.targets)

    # --- compiling: each method returns where a piece starts, and the (state, slot) pairs that lead out of it ---

    def _add(self, test: _Test | None, assertion: str, targets: list[int]) -> int:
        if len(self._states) >= _MAX_STATES:
            raise self._error("it is too large")
        self._states.append(_State(test, assertion, targets))
        return len(self._states) - 1

    def _patch(self, ends: list[tuple[int, int]], target: int) -> None:
        for state, slot in ends:
            self._states[state].targets[slot] = target

    def _error(self, what: str) -> MalformedInput:
        return MalformedInput("upload.condition", f"in /{self._source}/: {what}")

    def _peek(self) -> str:
        return self._source[self._at] if self._at < len(self._source) else ""

    def _alternatives(self, depth: int) -> tuple[int, list[tuple[int, int]]]:
        if depth > 50:
            raise self._error("groups are nested too deeply")
        start, ends = self._sequence(depth)
        while self._peek() == "|":
            self._at += 1
            other, other_ends = self._sequence(depth)
            start = self._add(None, "", [start, other])
            ends = ends + other_ends
        return start, ends

    def _sequence(self, depth: int) -> tuple[int, list[tuple[int, int]]]:
        start = self._add(None, "", [-1])
        ends = [(start, 0)]
        while self._peek() not in ("", "|", ")"):
            piece, piece_ends = self._repeated(depth)
            self._patch(ends, piece)
            ends = piece_ends
        return start, ends

    def _repeated(self, depth: int) -> tuple[int, list[tuple[int, int]]]:
        begin = self._at
        start, ends = self._atom(depth)
        while True:
            least, most = self._quantifier()
            if least is None:
                return start, ends
            if (least, most) not in ((0, None), (1, None), (0, 1)):
                # {m,n}: the piece is compiled anew for each time it may occur.
                end = self._at
                start, ends = self._copies(begin, least, most, depth)
                self._at = end
            elif most == 1:
                fork = self._add(None, "", [start, -1])
                start, ends = fork, [*ends, (fork, 1)]
            else:
                fork = self._add(None, "", [start, -1])
                self._patch(ends, fork)
                start, ends = (fork if least == 0 else start), [(fork, 1)]

    def _copies(self, begin: int, least: int, most: int | None, depth: int) -> tuple[int, list[tuple[int, int]]]:
        start = self._add(None, "", [-1])
        ends = [(start, 0)]
        leave: list[tuple[int, int]] = []
        for number in range(max(least, most if most is not None else least + 1)):
            self._at = begin
            piece, piece_ends = self._atom(depth)
            if number >= least:
                fork = self._add(None, "", [piece, -1])
                leave.append((fork, 1))
                piece = fork
            self._patch(ends, piece)
            if most is None and number == least:
                self._patch(piece_ends, piece)  # the last copy repeats
                piece_ends = []
            ends = piece_ends
        return start, ends + leave

    def _quantifier(self) -> tuple[int | None, int | None]:
        character = self._peek()
        least: int | None
        most: int | None
        if character in ("*", "+", "?") and character:
            self._at += 1
            least, most = {"*": (0, None), "+": (1, None), "?": (0, 1)}[character]
        elif character == "{":
            close = self._source.find("}", self._at)
            first, comma, last = self._source[self._at + 1 : max(close, 0)].partition(",")
            if close < 0 or not first.isdecimal() or not (last.isdecimal() or last == ""):
                raise self._error("a `{` that is no repetition; write \\{ for the character")
            least = int(first)
            most = least if not comma else int(last) if last else None
            if least > _MAX_REPEAT or (most or 0) > _MAX_REPEAT or (most is not None and most < least):
                raise self._error(f"a repetition outside 0 to {_MAX_REPEAT}")
            self._at = close + 1
        else:
            return None, None
        if self._peek() in ("?", "+") and self._peek():
            self._at += 1  # lazy or possessive: no matter for whether something matches
        return least, most

    def _atom(self, depth: int) -> tuple[int, list[tuple[int, int]]]:
        character = self._source[self._at]
        self._at += 1
        match character:
            case "(":
                return self._group(depth)
            case "[":
                return self._single(self._bracket())
            case ".":
                return self._single(lambda other: other != "\n")
            case "^":
                return self._assert("line-start")
            case "$":
                return self._assert("line-end")
            case "\\":
                return self._escaped()
            case "*" | "+" | "?":
                raise self._error(f"a `{character}` with nothing in front of it")
            case _:
                return self._literal(character)

    def _group(self, depth: int) -> tuple[int, list[tuple[int, int]]]:
        if self._peek() == "?":
            if self._source.startswith("?:", self._at):
                self._at += 2
            else:
                raise self._error("look-around and named groups are not understood")
        start, ends = self._alternatives(depth + 1)
        if self._peek() != ")":
            raise self._error("a `(` without its `)`")
        self._at += 1
        return start, ends

    def _escaped(self) -> tuple[int, list[tuple[int, int]]]:
        character = self._peek()
        self._at += 1
        if character in _CLASSES and character:
            return self._single(_CLASSES[character])
        if character in _ASSERTIONS and character:
            return self._assert(_ASSERTIONS[character])
        return self._literal(self._escape(character))

    def _escape(self, character: str) -> str:
        if character in _ESCAPES:
            return _ESCAPES[character]
        if not character or character.isalnum():
            raise self._error(f"`\\{character}` is not understood")
        return character

    def _bracket(self) -> _Test:
        negated = self._peek() == "^"
        if negated:
            self._at += 1
        tests: list[_Test] = []
        first = True
        while first or self._peek() != "]":
            if not self._peek():
                raise self._error("a `[` without its `]`")
            first = False
            low = self._bracket_item(tests)
            if low is None:
                continue
            high = low
            if self._peek() == "-" and self._source[self._at + 1 : self._at + 2] not in ("]", ""):
                self._at += 1
                end = self._bracket_item(tests)
                if end is None or end < low:
                    raise self._error("a range in brackets that is none")
                high = end
            tests.append(self._range(low, high))
        self._at += 1
        return lambda character: any(test(character) for test in tests) is not negated

    def _bracket_item(self, tests: list[_Test]) -> str | None:
        """A character of a bracket, or None when it was a class such as `\\d`, which goes into `tests`."""
        character = self._peek()
        self._at += 1
        if character == "[" and self._peek() == ":":
            raise self._error("named classes are not understood")
        if character != "\\":
            return character
        escaped = self._peek()
        self._at += 1
        if escaped in _CLASSES and escaped:
            tests.append(_CLASSES[escaped])
            return None
        return self._escape(escaped)

    def _range(self, low: str, high: str) -> _Test:
        if not self._ignore_case:
            return lambda character: low <= character <= high
        return lambda character: low <= character <= high or low <= character.upper() <= high

    def _literal(self, character: str) -> tuple[int, list[tuple[int, int]]]:
        wanted = character.lower() if self._ignore_case else character
        return self._single(lambda other: other == wanted)

    def _single(self, test: _Test) -> tuple[int, list[tuple[int, int]]]:
        state = self._add(test, "", [-1])
        return state, [(state, 0)]

    def _assert(self, assertion: str) -> tuple[int, list[tuple[int, int]]]:
        state = self._add(None, assertion, [-1])
        return state, [(state, 0)]


def _holds(assertion: str, place: int, text: str) -> bool:
    match assertion:
        case "start":
            return place == 0
        case "end":
            return place == len(text)
        case "line-start":
            return place == 0 or text[place - 1] == "\n"
        case "line-end":
            return place == len(text) or text[place] == "\n"
    before = place > 0 and _is_word(text[place - 1])
    behind = place < len(text) and _is_word(text[place])
    return (before != behind) is (assertion == "word")

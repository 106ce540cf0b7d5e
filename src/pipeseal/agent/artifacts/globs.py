"""Glob patterns for artifacts: what each piece means, and an automaton that matches paths name by name.

The language is the ecosystem's: `?` and `*` stay within one name, `**` crosses folders (and `**/` may be nothing at
all), `{a,b}` is either, where both may hold anything, `[abc]` and `[^abc]` are one character (without ranges), a
backslash takes the meaning from the next character, and `~/` at the start is the home folder. Names that begin with a
dot are names like others. A pattern matches a whole path.
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

from pipeseal.errors import MalformedInput, Position

MAX_PATTERN_LENGTH = 65_536
MAX_NESTING = 64
# The automaton keeps what it has worked out; beyond so many answers it begins anew, so that memory stays flat.
_MAX_REMEMBERED = 200_000


class Sign(Enum):
    """A piece of a pattern that is more than a character."""

    STAR = "*"
    STARS = "**"
    ANY = "?"
    OPEN = "{"
    CLOSE = "}"
    COMMA = ","
    # Not written by anybody: what `**/` becomes where a folder may begin, any number of folders.
    FOLDERS = "**/"


class OneOf(NamedTuple):
    """One character among these, or when negated among all others."""

    characters: frozenset[str]
    negated: bool


# A plain string is one character that means itself. The number is the column in the pattern, for messages.
Piece = tuple[str | Sign | OneOf, int]


class Pattern(NamedTuple):
    """A pattern, read.

    Parameters:
        text: as it was written.
        root: the folder where the search begins: all that comes before the first special piece, up to a slash; the
            whole path when nothing is special.
        pieces: the rest; empty when the pattern names one path.
    """

    text: str
    root: str
    pieces: tuple[Piece, ...]

    @property
    def names_one_path(self) -> bool:
        """Whether there is nothing to search for."""
        return not self.pieces


def parse_pattern(text: str, *, home: str = "") -> Pattern:
    """Read one pattern.

    Parameters:
        text: the pattern.
        home: the home folder that `~/` stands for; without one, `~` means itself.

    Raises:
        MalformedInput: a bracket or brace without its end, nested too deep, or too long (code `artifact.pattern`).
    """
    if len(text) > MAX_PATTERN_LENGTH:
        raise MalformedInput(
            "artifact.pattern", f"a pattern of {len(text):,} characters; {MAX_PATTERN_LENGTH:,} is most"
        )
    written = text
    offset = 0
    if home and text.startswith("~/"):
        pieces: list[Piece] = [(character, 1) for character in home.rstrip("/")]
        text, offset = text[1:], 1
    else:
        pieces = []
    pieces += _tokenise(text, written, offset)
    _check_braces(pieces, written)
    pieces = _mark_folders(pieces)
    if all(isinstance(piece, str) for piece, _ in pieces):
        return Pattern(written, "".join(str(piece) for piece, _ in pieces), ())
    special = next(index for index, (piece, _) in enumerate(pieces) if not isinstance(piece, str))
    slash = max((index for index in range(special) if pieces[index][0] == "/"), default=-1)
    root = "".join(str(piece) for piece, _ in pieces[: slash + 1])
    return Pattern(written, root, tuple(pieces[slash + 1 :]))


def _tokenise(text: str, written: str, offset: int) -> list[Piece]:
    pieces: list[Piece] = []
    position = 0
    while position < len(text):
        character = text[position]
        column = position + offset + 1
        if character == "\\" and position + 1 < len(text):
            pieces.append((text[position + 1], column))
            position += 2
        elif character == "*":
            double = text.startswith("**", position)
            pieces.append((Sign.STARS if double else Sign.STAR, column))
            position += 2 if double else 1
        elif character == "[" and position + 1 < len(text):
            one_of, position = _character_class(text, position, written, offset)
            pieces.append((one_of, column))
        else:
            sign = {"?": Sign.ANY, "{": Sign.OPEN, "}": Sign.CLOSE, ",": Sign.COMMA}.get(character)
            pieces.append((sign or character, column))
            position += 1
    return pieces


def _character_class(text: str, start: int, written: str, offset: int) -> tuple[OneOf, int]:
    """The class that opens at `start`, and the position after it."""
    position = start + 1
    negated = text[position] == "^"
    position += negated
    characters: set[str] = set()
    while position < len(text):
        character = text[position]
        if character == "]":
            return OneOf(frozenset(characters), negated), position + 1
        if character == "\\" and position + 1 < len(text):
            position += 1
            character = text[position]
        characters.add(character)
        position += 1
    raise _malformed("this bracket is never closed", written, start + offset + 1, "close it with ], or write \\[")


def _malformed(problem: str, written: str, column: int, help: str) -> MalformedInput:
    return MalformedInput(
        "artifact.pattern",
        f"the pattern is not whole: {problem}",
        help=help,
        position=Position("pattern", 1, column, written),
    )


def _check_braces(pieces: list[Piece], written: str) -> None:
    """Every brace has its end; a closing brace and a comma outside braces are characters like others."""
    open_at: list[int] = []
    for index, (piece, column) in enumerate(pieces):
        if piece is Sign.OPEN:
            open_at.append(column)
            if len(open_at) > MAX_NESTING:
                raise _malformed(f"braces are nested deeper than {MAX_NESTING}", written, column, "write it in parts")
        elif piece is Sign.CLOSE and open_at:
            open_at.pop()
        elif piece in (Sign.CLOSE, Sign.COMMA) and not open_at:
            assert isinstance(piece, Sign)
            pieces[index] = (piece.value, column)
    if open_at:
        raise _malformed("this brace is never closed", written, open_at[-1], "close it with }, or write \\{")


def _mark_folders(pieces: list[Piece]) -> list[Piece]:
    """`**/` at the start and after a slash may be no folder at all."""
    marked: list[Piece] = []
    index = 0
    while index < len(pieces):
        piece, column = pieces[index]
        begins = not marked or marked[-1][0] in ("/", Sign.FOLDERS)
        if piece is Sign.STARS and begins and index + 1 < len(pieces) and pieces[index + 1][0] == "/":
            marked.append((Sign.FOLDERS, column))
            index += 2
        else:
            marked.append((piece, column))
            index += 1
    return marked


class Automaton:
    """Matches paths against several patterns at once, character by character.

    A state stands for all the places in all the patterns where a reader of the path so far could be; state 0 is
    nowhere. States and steps are worked out when they are first needed, and remembered.

    Parameters:
        patterns: patterns that share a root; those that name one path are left out.
    """

    NOWHERE = 0

    def __init__(self, patterns: Sequence[Pattern]) -> None:
        # Places: for each, where one may go without reading, and what one may read to go where.
        self._free: list[list[int]] = []
        self._reads: list[list[tuple[str | Sign | OneOf, int]]] = []
        starts, ends = [], []
        for pattern in patterns:
            if not pattern.names_one_path:
                start, end = self._build(pattern.pieces)
                starts.append(start)
                ends.append(end)
        self._ends = frozenset(ends)
        self._starts = frozenset(starts)
        self._forget()

    def _forget(self) -> None:
        self._states: list[frozenset[int]] = [frozenset()]
        self._numbers: dict[frozenset[int], int] = {frozenset(): self.NOWHERE}
        self._steps: list[dict[str, int]] = [{}]
        self._remembered = 0
        self.start = self._number(self._closure(self._starts))

    def step(self, state: int, text: str) -> int:
        """Where reading `text` leads from `state`."""
        for character in text:
            known = self._steps[state].get(character)
            state = self._advance(state, character) if known is None else known
            if state == self.NOWHERE:
                break
        return state

    def accepts(self, state: int) -> bool:
        """Whether the path that led to `state` matches one of the patterns."""
        return not self._ends.isdisjoint(self._states[state])

    def places(self, state: int) -> frozenset[int]:
        """What a state stands for; it outlives the automaton's memory, see `state`."""
        return self._states[state]

    def state(self, places: frozenset[int]) -> int:
        """The state that stands for these places."""
        if self._remembered > _MAX_REMEMBERED:
            self._forget()
        return self._number(places)

    def _advance(self, state: int, character: str) -> int:
        reached = {
            target
            for place in self._states[state]
            for wanted, target in self._reads[place]
            if _reads_character(wanted, character)
        }
        number = self._number(self._closure(reached))
        self._steps[state][character] = number
        self._remembered += 1
        return number

    def _number(self, places: frozenset[int]) -> int:
        number = self._numbers.get(places)
        if number is None:
            number = self._numbers[places] = len(self._states)
            self._states.append(places)
            self._steps.append({})
            self._remembered += 1
        return number

    def _closure(self, places: set[int] | frozenset[int]) -> frozenset[int]:
        reached = set(places)
        waiting = list(places)
        while waiting:
            for target in self._free[waiting.pop()]:
                if target not in reached:
                    reached.add(target)
                    waiting.append(target)
        return frozenset(reached)

    def _place(self) -> int:
        self._free.append([])
        self._reads.append([])
        return len(self._free) - 1

    def _build(self, pieces: Sequence[Piece]) -> tuple[int, int]:
        start = here = self._place()
        opened: list[tuple[int, int]] = []  # for each open brace: where it began, where all its choices will meet
        for piece, _column in pieces:
            if piece is Sign.STAR or piece is Sign.STARS:
                # A place of its own, so that what is before or beside it does not repeat with it.
                loop = self._place()
                self._free[here].append(loop)
                self._reads[loop].append((piece, loop))
                here = self._place()
                self._free[loop].append(here)
            elif piece is Sign.FOLDERS:
                loop, after = self._place(), self._place()
                self._free[here] += [loop, after]
                self._reads[loop] += [(Sign.STARS, loop), ("/", after)]
                here = after
            elif piece is Sign.OPEN:
                opened.append((here, self._place()))
                here = self._place()
                self._free[opened[-1][0]].append(here)
            elif piece is Sign.COMMA:
                began, meets = opened[-1]
                self._free[here].append(meets)
                here = self._place()
                self._free[began].append(here)
            elif piece is Sign.CLOSE:
                _began, meets = opened.pop()
                self._free[here].append(meets)
                here = meets
            else:
                after = self._place()
                self._reads[here].append((piece, after))
                here = after
        return start, here


def _reads_character(wanted: str | Sign | OneOf, character: str) -> bool:
    if isinstance(wanted, str):
        return wanted == character
    if isinstance(wanted, OneOf):
        return (character in wanted.characters) != wanted.negated
    return wanted is Sign.STARS or character != "/"


def matches(pattern: Pattern, path: str) -> bool:
    """Whether the whole `path` matches; for single questions, the search uses an `Automaton`."""
    if pattern.names_one_path:
        return path == pattern.root
    if not path.startswith(pattern.root):
        return False
    automaton = Automaton([pattern])
    return automaton.accepts(automaton.step(automaton.start, path[len(pattern.root) :]))


def normal_root(pattern: Pattern) -> str:
    """The pattern's root as a path without detours; `.` when it has none."""
    normal = posixpath.normpath(pattern.root) if pattern.root else "."
    return "/" + normal.lstrip("/") if normal.startswith("//") else normal

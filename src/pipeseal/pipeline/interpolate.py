"""Variables in text: the grammar of `$NAME`, `${NAME:-word}` and their kin, and what they expand to.

Left to right, once: values are never scanned again. `$$` and `\\$` are a dollar sign and what follows is ordinary
text; `$(` is left for the shell; anything in braces that is not one of five forms is an error.

Texts here may hold bytes that are no UTF-8, as surrogate escapes (PEP 383): variables of a process can, and a
substring may cut a character in half.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Final, NamedTuple, TypeAlias

from pipeseal.errors import MalformedInput
from pipeseal.pipeline.values import MAX_INT64, MIN_INT64, pack, unpack

MAX_NESTING: Final = 100
MAX_CHARACTERS: Final = 64 * 1024 * 1024  # of expanded text

# The reference's classes are those of Unicode 15.0. First and last of what 14.0 (Python 3.11) lacks.
_NEW_IN_15_0: Final = (
    (0x1123F, 0x11240),
    (0x11F02, 0x11F02),
    (0x11F04, 0x11F10),
    (0x11F12, 0x11F33),
    (0x1342F, 0x1342F),
    (0x13441, 0x13446),
    (0x1B132, 0x1B132),
    (0x1B155, 0x1B155),
    (0x1DF25, 0x1DF2A),
    (0x1E030, 0x1E06D),
    (0x1E4D0, 0x1E4EB),
    (0x2B739, 0x2B739),
    (0x31350, 0x323AF),
)
_NEW_NUMBERS_IN_15_0: Final = ((0x11F50, 0x11F59), (0x1D2C0, 0x1D2D3), (0x1E4F0, 0x1E4F9))
_NEW_IN_15_1: Final = ((0x2EBF0, 0x2EE5D),)

# White space as the reference trims it around numbers in braces; Python's own also counts U+001C to U+001F.
_SPACE: Final = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
_DECIMAL: Final = re.compile(r"[-+]?[0-9]+", re.ASCII)
_LITERAL: Final = re.compile(r"[^$\\}\ufffd\udc80-\udcff]*")
_ASCII_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*", re.ASCII)


def _is_in(ranges: tuple[tuple[int, int], ...], character: str) -> bool:
    return any(first <= ord(character) <= last for first, last in ranges)


def _is_letter(character: str) -> bool:
    if character.isascii():
        return character.isalpha()
    if unicodedata.category(character)[0] == "L":
        return not _is_in(_NEW_IN_15_1, character)
    return _is_in(_NEW_IN_15_0, character)


def _is_name_part(character: str) -> bool:
    if character.isascii():
        return character.isalnum() or character == "_"
    return (
        _is_letter(character) or unicodedata.category(character)[0] == "N" or _is_in(_NEW_NUMBERS_IN_15_0, character)
    )


class _Escaped(NamedTuple):
    """An escaped dollar sign, and the name or braces behind it that would mean something without the escape."""

    potential: str


class _Variable(NamedTuple):
    """One expansion: `operator` is empty, `:-`, `-`, `?` or `:` (substring)."""

    name: str
    operator: str = ""
    word: tuple[_Part, ...] = ()
    offset: int = 0
    length: int | None = None


_Part: TypeAlias = "str | _Escaped | _Variable"


def _is_broken(character: str) -> bool:
    """A byte that is no UTF-8, or U+FFFD itself, which the reference cannot tell from one."""
    return character == "\ufffd" or "\ud800" <= character <= "\udfff"


class _Parser:
    """Recursive descent over one text.

    Parameters:
        text: the text.
        potentials: look for what escaped dollar signs would mean.
    """

    def __init__(self, text: str, *, potentials: bool) -> None:
        self.text = text
        self.place = 0
        self.dollar = 0
        self.potentials = potentials
        self.nesting = 0
        # Braces behind an escape are read twice, once to see what they would mean: remember how that went.
        self.braces: dict[int, tuple[int, _Variable] | MalformedInput] = {}

    def _peek(self) -> str:
        return self.text[self.place : self.place + 1]

    def _next(self) -> str:
        character = self._peek()
        self.place += len(character)
        return character

    def _error(self, message: str, *, help: str = "") -> MalformedInput:
        near = self.text[self.dollar : self.dollar + 80].partition("\n")[0]
        return MalformedInput("interpolation.syntax", message, help=help, evidence={"near": near})

    def parse(self, stop: str = "") -> tuple[_Part, ...]:
        parts: list[_Part] = []
        text = self.text
        while True:
            character = self._peek()
            if not character or character == stop:
                return tuple(parts)
            pair = text[self.place : self.place + 2]
            if pair == "\\\\":
                self.place += 2
                parts.append(pair)
            elif pair in ("\\$", "$$"):
                self.place += 2
                parts.append(_Escaped(self._potential() if self.potentials else ""))
            elif pair == "$(":
                self.place += 2
                parts.append(pair)
            elif character == "$" and len(pair) == 2:
                parts.append(self._expansion())
            else:
                self.place += 1
                start = self.place
                self.place = self._end_of_literal(stop)
                first = "\ufffd" if _is_broken(character) else character
                parts.append(first + text[start : self.place])

    def _end_of_literal(self, stop: str) -> int:
        place = self.place
        while True:
            match = _LITERAL.match(self.text, place)
            place = match.end() if match else place
            if not stop and self.text[place : place + 1] == "}":
                place += 1
                continue
            return place

    def _potential(self) -> str:
        start = self.place
        character = self._peek()
        found = ""
        if character == "{":
            try:
                self._braces()
                found = self.text[start : self.place]
            except MalformedInput:
                pass
        elif character and _is_letter(character):
            found = self._name()
        self.place = start
        return found

    def _expansion(self) -> _Part:
        self.dollar = self.place
        self.place += 1
        character = self._peek()
        if character == "{":
            return self._braces()
        if not _is_letter(character):
            return "$"
        return _Variable(self._name())

    def _name(self) -> str:
        start = self.place
        match = _ASCII_NAME.match(self.text, start)
        if match is not None:
            self.place = match.end()
        elif not self._peek() or not _is_letter(self._peek()):
            found = self._peek()
            raise self._error(
                f"a name is expected behind `${{`, and there is {_quoted(found)}",
                help="Write `$$` for a dollar sign that is meant for the shell.",
            )
        while (character := self._peek()) and not _is_broken(character) and _is_name_part(character):
            self.place += 1
        return self.text[start : self.place]

    def _braces(self) -> _Variable:
        start = self.place
        known = self.braces.get(start)
        if known is None:
            try:
                variable = self._read_braces()
                known = self.braces[start] = (self.place, variable)
            except MalformedInput as error:
                self.braces[start] = error
                raise
        if isinstance(known, MalformedInput):
            raise known
        self.place, variable = known
        return variable

    def _read_braces(self) -> _Variable:
        self.nesting += 1
        try:
            if self.nesting > MAX_NESTING:
                raise self._error(f"braces are nested more than {MAX_NESTING} deep", help="Use fewer defaults.")
            self.place += 1
            name = self._name()
            operator = self._next()
            if operator == "}":
                return _Variable(name)
            if operator == ":" and self._peek() == "-":
                self.place += 1
                operator = ":-"
            if operator == ":":
                variable = self._substring(name)
            elif operator in (":-", "-", "?"):
                variable = _Variable(name, operator, self.parse("}"))
            else:
                raise self._error(
                    f"`${{{name}` is followed by {_quoted(operator)}, and `}}`, `:-`, `-`, `?` or `:` is expected",
                    help="Write `$$` for a dollar sign that is meant for the shell.",
                )
            closing = self._next()
            if closing != "}":
                raise self._error(
                    f"`${{{name}{operator}` is not closed",
                    help="Write `}` behind it, or `$$` for a dollar sign that is meant for the shell.",
                )
            return variable
        finally:
            self.nesting -= 1

    def _until(self, stops: str) -> str:
        start = self.place
        while (character := self._peek()) and character not in stops and not _is_broken(character):
            self.place += 1
        return self.text[start : self.place]

    def _integer(self, text: str, what: str, name: str) -> int:
        trimmed = text.strip(_SPACE)
        # 64 bits have at most 19 digits; Python refuses to convert very long ones, so look at the size first.
        if _DECIMAL.fullmatch(trimmed) and len(trimmed.lstrip("+-").lstrip("0")) <= 19:
            number = int(trimmed)
            if MIN_INT64 <= number <= MAX_INT64:
                return number
        raise self._error(
            f"the {what} in `${{{name}:` is {_quoted(text)}, and a whole number is expected",
            help="Forms such as `:?`, `:+` and `:=` are not known here; `:-` gives a default.",
        )

    def _substring(self, name: str) -> _Variable:
        offset = self._integer(self._until(":}"), "offset", name)
        if self._peek() == "}":
            return _Variable(name, ":", offset=offset)
        self._next()
        return _Variable(name, ":", offset=offset, length=self._integer(self._until("}"), "length", name))


def _quoted(text: str) -> str:
    return f"`{_shorten(text)}`" if text else "nothing"


def _shorten(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "..."


def _expand(parts: tuple[_Part, ...], env: Mapping[str, str], left: int) -> str:
    expanded: list[str] = []
    for part in parts:
        if isinstance(part, str):
            expanded.append(part)
        elif isinstance(part, _Escaped):
            expanded.append("$")
        else:
            expanded.append(_expand_variable(part, env, left))
        left -= len(expanded[-1])
        if left < 0:
            raise MalformedInput(
                "input.too_large",
                "the text is too large once its variables are expanded",
                help="Use fewer variables that hold other variables several times.",
            )
    return "".join(expanded)


def _expand_variable(variable: _Variable, env: Mapping[str, str], left: int) -> str:
    value = env.get(variable.name)
    match variable.operator:
        case ":-":
            return value or _expand(variable.word, env, left)
        case "-":
            return _expand(variable.word, env, left) if value is None else value
        case "?":
            if value is None:
                raise MalformedInput(
                    "interpolation.unset",
                    f"${variable.name}: {_expand(variable.word, env, left) or 'not set'}",
                    help=f"Set {variable.name}, or give it a default: `${{{variable.name}:-word}}`.",
                    evidence={"near": f"${{{variable.name}?"},
                )
            return value
        case ":":
            return _cut(value or "", variable)
        case _:
            return value or ""


def _cut(value: str, variable: _Variable) -> str:
    # Offsets count bytes.
    packed = pack(value)
    start = variable.offset + len(packed) if variable.offset < 0 else variable.offset
    start = min(max(start, 0), len(packed))
    end = len(packed)
    if variable.length is not None:
        if variable.length + start > MAX_INT64:
            raise MalformedInput(
                "interpolation.syntax",
                f"the length in `${{{variable.name}:` is {variable.length}, which is too large",
                help="Leave the length out to take everything behind the offset.",
                evidence={"near": f"${{{variable.name}:"},
            )
        end = min(variable.length + start, end) if variable.length >= 0 else max(variable.length + end, start)
    return unpack(packed[start:end])


def interpolate_text(text: str, env: Mapping[str, str], *, max_characters: int = MAX_CHARACTERS) -> str:
    """`text` with its variables expanded.

    Parameters:
        text: any text.
        env: variables by name.
        max_characters: how large the expanded text may be.

    Returns:
        The expanded text, with surrogate escapes for bytes that are no UTF-8.

    Raises:
        MalformedInput: `interpolation.syntax`; `interpolation.unset` for a required variable that is not set (the
            evidence `near` is how the offending part begins); `input.too_large`.
    """
    if "$" not in text:
        return text
    expanded = _expand(_Parser(text, potentials=False).parse(), env, max_characters)
    if expanded.isascii():
        return expanded
    # Halves of a character that meet again are that character.
    return unpack(pack(expanded))


def find_identifiers(text: str) -> list[str]:
    """The names of variables that `text` refers to, in order, repetitions included.

    Parameters:
        text: any text.

    Returns:
        Names; a dollar sign, then the name or the whole braces, for what is escaped (`$` alone when nothing that
        could be a name follows). Of the words, only one behind `:-` is looked into, as in the reference.

    Raises:
        MalformedInput: `interpolation.syntax`.
    """
    return _identifiers(_Parser(text, potentials=True).parse())


def _identifiers(parts: tuple[_Part, ...]) -> list[str]:
    names: list[str] = []
    for part in parts:
        if isinstance(part, _Escaped):
            names.append("$" + part.potential)
        elif isinstance(part, _Variable):
            names.append(part.name)
            if part.operator == ":-":
                names += _identifiers(part.word)
    return names

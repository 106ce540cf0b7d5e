"""Tokens of a condition."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from pipeseal.controlplane.domain.conditions.expansion import Expansion, Template, read_expansion, read_string
from pipeseal.controlplane.domain.conditions.origin import Origin

_SPACE = re.compile(r"(?:[ \t\r\n]+|//[^\n]*)+")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
_DOTTED = re.compile(r"[A-Za-z0-9_]+(?:\.[A-Za-z0-9_]+)*")
_NUMBER = re.compile(r"[0-9]+")
_SIGNS = ("==", "!=", "=~", "!~", "&&", "||", "!", "(", ")", "[", "]", ",", "?", ":")
_FLAGS = re.compile(r"[A-Za-z]*")
_MAX_DIGITS = 18
_HINTS = {
    "=": "write `==` to compare",
    "&": "write `&&` for and",
    "|": "write `||` for or",
    ">": "only equality can be tested: `==`, `!=`, `=~`, `!~`, `includes`",
    "<": "only equality can be tested: `==`, `!=`, `=~`, `!~`, `includes`",
    "-": "names here are joined with dots and underscores",
    "“": 'write strings between "straight quotes"',
    "”": 'write strings between "straight quotes"',
    "‘": "write strings between 'straight quotes'",
    "’": "write strings between 'straight quotes'",
    "`": "write strings between \"double\" or 'single' quotes",
    "#": "a comment starts with `//`",
    "@": "write `array includes value`",
}


class Kind(StrEnum):
    """What a token is."""

    NAME = "name"
    NUMBER = "number"
    STRING = "string"
    EXPANSION = "substitution"
    PATTERN = "regular expression"
    SIGN = "sign"
    END = "end"


@dataclass(frozen=True, slots=True)
class Token:
    """One token.

    Parameters:
        text: as written; of a pattern, without slashes and flags.
        template: the content of a string.
        expansion: of a substitution.
        flags: of a pattern.
    """

    kind: Kind
    at: int
    text: str
    template: Template = ()
    expansion: Expansion | None = None
    flags: str = ""

    def __str__(self) -> str:
        """As errors name it."""
        match self.kind:
            case Kind.END:
                return "the end"
            case Kind.PATTERN:
                return "a regular expression"
            case Kind.STRING:
                return "a string"
            case _:
                return f"`{self.text}`"


def read_tokens(origin: Origin) -> list[Token]:
    """All tokens of a condition, the last one of kind `END`.

    Raises:
        MalformedInput: `condition.malformed`.
    """
    text = origin.text
    tokens: list[Token] = []
    at = 0
    while True:
        if space := _SPACE.match(text, at):
            at = space.end()
        if at >= len(text):
            tokens.append(Token(Kind.END, len(text), ""))
            return tokens
        token, at = _read_token(origin, at)
        tokens.append(token)


def _read_token(origin: Origin, at: int) -> tuple[Token, int]:
    text = origin.text
    character = text[at]
    if character in "\"'":
        template, end = read_string(origin, at)
        return Token(Kind.STRING, at, text[at:end], template=template), end
    if character == "$":
        expansion, end = read_expansion(origin, at, alone=True)
        return Token(Kind.EXPANSION, at, text[at:end], expansion=expansion), end
    if character == "/":
        return _read_pattern(origin, at)
    if match := _NAME.match(text, at):
        if not _DOTTED.fullmatch(match[0]):
            raise origin.malformed(at, f"`{match[0]}` is no name: a dot needs a word on both sides")
        return Token(Kind.NAME, at, match[0]), match.end()
    if match := _NUMBER.match(text, at):
        following = text[match.end() : match.end() + 1]
        if following == "." or _NAME.match(following):
            raise origin.malformed(at, "only whole numbers can be written here", "put text between quotes")
        if len(match[0]) > _MAX_DIGITS:
            raise origin.malformed(at, f"a number has at most {_MAX_DIGITS} digits")
        return Token(Kind.NUMBER, at, match[0]), match.end()
    for sign in _SIGNS:
        if text.startswith(sign, at):
            return Token(Kind.SIGN, at, sign), at + len(sign)
    shown = character if character.isprintable() else f"U+{ord(character):04X}"
    raise origin.malformed(at, f"`{shown}` has no meaning here", _HINTS.get(character, ""))


def _read_pattern(origin: Origin, at: int) -> tuple[Token, int]:
    text = origin.text
    end = at + 1
    while end < len(text) and text[end] != "/":
        end += 2 if text[end] == "\\" else 1
    if end >= len(text):
        raise origin.malformed(at, "this regular expression is not closed", "put a `/` at its end")
    flags = _FLAGS.match(text, end + 1)
    assert flags is not None  # it may be empty, so it always matches
    return Token(Kind.PATTERN, at, text[at + 1 : end], flags=flags[0]), flags.end()

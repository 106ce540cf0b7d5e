"""Shell-like `$NAME` and `${NAME...}` inside conditions: how they are read, and what they become.

    $BRANCH   ${BRANCH}   ${BRANCH:-main}   ${BRANCH-main}   ${BRANCH:+set}   ${BRANCH+set}
    ${BRANCH?message}   ${BRANCH:?message}   ${BRANCH:2}   ${BRANCH:0:7}   ${BRANCH: -3}

They stand alone or inside double quotes, where `$$` is a dollar. An agent substitutes variables before that already,
when it uploads the pipeline; what reaches this module is what was escaped there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pipeseal.controlplane.domain.conditions.origin import Origin

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SUFFIX = re.compile(r"\.[A-Za-z0-9_.]*")
_INTEGER = re.compile(r"-?[0-9]{1,9}")
_OCTAL = re.compile(r"[0-7]{1,3}")
_HEX = re.compile(r"[0-9A-Fa-f]{2}")
_NAMED_ESCAPES = {
    "n": "\n",
    "s": " ",
    "r": "\r",
    "t": "\t",
    "v": "\v",
    "f": "\f",
    "b": "\b",
    "a": "\a",
    "e": "\x1b",
}
_OPERATORS = (":?", ":+", ":-", "?", "+", "-", ":")
_MAX_NESTING = 16  # of expansions inside expansions


@dataclass(frozen=True, slots=True)
class Expansion:
    """One substitution.

    Parameters:
        at: offset in the condition.
        name: of the variable.
        operator: `""`, `?`, `-`, `+`, or `:` for a substring.
        empty_is_unset: the operator was written with a colon in front.
        argument: fallback, alternative, or a substring's offset.
        length: a substring's length; None when not given.
        suffix: `.text` straight after an unbraced name that stands alone.
    """

    at: int
    name: str
    operator: str = ""
    empty_is_unset: bool = False
    argument: Template = ()
    length: Template | None = None
    suffix: str = ""


Template = tuple[str | Expansion, ...]  # text and substitutions, in order


class _Parts:
    """Collects a template. Escapes can write single bytes, so text is kept as bytes until it is complete."""

    def __init__(self) -> None:
        self._parts: list[str | Expansion] = []
        self._bytes = bytearray()

    def text(self, text: str) -> None:
        self._bytes += text.encode("utf-8", "surrogatepass")

    def byte(self, value: int) -> None:
        self._bytes.append(value)

    def expansion(self, expansion: Expansion) -> None:
        self._flush()
        self._parts.append(expansion)

    def done(self) -> Template:
        self._flush()
        return tuple(self._parts)

    def _flush(self) -> None:
        if self._bytes:
            self._parts.append(self._bytes.decode("utf-8", "replace"))
            self._bytes.clear()


def read_string(origin: Origin, at: int) -> tuple[Template, int]:
    """The string literal whose opening quote is at `at`.

    Returns:
        Its content, and the offset behind its closing quote.

    Raises:
        MalformedInput: `condition.malformed`.
    """
    parts = _Parts()
    end = _read_quoted(origin, at, parts, 0)
    return parts.done(), end


def read_expansion(origin: Origin, at: int, *, alone: bool, nesting: int = 0) -> tuple[Expansion, int]:
    """The substitution whose `$` is at `at`.

    Parameters:
        alone: it is an operand of its own, so that `.text` behind it belongs to it.
        nesting: how many substitutions it stands in.

    Returns:
        The substitution, and the offset behind it.

    Raises:
        MalformedInput: `condition.malformed`.
    """
    text = origin.text
    if nesting > _MAX_NESTING:
        raise origin.limit(at, f"substitutions stand more than {_MAX_NESTING} deep in each other")
    braced = text.startswith("{", at + 1)
    match = _NAME.match(text, at + 2 if braced else at + 1)
    if match is None:
        raise origin.malformed(
            at,
            "`$` needs the name of a variable behind it",
            'write "$$" for a dollar; inside a regular expression, a plain `$` is fine',
        )
    name, end = match[0], match.end()
    if not braced:
        suffix = _SUFFIX.match(text, end) if alone else None
        if suffix is None:
            return Expansion(at, name), end
        return Expansion(at, name, suffix=suffix[0]), suffix.end()
    written = next((sign for sign in _OPERATORS if text.startswith(sign, end)), "")
    end += len(written)
    argument: Template = ()
    length: Template | None = None
    if written == ":":
        argument, end = _read_argument(origin, at, end, ":}", nesting)
        if text.startswith(":", end):
            length, end = _read_argument(origin, at, end + 1, "}", nesting)
    elif written:
        argument, end = _read_argument(origin, at, end, "}", nesting)
    if not text.startswith("}", end):
        message = "this `${` is not closed" if end >= len(text) else f"`{text[end]}` cannot stand in `${{{name}...}}`"
        raise origin.malformed(at if end >= len(text) else end, message)
    colon = len(written) == 2
    return Expansion(at, name, written[-1:], colon, argument, length), end + 1


def _read_argument(origin: Origin, opened: int, at: int, stops: str, nesting: int) -> tuple[Template, int]:
    """Text up to one of `stops`; quotes group and are taken off."""
    text = origin.text
    parts = _Parts()
    while at < len(text) and text[at] not in stops:
        match text[at]:
            case '"' | "'":
                at = _read_quoted(origin, at, parts, nesting)
            case "$":
                at = _read_dollar(origin, at, parts, nesting)
            case "\\":
                at = _read_escape(origin, at, parts)
            case character:
                parts.text(character)
                at += 1
    if at >= len(text):
        raise origin.malformed(opened, "this `${` is not closed")
    return parts.done(), at


def _read_quoted(origin: Origin, opened: int, parts: _Parts, nesting: int) -> int:
    text = origin.text
    quote = text[opened]
    at = opened + 1
    while at < len(text):
        character = text[at]
        if character == quote:
            return at + 1
        if character == "\\" and quote == "'":
            # Single quotes know two escapes; any other backslash is a backslash.
            escaped = text[at + 1 : at + 2]
            parts.text(escaped if escaped in ("\\", "'") else character + escaped)
            at += 2
        elif character == "\\":
            at = _read_escape(origin, at, parts)
        elif character == "$" and quote == '"':
            at = _read_dollar(origin, at, parts, nesting)
        else:
            parts.text(character)
            at += 1
    raise origin.malformed(opened, "this string is not closed", f"put a {quote} at its end")


def _read_dollar(origin: Origin, at: int, parts: _Parts, nesting: int) -> int:
    following = origin.text[at + 1 : at + 2]
    if following == "$":
        parts.text("$")
        return at + 2
    if following != "{" and not _NAME.match(following):
        parts.text("$")
        return at + 1
    expansion, end = read_expansion(origin, at, alone=False, nesting=nesting + 1)
    parts.expansion(expansion)
    return end


def _read_escape(origin: Origin, at: int, parts: _Parts) -> int:
    text = origin.text
    letter = text[at + 1 : at + 2]
    if letter in _NAMED_ESCAPES:
        parts.text(_NAMED_ESCAPES[letter])
    elif letter == "x" and (digits := _HEX.match(text, at + 2)):
        parts.byte(int(digits[0], 16))
        return digits.end()
    elif digits := _OCTAL.match(text, at + 1):
        value = int(digits[0], 8)
        if value > 0xFF:
            raise origin.malformed(at, f"the octal escape `\\{digits[0]}` is more than one byte")
        parts.byte(value)
        return digits.end()
    else:
        parts.text(letter)
    return at + 2


def expand(origin: Origin, expansion: Expansion, env: Mapping[str, str]) -> str | None:
    """What a substitution becomes; None for a variable that is not set.

    Raises:
        MalformedInput: `condition.value`, a required variable is not set or a substring has no number.
    """
    value = env.get(expansion.name)
    if expansion.operator == ":":
        return _substring(origin, expansion, value, env)
    is_set = value is not None and not (expansion.empty_is_unset and value == "")
    match expansion.operator:
        case "?" if not is_set:
            raise origin.value(expansion.at, f"the variable {expansion.name} is required here, and is not set")
        case "-" if not is_set:
            return render_template(origin, expansion.argument, env)
        case "+":
            return render_template(origin, expansion.argument, env) if is_set else ""
    return (value or "") + expansion.suffix if expansion.suffix else value


def render_template(origin: Origin, template: Template, env: Mapping[str, str]) -> str:
    """A template as text; variables that are not set become nothing.

    Raises:
        MalformedInput: `condition.value`.
    """
    return "".join(part if isinstance(part, str) else expand(origin, part, env) or "" for part in template)


def is_static(template: Template) -> bool:
    """Whether a template is the same in every build."""
    return all(isinstance(part, str) for part in template)


def static_text(template: Template) -> str:
    """The text of a static template."""
    return "".join(part for part in template if isinstance(part, str))


def _substring(origin: Origin, expansion: Expansion, value: str | None, env: Mapping[str, str]) -> str | None:
    start = _integer(origin, expansion, expansion.argument, env)
    length = None if expansion.length is None else _integer(origin, expansion, expansion.length, env)
    if value is None:
        return None
    start = max(len(value) + start, 0) if start < 0 else start
    if length is None:
        return value[start:]
    end = len(value) + length if length < 0 else start + length
    return value[start : max(end, start)]


def _integer(origin: Origin, expansion: Expansion, template: Template, env: Mapping[str, str]) -> int:
    text = render_template(origin, template, env).strip()
    if not _INTEGER.fullmatch(text):
        raise origin.value(expansion.at, f"a substring of {expansion.name} needs a whole number, not {text[:40]!r}")
    return int(text)

"""What can go wrong, in four families, each with a stable code.

Every error that leaves Pipeseal on purpose is one of these families. Callers choose by family, people and tools
by code; the table of codes is `pipeseal.errors.codes`. Families say what can be done about it:

- `MalformedInput`: these bytes are not what they claim to be. Has a position where there is one.
- `VerificationError`: well formed, and not proven. Never "maybe".
- `Unavailable`: network, disk or key service. Retry, then refuse.
- `ConfigurationError`: the operator's mistake. Says the fix, stops at start-up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence


class Position:
    """Where in some text: source name, 1-based line and column, and that line's text.

    Parameters:
        source: file name or another name for the text, such as `<stdin>`.
        line: 1-based line.
        column: 1-based column, in characters.
        text: the whole line, without its line break; may be empty when unknown.
    """

    __slots__ = ("column", "line", "source", "text")

    def __init__(self, source: str, line: int, column: int, text: str = "") -> None:
        self.source = source
        self.line = line
        self.column = column
        self.text = text

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}"


class PipesealError(Exception):
    """An error with a code from the table.

    Parameters:
        code: dotted code, such as `signature.missing`; `pipeseal explain CODE` prints its page.
        message: one lower-case sentence without a full stop: what is wrong, with names and values.
        help: what to do about it, one sentence; empty when the code's page says all there is.
        evidence: names and values that were compared, for logs and pages. Never holds a secret's value.
    """

    def __init__(self, code: str, message: str, *, help: str = "", evidence: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.help = help
        self.evidence: dict[str, str] = dict(evidence or {})

    def __str__(self) -> str:
        return self.message


class MalformedInput(PipesealError):
    """These bytes are not what they claim to be.

    Parameters (beyond `PipesealError`):
        position: where, when the input has lines; None otherwise.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        help: str = "",
        evidence: Mapping[str, str] | None = None,
        position: Position | None = None,
    ) -> None:
        super().__init__(code, message, help=help, evidence=evidence)
        self.position = position


class VerificationError(PipesealError):
    """Well formed, and not proven.

    Parameters (beyond `PipesealError`):
        fields: the signed fields that differ or are missing, all of them, in signed order.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        help: str = "",
        evidence: Mapping[str, str] | None = None,
        fields: Sequence[str] = (),
    ) -> None:
        super().__init__(code, message, help=help, evidence=evidence)
        self.fields = tuple(fields)


class Unavailable(PipesealError):
    """Something outside this process did not answer: network, disk, key service.

    Parameters (beyond `PipesealError`):
        status: HTTP status when an HTTP answer was the reason; None otherwise.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        help: str = "",
        evidence: Mapping[str, str] | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(code, message, help=help, evidence=evidence)
        self.status = status


class ConfigurationError(PipesealError):
    """The operator's mistake; says the fix."""


def escape_control(text: str) -> str:
    """`text` with control characters and bidirectional overrides written as escapes, safe for a terminal.

    Parameters:
        text: any text, such as a value that came from a server.

    Returns:
        The same text where C0, DEL, C1, bidi controls and line separators are `\\xNN` or `\\uNNNN`; line feeds too.
    """
    return "".join(
        character
        if " " <= character <= "~" or (character > "\xa0" and not _is_unsafe(ord(character)))
        else (f"\\x{ord(character):02x}" if ord(character) < 0x100 else f"\\u{ord(character):04x}")
        for character in text
    )


def _is_unsafe(point: int) -> bool:
    return (
        0x200B <= point <= 0x200F
        or 0x2028 <= point <= 0x202E
        or 0x2066 <= point <= 0x2069
        or 0xD800 <= point <= 0xDFFF
        or point == 0xFEFF
    )


def render_error(error: PipesealError) -> str:
    """The error as people read it on a terminal or in a log: what, where, the line itself, what to do.

    Parameters:
        error: any error of the four families.

    Returns:
        Several lines of text without a trailing line feed; control characters escaped.
    """
    position = error.position if isinstance(error, MalformedInput) else None
    where = f" {escape_control(str(position))}:" if position else ""
    lines = [f"error[{error.code}]:{where} {escape_control(error.message)}"]
    if position and position.text:
        gutter = f"{position.line:>5} | "
        excerpt, column = _excerpt(position.text, position.column)
        lines += [gutter + excerpt, " " * (len(gutter) - 2) + "| " + " " * (column - 1) + "^"]
    lines += [f"  {name:<12} {escape_control(value)}" for name, value in error.evidence.items() if value is not None]
    if error.help:
        lines.append(f"  help: {escape_control(error.help)}")
    lines.append(f"  more: pipeseal explain {error.code}")
    return "\n".join(lines)


def _excerpt(text: str, column: int, width: int = 100) -> tuple[str, int]:
    """The part of a long line around `column`, escaped, and the column inside that part."""
    start = max(0, column - 1 - width // 2) if len(text) > width else 0
    before = escape_control(text[start : column - 1].replace("\t", " "))
    after = escape_control(text[column - 1 : start + width].replace("\t", " "))
    return before + after, len(before) + 1

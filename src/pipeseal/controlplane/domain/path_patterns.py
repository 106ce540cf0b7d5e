"""What a search for artifacts means: patterns over whole paths, matched in time that grows with the path alone."""

from __future__ import annotations

from collections.abc import Callable

import re2

from pipeseal.errors import MalformedInput

MAX_LENGTH = 4_096


def parse_path_pattern(text: str) -> Callable[[str], bool]:
    """A function that says whether a path matches.

    `*` and `**` stand for any characters, slashes too (`**/` also for nothing at all), `?` for one character but a
    slash, `[abc]` and `[^abc]` for one character, `{a,b}` for either, and a backslash takes the meaning from what
    follows it. An empty pattern matches every path. Patterns of uploads are narrower: there `*` stays in one folder.

    Raises:
        MalformedInput: `request.malformed`: too long, a bracket or brace without its end.
    """
    if len(text) > MAX_LENGTH:
        raise MalformedInput("request.malformed", f"a search pattern has at most {MAX_LENGTH} characters")
    options = re2.Options()
    options.log_errors = False
    options.dot_nl = True
    try:
        expression = re2.compile(_translate(text or "*"), options)
    except re2.error as error:
        raise MalformedInput("request.malformed", f"the search pattern {text[:80]!r} cannot be used") from error
    return lambda path: expression.fullmatch(path) is not None


def _translate(text: str) -> str:
    pieces: list[str] = []
    depth = 0
    position = 0
    while position < len(text):
        character = text[position]
        if text.startswith("**/", position) and (position == 0 or text[position - 1] == "/"):
            pieces.append("(?:.*/)?")
            position += 3
            continue
        match character:
            case "\\" if position + 1 < len(text):
                pieces.append(re2.escape(text[position + 1]))
                position += 1
            case "*":
                pieces.append(".*")
            case "?":
                pieces.append("[^/]")
            case "[":
                piece, position = _one_of(text, position)
                pieces.append(piece)
            case "{":
                depth += 1
                pieces.append("(?:")
            case "}" if depth:
                depth -= 1
                pieces.append(")")
            case "," if depth:
                pieces.append("|")
            case _:
                pieces.append(re2.escape(character))
        position += 1
    if depth:
        raise MalformedInput("request.malformed", f"a brace of the search pattern {text[:80]!r} has no end")
    return "".join(pieces)


def _one_of(text: str, start: int) -> tuple[str, int]:
    """A character class, and where its last character stands."""
    first = start + 2 if text.startswith("^", start + 1) else start + 1
    end = text.find("]", first + 1)
    if end < 0:
        raise MalformedInput("request.malformed", f"a bracket of the search pattern {text[:80]!r} has no end")
    members = "".join(re2.escape(character) for character in text[first:end])
    return f"[{'^' if first == start + 2 else ''}{members}]", end

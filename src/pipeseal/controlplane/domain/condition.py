"""Conditions of steps (`if`): a small language over what is known of the build.

Operators, loosest first: `||`, `&&`, then `==`, `!=`, `=~`, `!~`, `includes`, then `!` and parentheses. Values: text
in single or double quotes, whole numbers, `true`, `false`, `null`, lists in brackets, `/patterns/`, names such as
`build.branch`, and `build.env("NAME")`. `// ...` is a comment. What cannot be read is an error when the pipeline is
uploaded: a step never runs because its condition was misunderstood.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from pipeseal.controlplane.domain.pattern import Pattern
from pipeseal.errors import MalformedInput

_Value: TypeAlias = "str | int | bool | Pattern | list[_Value] | None"

_MAX_LENGTH = 16_384
_MAX_DEPTH = 64


@dataclass(frozen=True, slots=True)
class BuildFacts:
    """What conditions may ask about. None is `null`."""

    id: str
    number: int
    branch: str
    tag: str | None
    commit: str
    message: str
    source: str
    author: str
    pull_request: str | None
    pipeline_id: str
    pipeline_slug: str
    pipeline_repository: str
    pipeline_default_branch: str
    organization_slug: str
    organization_id: str
    env: Mapping[str, str] = field(default_factory=dict)


_NAMES: dict[str, Callable[[BuildFacts], _Value]] = {
    "build.id": lambda facts: facts.id,
    "build.number": lambda facts: facts.number,
    "build.branch": lambda facts: facts.branch,
    "build.tag": lambda facts: facts.tag,
    "build.commit": lambda facts: facts.commit,
    "build.message": lambda facts: facts.message,
    "build.source": lambda facts: facts.source,
    "build.author.name": lambda facts: facts.author or None,
    "build.creator.name": lambda facts: facts.author or None,
    "build.pull_request.id": lambda facts: facts.pull_request,
    "pipeline.id": lambda facts: facts.pipeline_id,
    "pipeline.slug": lambda facts: facts.pipeline_slug,
    "pipeline.repository": lambda facts: facts.pipeline_repository,
    "pipeline.default_branch": lambda facts: facts.pipeline_default_branch,
    "organization.slug": lambda facts: facts.organization_slug,
    "organization.id": lambda facts: facts.organization_id,
}

_TOKEN = re.compile(
    r"""\s+ | //[^\n]*
    | (?P<operator>\|\||&&|==|!=|=~|!~|[!()\[\],])
    | (?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
    | (?P<pattern>/(?:[^/\\\n]|\\.)+/[a-z]*)
    | (?P<number>-?[0-9]+)
    | (?P<name>[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*)""",
    re.VERBOSE,
)


def evaluate_condition(text: str, facts: BuildFacts) -> bool:
    """Whether a condition holds.

    Parameters:
        text: the condition.
        facts: of the build.

    Raises:
        MalformedInput: `upload.condition`: it cannot be read, or asks for what this server does not know.
    """
    if len(text) > _MAX_LENGTH:
        raise _error(text[:60] + "...", f"is longer than {_MAX_LENGTH} characters")
    reader = _Reader(text, facts)
    value = reader.read_or(0)
    reader.expect_end()
    if not isinstance(value, bool):
        raise _error(text, "is neither true nor false")
    return value


def _error(text: str, what: str) -> MalformedInput:
    return MalformedInput(
        "upload.condition",
        f"the condition {text!r} {what}",
        help="compare with ==, !=, =~ or !~, join with && and ||; the page of this code lists the names",
    )


class _Reader:
    def __init__(self, text: str, facts: BuildFacts) -> None:
        self._text = text
        self._facts = facts
        self._tokens = self._split(text)
        self._at = 0

    def _split(self, text: str) -> list[tuple[str, str]]:
        tokens = []
        at = 0
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None:
                raise _error(self._text, f"cannot be read at {text[at : at + 20]!r}")
            if match.lastgroup is not None:
                tokens.append((match.lastgroup, match[0]))
            at = match.end()
        return tokens

    def _peek(self) -> tuple[str, str]:
        return self._tokens[self._at] if self._at < len(self._tokens) else ("end", "")

    def _take(self, operator: str) -> bool:
        if self._peek() == ("operator", operator):
            self._at += 1
            return True
        return False

    def expect_end(self) -> None:
        kind, token = self._peek()
        if kind != "end":
            raise _error(self._text, f"goes on unexpectedly with {token!r}")

    def _expect(self, operator: str) -> None:
        if not self._take(operator):
            raise _error(self._text, f"lacks {operator!r} before {self._peek()[1] or 'its end'!r}")

    def read_or(self, depth: int) -> _Value:
        if depth > _MAX_DEPTH:
            raise _error(self._text, "is nested too deeply")
        value = self._read_and(depth)
        while self._take("||"):
            right = self._read_and(depth)
            value = self._truth(value) | self._truth(right)
        return value

    def _read_and(self, depth: int) -> _Value:
        value = self._read_comparison(depth)
        while self._take("&&"):
            right = self._read_comparison(depth)
            value = self._truth(value) & self._truth(right)
        return value

    def _read_comparison(self, depth: int) -> _Value:
        left = self._read_not(depth)
        kind, word = self._peek()
        if kind == "name" and word == "includes":
            self._at += 1
            return self._includes(left, self._read_not(depth))
        if kind != "operator" or word not in ("==", "!=", "=~", "!~"):
            return left
        self._at += 1
        right = self._read_not(depth)
        if word in ("=~", "!~"):
            if not isinstance(right, Pattern):
                raise _error(self._text, f"needs a /pattern/ behind {word}")
            found = isinstance(left, str) and right.found_in(left)
            return found if word == "=~" else not found
        if isinstance(left, Pattern) or isinstance(right, Pattern):
            raise _error(self._text, f"compares a pattern with {word}; use =~ or !~")
        same = type(left) is type(right) and left == right
        return same if word == "==" else not same

    def _includes(self, left: _Value, right: _Value) -> bool:
        if not isinstance(left, list):
            raise _error(self._text, "needs a list in front of `includes`")
        return any(
            item.found_in(right) if isinstance(item, Pattern) and isinstance(right, str) else item == right
            for item in left
        )

    def _read_not(self, depth: int) -> _Value:
        negations = 0
        while self._take("!"):
            negations += 1
        value = self._read_value(depth)
        if not negations:
            return value
        truth = self._truth(value)
        return truth if negations % 2 == 0 else not truth

    def _read_value(self, depth: int) -> _Value:
        if self._take("("):
            value = self.read_or(depth + 1)
            self._expect(")")
            return value
        if self._take("["):
            return self._read_list(depth)
        kind, token = self._peek()
        self._at += 1
        match kind:
            case "text":
                return re.sub(r"\\(.)", r"\1", token[1:-1], flags=re.DOTALL)
            case "number":
                return int(token) if len(token) < 20 else token
            case "pattern":
                body, _, flags = token[1:].rpartition("/")
                return self._pattern(body, flags)
            case "name":
                return self._read_name(token)
            case _:
                raise _error(self._text, f"lacks a value before {token or 'its end'!r}")

    def _read_list(self, depth: int) -> list[_Value]:
        items: list[_Value] = []
        while not self._take("]"):
            if items:
                self._expect(",")
            items.append(self._read_not(depth + 1))
        return items

    def _pattern(self, body: str, flags: str) -> Pattern:
        if flags.strip("i"):
            raise _error(self._text, f"has a pattern with the unknown flags {flags!r}")
        try:
            return Pattern(body, ignore_case="i" in flags)
        except MalformedInput as error:
            raise _error(self._text, f"has a pattern that cannot be used: {error.message}") from error

    def _read_name(self, name: str) -> _Value:
        match name:
            case "true":
                return True
            case "false":
                return False
            case "null":
                return None
            case "build.env" | "env":
                self._expect("(")
                kind, token = self._peek()
                if kind != "text":
                    raise _error(self._text, f"needs the name of a variable, in quotes, in {name}(...)")
                self._at += 1
                self._expect(")")
                return self._facts.env.get(token[1:-1])
        ask = _NAMES.get(name)
        if ask is None:
            raise _error(self._text, f"asks for {name!r}, which this server does not know")
        return ask(self._facts)

    def _truth(self, value: _Value) -> bool:
        if not isinstance(value, bool):
            raise _error(self._text, "uses something that is neither true nor false as a truth")
        return value

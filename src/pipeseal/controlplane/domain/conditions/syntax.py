"""The parts a condition is made of. `at` is always the offset in its text that errors point at."""

from __future__ import annotations

from dataclasses import dataclass

from pipeseal.controlplane.domain.conditions.expansion import Expansion, Template
from pipeseal.controlplane.domain.conditions.patterns import Pattern


@dataclass(frozen=True, slots=True)
class Literal:
    """A number, `true`, `false` or `null`."""

    at: int
    value: int | bool | None


@dataclass(frozen=True, slots=True)
class String:
    """A string, with the substitutions in it."""

    at: int
    template: Template


@dataclass(frozen=True, slots=True)
class Substitution:
    """`$NAME` or `${NAME...}` on its own; null when the variable is not set."""

    at: int
    expansion: Expansion


@dataclass(frozen=True, slots=True)
class Regex:
    """A regular expression."""

    at: int
    pattern: Pattern


@dataclass(frozen=True, slots=True)
class Name:
    """A variable such as `build.branch`."""

    at: int
    name: str


@dataclass(frozen=True, slots=True)
class Call:
    """`build.env("NAME")`."""

    at: int
    name: str
    arguments: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Array:
    """`["a", "b"]`."""

    at: int
    elements: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """`!x`."""

    at: int
    operand: Node


@dataclass(frozen=True, slots=True)
class Comparison:
    """`==`, `!=`, `=~`, `!~` or `includes` between two values."""

    at: int
    operator: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Logic:
    """`&&` or `||` between two or more values."""

    at: int
    operator: str
    operands: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """`condition ? chosen : other`."""

    at: int
    condition: Node
    chosen: Node
    other: Node


Node = Literal | String | Substitution | Regex | Name | Call | Array | Not | Comparison | Logic | Choice

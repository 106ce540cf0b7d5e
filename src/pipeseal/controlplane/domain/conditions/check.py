"""Names and types of a condition, checked before anything is decided: a slip of the pen is an error, not `false`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches

from pipeseal.controlplane.domain.conditions.expansion import is_static, static_text
from pipeseal.controlplane.domain.conditions.origin import Origin
from pipeseal.controlplane.domain.conditions.syntax import (
    Array,
    Call,
    Choice,
    Comparison,
    Literal,
    Logic,
    Name,
    Node,
    Not,
    Regex,
    String,
    Substitution,
)
from pipeseal.controlplane.domain.conditions.variables import (
    BUILD_ENVIRONMENT,
    BY_NAME,
    FUNCTIONS,
    Place,
    Type,
    Variable,
)

_ENV_NAME = re.compile(r"[A-Za-z0-9_]+")


def check_tree(origin: Origin, tree: Node, place: Place) -> None:
    """Whether the condition is about known things and ends in true or false.

    Raises:
        MalformedInput: `condition.unknown_name`, `condition.type`.
    """
    checker = _Checker(origin, place)
    result = checker.type_of(tree)
    if result is not Type.BOOLEAN:
        raise origin.mismatch(
            tree.at, f"a condition must be true or false, this is a {result}", "compare it, as in `... != null`"
        )


@dataclass(frozen=True, slots=True)
class _Checker:
    origin: Origin
    place: Place

    def type_of(self, node: Node) -> Type:
        match node:
            case Literal(value=bool()):
                return Type.BOOLEAN
            case Literal(value=None):
                return Type.NULL
            case Literal():
                return Type.NUMBER
            case String() | Substitution():
                return Type.STRING
            case Regex():
                return Type.PATTERN
            case Name():
                return self._variable(node).type
            case Call():
                return self._call(node)
            case Array():
                for element in node.elements:
                    self._expect(element, "an array holds strings", Type.STRING)
                return Type.ARRAY
            case Not():
                self._expect(node.operand, "`!` needs true or false behind it", Type.BOOLEAN)
                return Type.BOOLEAN
            case Logic():
                for operand in node.operands:
                    self._expect(operand, f"`{node.operator}` joins what is true or false", Type.BOOLEAN)
                return Type.BOOLEAN
            case Choice():
                self._expect(node.condition, "what stands before `?` must be true or false", Type.BOOLEAN)
                return self._same(node.at, node.chosen, node.other, "both sides of `:` must be of one kind")
            case Comparison():
                return self._comparison(node)

    def _comparison(self, node: Comparison) -> Type:
        match node.operator:
            case "=~" | "!~":
                self._expect(
                    node.left, f"the left side of `{node.operator}` must be a string", Type.STRING, Type.NULL
                )
                help = f"the right side of `{node.operator}` must be a regular expression, as in `/^v[0-9]/`"
                self._expect(node.right, help, Type.PATTERN)
            case "includes":
                self._expect(node.left, "the left side of `includes` must be an array", Type.ARRAY, Type.NULL)
                help = "the right side of `includes` must be a string or a regular expression"
                self._expect(node.right, help, Type.STRING, Type.PATTERN, Type.NULL)
            case _:
                self._same(node.at, node.left, node.right, f"the sides of `{node.operator}` are of different kinds")
                self._check_value(node.left, node.right)
                self._check_value(node.right, node.left)
        return Type.BOOLEAN

    def _same(self, at: int, left: Node, right: Node, message: str) -> Type:
        first, second = self.type_of(left), self.type_of(right)
        if Type.PATTERN in (first, second):
            pattern = left if first is Type.PATTERN else right
            raise self.origin.mismatch(
                pattern.at, "a regular expression can only stand behind `=~`, `!~` or `includes`", "compare with `=~`"
            )
        if Type.NULL in (first, second) or first is second:
            return second if first is Type.NULL else first
        raise self.origin.mismatch(at, f"{message}: a {first} and a {second}")

    def _expect(self, node: Node, message: str, *wanted: Type) -> None:
        found = self.type_of(node)
        if found in wanted:
            return
        help = ""
        if Type.BOOLEAN in wanted:
            help = "compare it, as in `... != null`" if found in (Type.STRING, Type.ARRAY) else ""
        raise self.origin.mismatch(node.at, f"{message}, this is a {found}", help)

    def _check_value(self, variable: Node, value: Node) -> None:
        """A comparison with a value that the variable never has is a slip of the pen."""
        if not (isinstance(variable, Name) and isinstance(value, String) and is_static(value.template)):
            return
        text = static_text(value.template)
        known = BY_NAME[variable.name].values
        if known and text not in known:
            near = get_close_matches(text, known, 1, 0.6)
            help = f'did you mean "{near[0]}"?' if near else f"it is one of: {', '.join(sorted(known))}"
            raise self.origin.mismatch(value.at, f"`{variable.name}` is never {text[:40]!r}", help)

    def _variable(self, node: Name) -> Variable:
        variable = BY_NAME.get(node.name)
        if variable is None:
            if node.name in FUNCTIONS:
                raise self.origin.unknown(
                    node.at, f"`{node.name}` is a function", f'write `{node.name}("NAME")` with a name'
                )
            here = [name for name, row in BY_NAME.items() if not row.places or self.place in row.places]
            raise self.origin.unknown(
                node.at, f"there is no variable `{node.name}`", _nearest(node.name, here) or _string_hint(node.name)
            )
        if variable.places and self.place not in variable.places:
            places = " or ".join(f"the condition of a {place}" for place in Place if place in variable.places)
            raise self.origin.unknown(
                node.at, f"`{node.name}` is not known in the condition of a {self.place}", f"it is known in {places}"
            )
        return variable

    def _call(self, node: Call) -> Type:
        if node.name not in FUNCTIONS:
            help = _nearest(node.name, FUNCTIONS) or 'the only function is `build.env("NAME")`'
            raise self.origin.unknown(node.at, f"there is no function `{node.name}`", help)
        if len(node.arguments) != 1:
            message = f"`{node.name}` takes one name, not {len(node.arguments)}"
            raise self.origin.mismatch(node.at, message, f'as in `{node.name}("NAME")`')
        argument = node.arguments[0]
        self._expect(argument, f"`{node.name}` takes the name of a variable", Type.STRING)
        if isinstance(argument, String) and is_static(argument.template):
            check_env_name(self.origin, argument.at, static_text(argument.template))
        return Type.STRING


def check_env_name(origin: Origin, at: int, name: str) -> None:
    """Whether an environment variable can be asked for at all.

    Raises:
        MalformedInput: `condition.unknown_name`.
    """
    if not _ENV_NAME.fullmatch(name):
        bare = name.replace("$", "")
        help = f'write "{bare}", without the dollar' if bare != name and _ENV_NAME.fullmatch(bare) else ""
        raise origin.unknown(at, f"{name[:80]!r} is no name of a variable", help)
    if name.startswith("BUILDKITE_") and name not in BUILD_ENVIRONMENT:
        help = _nearest(name, sorted(BUILD_ENVIRONMENT), 0.85)
        raise origin.unknown(
            at, f"{name[:80]} is not known before a job runs", help or "test for it in the step's command instead"
        )


def _nearest(name: str, known: list[str] | tuple[str, ...], cutoff: float = 0.6) -> str:
    near = get_close_matches(name[:100], known, 1, cutoff)
    return f"did you mean `{near[0]}`?" if near else ""


def _string_hint(name: str) -> str:
    return "put text between quotes" if "." not in name else "see the list of variables in the reference"

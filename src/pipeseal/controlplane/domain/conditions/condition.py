"""A condition that was read and checked, and the decision it comes to."""

from __future__ import annotations

from dataclasses import dataclass

from pipeseal.controlplane.domain.conditions.check import check_env_name, check_tree
from pipeseal.controlplane.domain.conditions.expansion import expand, render_template
from pipeseal.controlplane.domain.conditions.facts import ConditionFacts, Fact
from pipeseal.controlplane.domain.conditions.origin import Origin
from pipeseal.controlplane.domain.conditions.parse import parse_tree
from pipeseal.controlplane.domain.conditions.patterns import MatchBudget, Pattern
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
from pipeseal.controlplane.domain.conditions.variables import Place


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition: made by `parse_condition`, decided by `evaluate_condition`."""

    origin: Origin
    place: Place
    tree: Node

    @property
    def text(self) -> str:
        """As it was written."""
        return self.origin.text


def parse_condition(text: str, *, source: str, place: Place = Place.STEP) -> Condition:
    """A condition, read and checked.

    Parameters:
        text: as written; blank text is a condition that is always true.
        source: name for errors, such as `pipeline.yml, step 3 (deploy), if`.
        place: what it is a condition of, which decides the variables it may use.

    Raises:
        MalformedInput: with the position of the character at fault. `condition.malformed` for text that is no
            condition; `condition.pattern` for a regular expression that is none or has features without linear-time
            matching; `condition.unknown_name` for a variable or function that does not exist, or not in this place;
            `condition.type` for a comparison that makes no sense; `condition.limit` when it is too long or too deep.
    """
    origin = Origin(source, text)
    if not text.strip(" \t\r\n"):
        return Condition(origin, place, Literal(0, True))
    tree = parse_tree(origin)
    check_tree(origin, tree, place)
    return Condition(origin, place, tree)


def evaluate_condition(condition: Condition, facts: ConditionFacts, budget: MatchBudget | None = None) -> bool:
    """Whether a condition holds. Null counts as false.

    Parameters:
        facts: about the build.
        budget: of matching, to share among the conditions of one upload; a fresh one when not given.

    Raises:
        MalformedInput: `condition.value` when a `${NAME:?}` is not set or a substring's offset is no number;
            `condition.unknown_name` when a name put together from variables cannot be asked for; `condition.limit`
            when its regular expressions would search too much text.
    """
    return _Evaluation(condition.origin, facts, budget or MatchBudget()).value(condition.tree) is True


_Value = Fact | Pattern


@dataclass(frozen=True, slots=True)
class _Evaluation:
    origin: Origin
    facts: ConditionFacts
    budget: MatchBudget

    def value(self, node: Node) -> _Value:
        match node:
            case Literal():
                return node.value
            case String():
                return render_template(self.origin, node.template, self.facts.env)
            case Substitution():
                return expand(self.origin, node.expansion, self.facts.env)
            case Regex():
                return node.pattern
            case Name():
                return self.facts.find(node.name)
            case Call():
                return self._call(node)
            case Array():
                # An element that is null equals nothing, so it can be left out.
                values = [self.value(element) for element in node.elements]
                return tuple(value for value in values if isinstance(value, str))
            case Not():
                return self.value(node.operand) is not True
            case Logic(operator="&&"):
                return all(self.value(operand) is True for operand in node.operands)
            case Logic():
                return any(self.value(operand) is True for operand in node.operands)
            case Choice():
                return self.value(node.chosen if self.value(node.condition) is True else node.other)
            case Comparison():
                return self._compare(node.operator, self.value(node.left), self.value(node.right))

    def _compare(self, operator: str, left: _Value, right: _Value) -> bool:
        match operator:
            case "==" | "!=":
                return (left == right) is (operator == "==")
            case "includes" if isinstance(left, tuple):
                if isinstance(right, Pattern):
                    return any(right.matches(self.origin, element, self.budget) for element in left)
                return right in left
            case "includes":
                return False
            case _:
                found = (
                    isinstance(left, str)
                    and isinstance(right, Pattern)
                    and right.matches(self.origin, left, self.budget)
                )
                return found is (operator == "=~")

    def _call(self, node: Call) -> str | None:
        name = self.value(node.arguments[0])
        if not isinstance(name, str):
            raise self.origin.value(node.at, f"`{node.name}` was given null instead of a name")
        check_env_name(self.origin, node.at, name)
        return self.facts.env.get(name, None if node.name == "build.env" else "")

"""What a condition is decided on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipeseal.controlplane.domain.conditions.variables import BY_NAME, Type

Fact = str | int | bool | tuple[str, ...] | None
_PYTHON_TYPES: dict[Type, type] = {Type.STRING: str, Type.NUMBER: int, Type.BOOLEAN: bool, Type.ARRAY: tuple}


@dataclass(frozen=True, slots=True)
class ConditionFacts:
    """Variables and environment of one build, in one place.

    Parameters:
        variables: name as in the table of variables, such as `build.branch`, to its value; one that is left out or
            None is null. Arrays are sequences of text.
        env: environment of the build as `build.env` sees it: the pipeline's variables, the build's over them, and
            the `BUILDKITE_` ones over both.

    Raises:
        ValueError: a variable that is not in the table, or has another type than the table says.
    """

    variables: Mapping[str, str | int | bool | Sequence[str] | None] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.variables:
            self.find(name)

    def find(self, name: str) -> Fact:
        """The value of a variable; None for null."""
        row = BY_NAME.get(name)
        if row is None:
            raise ValueError(f"conditions have no variable {name!r}")
        value = self.variables.get(name)
        if isinstance(value, Sequence) and not isinstance(value, str):
            value = tuple(value)
        if value is None or (value == "" and row.blank_is_null):
            return None
        if type(value) is not _PYTHON_TYPES[row.type]:
            raise ValueError(f"{name} must be a {row.type}, not {type(value).__name__}")
        return value

"""How the typed members of a pipeline take what was written: text from any scalar, lists from one item, and so on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias

from pipeseal.pipeline.values import MAX_INT64, Value, describe, float_text

Path: TypeAlias = tuple[str | int, ...]


class Misfit(Exception):
    """A value that cannot be what its member wants.

    A step with one becomes an unknown step; at the top level of a pipeline it is an error. Never leaves this package.

    Parameters:
        path: where, from the outermost value inwards.
        message: one lower-case sentence without a full stop.
    """

    def __init__(self, path: Path, message: str) -> None:
        super().__init__(message)
        self.path = path
        self.message = message


def text_of(value: Value, path: Path) -> str:
    """Any scalar as text: numbers and booleans as they are printed, null as empty text.

    Raises:
        Misfit: a mapping, a list, a date, or a number beyond 64 bits signed.
    """
    if type(value) is str:
        return value
    if value is None:
        return ""
    if value is True:
        return "true"
    if value is False:
        return "false"
    if type(value) is int and value <= MAX_INT64:
        return str(value)
    if type(value) is float:
        return float_text(value)
    raise Misfit(path, f"{name(path)} is {describe(value)}, and text is wanted")


def optional_text_of(value: Value, path: Path) -> str | None:
    """Like `text_of`, but null stays None."""
    return None if value is None else text_of(value, path)


def texts_of(value: Value, path: Path) -> list[str] | None:
    """A list of text: of every item, or of one scalar that stands for a list of one; None for null.

    Raises:
        Misfit: a mapping, or an item that is no scalar.
    """
    if isinstance(value, list):
        return [text_of(item, (*path, index)) for index, item in enumerate(value)]
    if value is None:
        return None
    if isinstance(value, dict):
        raise Misfit(path, f"{name(path)} is a mapping, and text or a list of text is wanted")
    return [text_of(value, path)]


def boolean_of(value: Value, path: Path) -> bool | None:
    """A boolean or null.

    Raises:
        Misfit: anything else, the text `true` too.
    """
    if value is None or isinstance(value, bool):
        return value
    raise Misfit(path, f"{name(path)} is {describe(value)}, and true or false is wanted")


def integer_of(value: Value, path: Path) -> int | None:
    """A whole number of 64 bits or null.

    Raises:
        Misfit: anything else, also a number with a fraction part of zero.
    """
    if value is None or (type(value) is int and value <= MAX_INT64):
        return value
    raise Misfit(path, f"{name(path)} is {describe(value)}, and a whole number is wanted")


def mapping_of(value: Value, path: Path) -> dict[str, Value]:
    """A mapping.

    Raises:
        Misfit: anything else.
    """
    if isinstance(value, dict):
        return value
    raise Misfit(path, f"{name(path)} is {describe(value)}, and a mapping is wanted")


def env_of(value: Value, path: Path) -> dict[str, str]:
    """Variables: a mapping of text, order kept; none for null.

    Raises:
        Misfit: no mapping, or a value that is no scalar.
    """
    if value is None:
        return {}
    return {
        key: item if type(item) is str else text_of(item, (*path, key))
        for key, item in mapping_of(value, path).items()
    }


def spread_nameless(members: dict[str, Value], typed: Sequence[str]) -> dict[str, Value]:
    """Members with one whose name is empty taken for every typed member that is missing, as the reference takes it.

    Parameters:
        members: members as written.
        typed: names of typed members that have no aliases.

    Returns:
        The same members when none has an empty name, or all typed ones are there.
    """
    if "" not in members or all(name in members for name in typed):
        return members
    spread = dict(members)
    value = spread.pop("")
    for typed_name in typed:
        spread.setdefault(typed_name, value)
    return spread


def without(members: dict[str, Value], typed: Iterable[str]) -> dict[str, Value]:
    """The members that have no type of their own, in source order."""
    rest = dict(members)
    for key in typed:
        rest.pop(key, None)
    return rest


def first_present(members: dict[str, Value], names: Sequence[str]) -> str | None:
    """The first of a member's name and its aliases that is there, whatever its value."""
    for candidate in names:
        if candidate in members:
            return candidate
    return None


def name(path: Path) -> str:
    """The last key of a path as messages show it."""
    for index in range(len(path) - 1, -1, -1):
        part = path[index]
        if isinstance(part, str):
            items = "".join(f"[{item}]" for item in path[index + 1 :])
            return f"`{part}{items}`"
    return "this"

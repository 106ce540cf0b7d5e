"""`depends_on`: how it is read, and cycles in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from pipeseal.controlplane.domain.members import read_flag
from pipeseal.errors import MalformedInput


class Dependency(msgspec.Struct, frozen=True):
    """The key of a step that must have ended, and whether it may have failed."""

    step: str
    allow_failure: bool = False


def read_depends_on(value: Any, where: str) -> list[Dependency] | None:
    """A step's dependencies.

    Parameters:
        value: text, a list of text and of mappings `{step, allow_failure}`, None, or `msgspec.UNSET` when absent.
        where: the step, for the error.

    Returns:
        The dependencies; `[]` for an explicit null or empty list (run at once), None when the step says nothing.

    Raises:
        MalformedInput: `upload.step`.
    """
    match value:
        case msgspec.UNSET:
            return None
        case None:
            return []
        case str():
            return [Dependency(value)]
        case list():
            return [_read_one(item, where) for item in value]
        case dict():
            return [_read_one(value, where)]
        case _:
            raise MalformedInput("upload.step", f"{where}: `depends_on` must be a step's key or a list of keys")


def _read_one(item: Any, where: str) -> Dependency:
    match item:
        case str():
            return Dependency(item)
        case {"step": str(key), **rest}:
            return Dependency(key, read_flag(rest.get("allow_failure"), "depends_on.allow_failure", where))
        case _:
            raise MalformedInput("upload.step", f"{where}: an item of `depends_on` is a key or a mapping with `step`")


def find_cycle(edges: Mapping[str, Iterable[str]]) -> list[str] | None:
    """A cycle among keys, as the keys on it in order; None when there is none.

    Parameters:
        edges: key of a step to the keys that it needs.
    """
    done: set[str] = set()
    for start in edges:
        path: list[str] = []
        on_path: set[str] = set()
        stack: list[tuple[str, Sequence[str]]] = [(start, ())]
        # Depth first without recursion: entries are (key, ()) to enter and ("", path key) to leave.
        while stack:
            key, leaving = stack.pop()
            if leaving:
                path.pop()
                on_path.discard(leaving[0])
                done.add(leaving[0])
                continue
            if key in on_path:
                return [*path[path.index(key) :], key]
            if key in done or key not in edges:
                continue
            path.append(key)
            on_path.add(key)
            stack.append(("", (key,)))
            stack.extend((needed, ()) for needed in edges[key])
    return None

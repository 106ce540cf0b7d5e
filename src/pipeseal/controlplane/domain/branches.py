"""Branch filters: `main feature/* !feature/beta`.

Patterns are separated by blanks, `*` stands for any characters (slashes too), `!` in front excludes. A branch passes
when some including pattern matches, or there is none, and no excluding one does; their order does not matter. The
same filters stand in steps (`branches`), in the settings of pipelines, and in webhooks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipeseal.errors import MalformedInput

_MAX_PATTERNS = 500
_MAX_LENGTH = 512  # characters of one pattern


@dataclass(frozen=True, slots=True)
class BranchFilter:
    """A branch filter: made by `parse_branches`.

    Parameters:
        included: patterns of which one has to match; empty means any branch.
        excluded: patterns of which none may match, without their `!`.
    """

    included: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()

    def includes(self, branch: str) -> bool:
        """Whether `branch` passes; the filter decides by the name alone, and an empty name is a name."""
        if any(_matches(pattern, branch) for pattern in self.excluded):
            return False
        return not self.included or any(_matches(pattern, branch) for pattern in self.included)

    def __str__(self) -> str:
        """As it is written."""
        return " ".join([*self.included, *(f"!{pattern}" for pattern in self.excluded)])


def parse_branches(value: Any, *, source: str) -> BranchFilter:
    """A branch filter as it stands in a pipeline or in settings.

    Parameters:
        value: text, a list of text, or None; blank text and None let every branch pass.
        source: what people call the place, for errors, such as `step 3 (deploy)`.

    Raises:
        MalformedInput: `branches.malformed`, it is something else, a pattern is empty, or there is too much of it.
    """
    match value:
        case None:
            return BranchFilter()
        case str():
            words = value.split()
        case list() if all(isinstance(item, str) for item in value):
            words = [word for item in value for word in item.split()]
        case _:
            raise MalformedInput(
                "branches.malformed",
                f"{source}: `branches` must be text or a list of text, not {type(value).__name__}",
                help='put it between quotes, as in branches: "main feature/* !feature/beta"',
            )
    if len(words) > _MAX_PATTERNS:
        raise MalformedInput(
            "branches.malformed", f"{source}: `branches` has {len(words)} patterns, at most {_MAX_PATTERNS}"
        )
    for word in words:
        if not word.lstrip("!"):
            raise MalformedInput(
                "branches.malformed",
                f"{source}: `!` excludes nothing",
                help="write the pattern straight behind it, as in !production",
            )
        if len(word) > _MAX_LENGTH:
            raise MalformedInput(
                "branches.malformed", f"{source}: a pattern of `branches` is longer than {_MAX_LENGTH} characters"
            )
    return BranchFilter(
        tuple(word for word in words if not word.startswith("!")),
        tuple(word[1:] for word in words if word.startswith("!")),
    )


def _matches(pattern: str, text: str) -> bool:
    """Without backtracking: each piece between two stars is looked for from the left, the last one at the end."""
    first, *pieces = pattern.split("*")
    if not pieces:
        return text == pattern
    if not text.startswith(first):
        return False
    at = len(first)
    last = pieces.pop()
    for piece in pieces:
        found = text.find(piece, at)
        if found < 0:
            return False
        at = found + len(piece)
    return len(text) - at >= len(last) and text.endswith(last)

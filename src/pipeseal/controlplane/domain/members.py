"""Reading single members of a step: its kind, counts, skip."""

from __future__ import annotations

import re
from typing import Any

from pipeseal.errors import MalformedInput

_TYPES = {
    "command": "command",
    "commands": "command",
    "script": "command",
    "wait": "wait",
    "waiter": "wait",
    "block": "block",
    "manual": "block",
    "input": "input",
    "trigger": "trigger",
    "group": "group",
}
# In this order: the first member that is there decides.
_DECIDING = (
    ("command", "command"),
    ("commands", "command"),
    ("plugins", "command"),
    ("wait", "wait"),
    ("waiter", "wait"),
    ("block", "block"),
    ("input", "input"),
    ("manual", "block"),
    ("trigger", "trigger"),
    ("group", "group"),
)
# Kinds of step whose members may also stand in a mapping under the member that says the kind.
_NESTING = ("wait", "block", "input", "trigger")
_MAX_COUNT = 1_000_000


def step_kind(value: Any, where: str) -> str:
    """What kind of step this is: `command`, `wait`, `block`, `input`, `trigger` or `group`.

    Raises:
        MalformedInput: `upload.step`, it is none of them.
    """
    kind: str | None = None
    match value:
        case str():
            kind = _TYPES.get(value) if value in {"wait", "waiter", "block", "input", "manual"} else None
        case {"type": str(named)}:
            kind = _TYPES.get(named) if named != "commands" else None
        case {"type": _}:
            kind = None
        case dict():
            kind = next((kind for member, kind in _DECIDING if member in value), None)
    if kind is None:
        shown = repr(value)
        raise MalformedInput(
            "upload.step",
            f"{where} is none of the known kinds of step: {shown if len(shown) <= 80 else shown[:77] + '...'}",
            help="a command step needs `command:`; others are wait, block, input, trigger and group",
        )
    return kind


def flatten_step(value: Any, kind: str, where: str) -> dict[str, Any] | None:
    """A step whose members are written inside its first one, as in `wait: {continue_on_failure: true}`, unfolded.

    Parameters:
        value: the step.
        kind: as `step_kind` gave it.

    Returns:
        All of its members side by side; None when it is not written so.

    Raises:
        MalformedInput: `upload.step`, a member is said inside and outside.
    """
    if not isinstance(value, dict) or kind not in _NESTING:
        return None
    for member, deciding_kind in _DECIDING:
        inner = value.get(member) if deciding_kind == kind else None
        if isinstance(inner, dict):
            outer = {name: item for name, item in value.items() if name != member}
            twice = [name for name in outer if name in inner]
            if twice:
                raise MalformedInput("upload.step", f"{where}: `{twice[0][:80]}` stands inside and beside `{member}`")
            return {member: None, **inner, **outer}
    return None


def read_count(value: Any, name: str, where: str) -> int | None:
    """A count of one or more; None when absent.

    Raises:
        MalformedInput: `upload.step`.
    """
    if value is None:
        return None
    count = _whole(value)
    if count is None or not 1 <= count <= _MAX_COUNT:
        raise MalformedInput("upload.step", f"{where}: `{name}` must be a whole number of at least 1, not {value!r}")
    return count


def read_flag(value: Any, name: str, where: str) -> bool:
    """True or false, as YAML or as text; false when absent.

    Raises:
        MalformedInput: `upload.step`.
    """
    match value:
        case None | False | "false":
            return False
        case True | "true":
            return True
        case _:
            raise MalformedInput("upload.step", f"{where}: `{name}` must be true or false, not {value!r}")


def read_priority(value: Any, where: str) -> int:
    """A job's priority, higher first; 0 when absent.

    Raises:
        MalformedInput: `upload.step`.
    """
    if value is None:
        return 0
    priority = _whole(value)
    if priority is None or abs(priority) > _MAX_COUNT:
        raise MalformedInput("upload.step", f"{where}: `priority` must be a whole number, not {value!r}")
    return priority


def read_timeout(value: Any, where: str) -> int | None:
    """Minutes; None when absent or 0 (no time limit).

    Raises:
        MalformedInput: `upload.step`.
    """
    if value is None:
        return None
    minutes = _whole(value)
    if minutes is None or not 0 <= minutes <= _MAX_COUNT:
        raise MalformedInput("upload.step", f"{where}: `timeout_in_minutes` must be minutes, not {value!r}")
    return minutes or None


def check_artifact_paths(value: Any, where: str) -> None:
    """Text, or a list of text.

    Raises:
        MalformedInput: `upload.step`.
    """
    if not all(isinstance(item, str) for item in (value if isinstance(value, list) else [value or ""])):
        raise MalformedInput("upload.step", f"{where}: `artifact_paths` must be text or a list of text")


def read_skip(value: Any, where: str) -> str | None:
    """Why a step is skipped: its text, or `""` for a plain true; None when it is not.

    Raises:
        MalformedInput: `upload.step`.
    """
    match value:
        case None | False | "" | "false":
            return None
        case True | "true":
            return ""
        case str():
            return value
        case _:
            raise MalformedInput("upload.step", f"{where}: `skip` must be true, false or a reason, not {value!r}")


def scalar_text(value: Any) -> str | None:
    """A scalar as the text it stands for, `""` for null; None when it is a list or a mapping."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case str() | int() | float():
            return str(value)
        case _:
            return None


def _whole(value: Any) -> int | None:
    match value:
        case bool():
            return None
        case int():
            return value
        case str() if re.fullmatch(r"-?[0-9]{1,9}", value):
            return int(value)
        case _:
            return None

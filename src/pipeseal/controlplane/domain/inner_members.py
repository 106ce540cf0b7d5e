"""What may stand inside the members of a pipeline, so that a slip of the pen in there is named as well.

Where a mistake could be dangerous, reading the member refuses it; this is for what would otherwise mean nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any, TypeAlias

# Names in a mapping, each with what may be inside it in turn; a list is looked through item by item.
Inside: TypeAlias = Mapping[str, "Inside"]
_LEAF: Inside = {}


def _names(*names: str) -> Inside:
    return dict.fromkeys(names, _LEAF)


_CHECKOUT: Inside = {
    **_names("skip", "submodules", "ssh_secret", "depth", "lfs", "commit_verification"),
    "flags": _names("clone", "fetch", "checkout", "clean"),
    "sparse": _names("paths", "mode"),
}
_SECRET = _names("key", "environment_variable")
_COMMON: Inside = {"depends_on": _names("step", "allow_failure")}
_FIELDS: Inside = {
    "fields": {
        **_names("text", "select", "key", "hint", "required", "default", "format", "multiple"),
        "options": _names("label", "value", "hint"),
    }
}
# Kind of step, empty for the top of a pipeline, to those of its members that are looked into.
INSIDE: Mapping[str, Inside] = {
    "": {"checkout": _CHECKOUT},
    "command": {
        **_COMMON,
        "retry": {
            "automatic": _names("exit_status", "signal", "signal_reason", "limit"),
            "manual": _names("allowed", "permit_on_passed", "reason"),
        },
        "soft_fail": _names("exit_status"),
        "matrix": {"setup": _LEAF, "adjustments": {"with": _LEAF, "skip": _LEAF, "soft_fail": _names("exit_status")}},
        "checkout": _CHECKOUT,
    },
    "wait": _COMMON,
    "block": {**_COMMON, **_FIELDS},
    "input": {**_COMMON, **_FIELDS},
    "trigger": {**_COMMON, "soft_fail": _names("exit_status")},
    "group": _COMMON,
}


def inner_warnings(kind: str, members: Mapping[str, Any], where: str) -> Iterator[str]:
    """A sentence for each name inside a member that means nothing there.

    Parameters:
        kind: of the step; empty for the top of a pipeline.
        members: as they were uploaded.
        where: what people call the place.
    """
    for name, inside in INSIDE[kind].items():
        if name in members:
            yield from _look(members[name], inside, name, where)
    if kind in ("", "command"):
        yield from _secrets(members.get("secrets"), where)
    if kind in ("", "command", "trigger"):
        yield from _webhooks(members.get("notify"), where)


def _look(value: Any, inside: Inside, path: str, where: str) -> Iterator[str]:
    if not inside:
        return
    if isinstance(value, list):
        for item in value:
            yield from _look(item, inside, path, where)
    elif isinstance(value, dict):
        for name, item in value.items():
            if name in inside:
                yield from _look(item, inside[name], f"{path}.{name}", where)
            else:
                near = get_close_matches(name, inside, 1, 0.7)
                hint = f"; did you mean `{near[0]}`?" if near else ""
                yield f"{where}: nothing comes of `{name[:80]}` in `{path}`{hint}"


def _secrets(value: Any, where: str) -> Iterator[str]:
    """A mapping of secrets has names of variables; only in a list are there members to look at."""
    for item in value if isinstance(value, list) else ():
        yield from _look(item, _SECRET, "secrets", where)


def _webhooks(value: Any, where: str) -> Iterator[str]:
    """Entries for other receivers are named elsewhere, whatever they say."""
    for item in value if isinstance(value, list) else (value,):
        if isinstance(item, dict) and "webhook" in item:
            yield from _look(item, _names("webhook", "if"), "notify", where)

"""What a pipeline may say, and what this server makes of it: one table, so that nothing is dropped in silence.

Members in no row are named in a warning, with the nearest name that there is. At the top of a pipeline anything goes
(people keep the anchors of their YAML there), so only slips of the pen are named there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from enum import Enum, auto
from typing import Any

from pipeseal.controlplane.domain.inner_members import inner_warnings


class Support(Enum):
    """What becomes of a member."""

    HONOURED = auto()  # by this server
    CARRIED = auto()  # to the agent, or read by the uploader: nothing for this server to do
    IGNORED = auto()  # not honoured; a warning says what does not happen


_H, _C, _I = Support.HONOURED, Support.CARRIED, Support.IGNORED
Row = tuple[Support, str]
_NOTHING: tuple[Any, ...] = (None, False, "", [], {})

_COMMON: dict[str, Row] = {
    "key": (_H, ""),
    "id": (_H, ""),
    "identifier": (_H, ""),
    "label": (_H, ""),
    "name": (_H, ""),
    "type": (_H, ""),
    "if": (_H, ""),
    "branches": (_H, ""),
    "depends_on": (_H, ""),
    "allow_dependency_failure": (_H, ""),
    "if_changed": (_I, "`if_changed` is decided by the uploader, which left it here; the step runs"),
}
_NO_NOTIFY = "`notify` is heard in command and trigger steps and at the top of the pipeline, not here"
_PEOPLE: dict[str, Row] = {
    **_COMMON,
    "prompt": (_H, ""),
    "fields": (_H, ""),
    "submit": (_C, ""),
    "skip": (_H, ""),
    "allowed_teams": (_I, "this server knows no teams (`allowed_teams`); whoever has an API token may unblock it"),
    "notify": (_I, _NO_NOTIFY),
}

# Kind of step to its members. The empty kind is the top of the pipeline.
MEMBERS: Mapping[str, Mapping[str, Row]] = {
    "": {
        "steps": (_H, ""),
        "env": (_H, ""),
        "agents": (_H, ""),
        "priority": (_H, ""),
        "notify": (_H, ""),
        "checkout": (_C, ""),
        "secrets": (_H, ""),
        "cache": (_I, "agents of this server keep no cache volumes (`cache`); the steps run without"),
        "image": (_I, "this server starts no containers (`image`); the agents of the queue decide where jobs run"),
    },
    "command": {
        **_COMMON,
        "command": (_H, ""),
        "commands": (_H, ""),
        "plugins": (_C, ""),
        "env": (_C, ""),
        "agents": (_H, ""),
        "artifact_paths": (_H, ""),
        "cancel_on_build_failing": (_H, ""),
        "concurrency": (_H, ""),
        "concurrency_group": (_H, ""),
        "concurrency_method": (_H, ""),
        "matrix": (_H, ""),
        "parallelism": (_H, ""),
        "priority": (_H, ""),
        "retry": (_H, ""),
        "skip": (_H, ""),
        "soft_fail": (_H, ""),
        "timeout_in_minutes": (_H, ""),
        "checkout": (_C, ""),
        "secrets": (_C, ""),
        "signature": (_C, ""),
        "cache": (_I, "agents of this server keep no cache volumes (`cache`); the step runs without"),
        "image": (_I, "this server starts no containers (`image`); the agents of the queue decide where jobs run"),
        "notify": (_H, ""),
    },
    "wait": {
        **_COMMON,
        "wait": (_H, ""),
        "waiter": (_H, ""),
        "continue_on_failure": (_H, ""),
        "skip": (_H, ""),
    },
    "block": {**_PEOPLE, "block": (_H, ""), "manual": (_H, ""), "blocked_state": (_H, "")},
    "input": {**_PEOPLE, "input": (_H, ""), "blocked_state": (_C, "")},
    "trigger": {
        **_COMMON,
        "notify": (_H, ""),
        "trigger": (_H, ""),
        "build": (_H, ""),
        "async": (_H, ""),
        "soft_fail": (_H, ""),
        "skip": (_H, ""),
        "cancel_on_build_failing": (_H, ""),
        "agents": (_I, "a trigger step runs on no agent (`agents`)"),
        "retry": (_I, "trigger steps are not repeated (`retry`); rebuild what was triggered"),
        "env": (_I, "variables for the triggered build stand in `build`, as `env`; those beside it go nowhere"),
    },
    "group": {
        **_COMMON,
        "group": (_H, ""),
        "steps": (_H, ""),
        "skip": (_H, ""),
        "notify": (_I, _NO_NOTIFY),
    },
}


def member_warnings(kind: str, members: Mapping[str, Any], where: str) -> Iterable[str]:
    """A sentence for each member that this server does not honour.

    Parameters:
        kind: of the step; empty for the top of a pipeline.
        members: as they were uploaded; null, false and what is empty ask for nothing.
        where: what people call the place.
    """
    rows = MEMBERS[kind]
    for name, value in members.items():
        row = rows.get(name)
        if row is not None:
            if row[0] is Support.IGNORED and value not in _NOTHING:
                yield f"{where}: {row[1]}"
        elif not kind and name in MEMBERS["command"]:
            yield f"{where}: `{name}` means nothing at the top of a pipeline; it belongs into the steps"
        elif kind or get_close_matches(name, rows, 1, 0.85):
            near = get_close_matches(name, rows, 1, 0.7)
            hint = f"; did you mean `{near[0]}`?" if near else ""
            what = f"a {kind} step has" if kind else "a pipeline has"
            yield f"{where}: {what} no `{name[:80]}` here, and nothing comes of it{hint}"
    yield from inner_warnings(kind, members, where)

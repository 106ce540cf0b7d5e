"""Trigger steps: what they say about the build to be made of another pipeline."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from pipeseal.controlplane.domain.identifiers import SLUG
from pipeseal.controlplane.domain.members import scalar_text
from pipeseal.errors import MalformedInput

MAX_DEPTH = 10  # builds that trigger builds that trigger builds
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_BUILD_MEMBERS = ("message", "commit", "branch", "meta_data", "env")


class Trigger(msgspec.Struct, frozen=True):
    """What a trigger step asks for.

    Parameters:
        pipeline: slug of the pipeline to build.
        message: empty for the label of the step.
        commit, branch: empty for `HEAD` of the pipeline's default branch.
        detached: `async`: the step has passed as soon as the build is made.
    """

    pipeline: str
    message: str = ""
    commit: str = ""
    branch: str = ""
    env: dict[str, str] = {}
    meta_data: dict[str, str] = {}
    detached: bool = False


def read_trigger(slug: Any, build: Any, detached: Any, where: str) -> Trigger:
    """A trigger step, from its members `trigger`, `build` and `async`.

    Raises:
        MalformedInput: `upload.step`.
    """
    if not isinstance(slug, str) or not SLUG.fullmatch(slug):
        raise _bad(where, f"`trigger` must be the slug of a pipeline, not {slug!r}")
    if build is None:
        build = {}
    if not isinstance(build, dict):
        raise _bad(where, "`build` must be a mapping")
    unknown = [name for name in build if name not in _BUILD_MEMBERS]
    if unknown:
        known = ", ".join(_BUILD_MEMBERS)
        raise _bad(where, f"`build` has no member {str(unknown[0])[:80]!r}; there are {known}")
    match detached:
        case None | False | "false":
            detached = False
        case True | "true":
            detached = True
        case _:
            raise _bad(where, "`async` must be true or false")
    env = _read_texts(build.get("env"), "env", where)
    for name in env:
        if not _NAME.fullmatch(name):
            raise _bad(where, f"{name[:80]!r} is no name for an environment variable")
    return Trigger(
        pipeline=slug,
        message=_read_text(build.get("message"), "message", where),
        commit=_read_text(build.get("commit"), "commit", where),
        branch=_read_text(build.get("branch"), "branch", where),
        env=env,
        meta_data=_read_texts(build.get("meta_data"), "meta_data", where),
        detached=detached,
    )


def _read_texts(value: Any, name: str, where: str) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or len(value) > 1_000:
        raise _bad(where, f"`build.{name}` must be a mapping of at most 1000 texts")
    return {key: _read_text(item, f"{name}.{key}", where) for key, item in value.items()}


def _read_text(value: Any, name: str, where: str) -> str:
    text = scalar_text(value)
    if text is None:
        raise _bad(where, f"`build.{name[:80]}` must be text, not {type(value).__name__}")
    return text


def _bad(where: str, problem: str) -> MalformedInput:
    return MalformedInput("upload.step", f"{where}: {problem}")

"""Putting variables into a whole pipeline, before it is signed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from pipeseal.errors import MalformedInput
from pipeseal.pipeline.coerce import Path
from pipeseal.pipeline.interpolate import MAX_CHARACTERS, interpolate_text
from pipeseal.pipeline.jsontext import show_path
from pipeseal.pipeline.steps import Pipeline
from pipeseal.pipeline.transform import Located, transform_checkout, transform_rest, transform_steps
from pipeseal.pipeline.values import scrub
from pipeseal.pipeline.yaml import collector_paused


def interpolate_pipeline(
    pipeline: Pipeline,
    env: Mapping[str, str],
    *,
    prefer_runtime_env: bool = False,
    check: Callable[[str], None] | None = None,
) -> tuple[Pipeline, dict[str, str]]:
    """The pipeline with variables expanded in every text that is open to them.

    First the pipeline's own variables, one by one in source order, names and values, each visible to the next. Then
    steps, checkout and unknown members. Secrets, signatures, `checkout.ssh_secret`, `skip` of adjustments and unknown
    members of caches stay as written.

    Parameters:
        pipeline: the pipeline; stays as it is.
        env: variables of the process.
        prefer_runtime_env: let variables of the process win over the pipeline's of the same name, for expansion.
        check: is told the name of each variable that some text needs and the pipeline did not set itself, whether it
            has a value or a default; raises `MalformedInput` when it may not be used.

    Returns:
        A new pipeline, sharing with the old one what did not change; and the variables as they are afterwards (with
        surrogate escapes where bytes are no UTF-8, as in `os.environ`).

    Raises:
        MalformedInput: `interpolation.syntax`, `interpolation.unset` and `input.too_large`, with the step and member
            it happened in; what `check` raises, placed likewise.
    """
    variables = dict(env) if check is None else _Checked(env, check)
    left = MAX_CHARACTERS

    def expand(text: str) -> str:
        nonlocal left
        expanded = interpolate_text(text, variables, max_characters=left)
        left -= len(expanded)
        return expanded

    own = _interpolate_env(pipeline, variables, expand, prefer_runtime_env=prefer_runtime_env)
    # From here on variables stand still, and so does what a text expands to.
    known: dict[str, str] = {}

    def rewrite(text: str) -> str:
        nonlocal left
        if "$" not in text:
            return text
        done = known.get(text)
        if done is None:
            done = known[text] = scrub(expand(text))
        elif len(done) > left:
            return expand(text)
        else:
            left -= len(done)
        return done

    try:
        with collector_paused():
            steps = transform_steps(pipeline.steps, rewrite)
        try:
            checkout = transform_checkout(pipeline.checkout, rewrite)
        except MalformedInput as error:
            raise Located(("checkout",), error) from None
        rest = transform_rest(pipeline.rest, rewrite)
    except Located as located:
        raise _placed(pipeline, located.path, located.error) from None
    interpolated = Pipeline(
        steps=steps,
        env=own,
        secrets=pipeline.secrets,
        checkout=checkout,
        rest=rest,
        warnings=pipeline.warnings,
        env_is_set=pipeline.env_is_set,
        origin=pipeline.origin,
    )
    return interpolated, variables


class _Checked(dict[str, str]):
    """Variables that say which of them are looked up, apart from those that were put in later."""

    def __init__(self, given: Mapping[str, str], check: Callable[[str], None]) -> None:
        super().__init__(given)
        self._check = check
        self._own: set[str] = set()

    def __setitem__(self, name: str, value: str) -> None:
        self._own.add(name)
        super().__setitem__(name, value)

    def get(self, name: str, default: Any = None) -> Any:
        if name not in self._own:
            self._check(name)
        return super().get(name, default)


def _interpolate_env(
    pipeline: Pipeline, variables: dict[str, str], expand: Callable[[str], str], *, prefer_runtime_env: bool
) -> dict[str, str]:
    waiting = dict(pipeline.env)
    done: dict[str, tuple[int, str]] = {}
    for place, old in enumerate(pipeline.env):
        if old not in waiting:
            continue
        value = waiting.pop(old)
        try:
            new = expand(old)
            value = expand(value)
        except MalformedInput as error:
            raise _placed(pipeline, ("env", old), error) from None
        # A new name takes the old one's place, and drops whoever has that name.
        if new != old:
            waiting.pop(scrub(new), None)
        done[scrub(new)] = (place, scrub(value))
        if not (prefer_runtime_env and new in variables):
            variables[new] = value
    return {name: value for name, (_, value) in sorted(done.items(), key=lambda item: item[1][0])}


def _placed(pipeline: Pipeline, path: Path, error: MalformedInput) -> MalformedInput:
    near: str | re.Pattern[str] = error.evidence.get("near", "")
    if not near and (name := error.evidence.get("variable")):
        # The whole name, and not the beginning of a longer one.
        near = re.compile(rf"(?<![$\\])\$\{{?{re.escape(name)}(?!\w)")
    position = pipeline.origin.find(path, near=near) if pipeline.origin is not None else None
    return MalformedInput(
        error.code,
        f"`{show_path(path)}`: {error.message}" if path else error.message,
        help=error.help,
        evidence=error.evidence,
        position=position,
    )

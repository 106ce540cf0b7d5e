"""Rewriting every text in a step or a pipeline that is open to it, for variables and for matrix values alike.

Nothing is changed in place: new steps, and new containers only around texts that changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeAlias, TypeVar

from pipeseal.errors import MalformedInput
from pipeseal.pipeline.coerce import Path
from pipeseal.pipeline.steps import (
    Adjustment,
    Cache,
    Checkout,
    CommandStep,
    GroupStep,
    InputStep,
    Matrix,
    Plugin,
    Step,
    TriggerStep,
    UnknownStep,
    WaitStep,
)
from pipeseal.pipeline.values import Value

Rewrite: TypeAlias = Callable[[str], str]
Item = TypeVar("Item")


class Located(Exception):
    """An error from rewriting some text, with where the text stands. Never leaves this package."""

    def __init__(self, path: Path, error: MalformedInput) -> None:
        super().__init__(str(error))
        self.path = path
        self.error = error


def transform_value(value: Value, rewrite: Rewrite) -> Value:
    """A generic value with keys and texts rewritten; numbers, dates, booleans and null stay.

    When two keys of a mapping become one, the later one's value replaces the earlier, and a key that still waits for
    its turn gives way to one that takes its name.
    """
    if type(value) is str:
        return rewrite(value)
    if type(value) is list:
        items = [transform_value(item, rewrite) for item in value]
        return value if all(map(_same, items, value)) else items
    if type(value) is dict:
        return transform_mapping(value, rewrite, transform_value)
    return value


def _same(new: Value, old: Value) -> bool:
    return new is old or (type(new) is str and new == old)


def transform_mapping(
    members: Mapping[str, Item], rewrite: Rewrite, transform: Callable[[Item, Rewrite], Item]
) -> dict[str, Item]:
    """A mapping with keys and values rewritten.

    Parameters:
        members: the mapping.
        rewrite: what to do with text.
        transform: how to rewrite a value.
    """
    keys = [rewrite(key) for key in members]
    if all(map(str.__eq__, keys, members)):
        changed = {key: transform(item, rewrite) for key, item in members.items()}
        if type(members) is dict and all(map(_same, changed.values(), members.values())):
            return members
        return changed
    # As in the reference's ordered map: a new key takes the old one's place, and drops whoever has that name.
    result: dict[str, tuple[int, Item]] = {}
    waiting = dict(members)
    for place, (old, new) in enumerate(zip(members, keys, strict=True)):
        if old not in waiting:
            continue
        item = transform(waiting.pop(old), rewrite)
        if new != old:
            waiting.pop(new, None)
        result[new] = (place, item)
    return {key: item for key, (_, item) in sorted(result.items(), key=lambda pair: pair[1][0])}


def _unordered(value: Value, rewrite: Rewrite) -> Value:
    """`transform_value` for plugin configuration, whose mappings keep their keys sorted."""
    if type(value) is dict:
        changed = transform_mapping(value, rewrite, _unordered)
        return value if changed is value else {key: changed[key] for key in sorted(changed)}
    if type(value) is list:
        items = [_unordered(item, rewrite) for item in value]
        return value if all(map(_same, items, value)) else items
    return transform_value(value, rewrite)


def _transform_text(text: str, rewrite: Rewrite) -> str:
    return rewrite(text)


def _transform_texts(texts: list[str] | None, rewrite: Rewrite) -> list[str] | None:
    return None if texts is None else [rewrite(text) for text in texts]


def transform_rest(rest: dict[str, Value], rewrite: Rewrite) -> dict[str, Value]:
    """Unknown members; an error says in which one."""
    try:
        return transform_mapping(rest, rewrite, transform_value)
    except MalformedInput as error:
        for key, item in rest.items():
            try:
                transform_value({key: item}, rewrite)
            except MalformedInput:
                raise Located((key,), error) from None
        raise


def transform_checkout(checkout: Checkout | None, rewrite: Rewrite) -> Checkout | None:
    """Checkout settings with their unknown members rewritten."""
    if checkout is None or not checkout.rest:
        return checkout
    return replace(checkout, rest=transform_mapping(checkout.rest, rewrite, transform_value))


def _transform_cache(cache: Cache | None, rewrite: Rewrite) -> Cache | None:
    if cache is None:
        return None
    return replace(
        cache, name=rewrite(cache.name), paths=[rewrite(path) for path in cache.paths], size=rewrite(cache.size)
    )


def _transform_adjustment(adjustment: Adjustment | None, rewrite: Rewrite) -> Adjustment | None:
    if adjustment is None:
        return None
    combination = adjustment.combination
    return replace(
        adjustment,
        combination=None if combination is None else transform_mapping(combination, rewrite, _transform_text),
        rest=transform_mapping(adjustment.rest, rewrite, transform_value),
    )


def _transform_matrix(matrix: Matrix | None, rewrite: Rewrite) -> Matrix | None:
    if matrix is None:
        return None
    return Matrix(
        None if matrix.setup is None else transform_mapping(matrix.setup, rewrite, _transform_texts),
        [_transform_adjustment(adjustment, rewrite) for adjustment in matrix.adjustments],
        transform_mapping(matrix.rest, rewrite, transform_value),
    )


def transform_step(step: CommandStep, rewrite: Rewrite, *, everything: bool) -> CommandStep:
    """A command step with its texts rewritten. Secrets, the signature and `checkout.ssh_secret` never are.

    Parameters:
        step: the step; stays as it is.
        rewrite: what to do with text.
        everything: True for variables; False for matrix values, which leave key, names of variables and the matrix.

    Raises:
        Located: rewriting some text failed.
    """
    member = "command"
    try:
        command = rewrite(step.command)
        member = "label"
        label = rewrite(step.label)
        member = "plugins"
        plugins = [Plugin(rewrite(plugin.source), _unordered(plugin.config, rewrite)) for plugin in step.plugins]
        member = "cache"
        cache = _transform_cache(step.cache, rewrite)
        member = "checkout"
        checkout = transform_checkout(step.checkout, rewrite)
        key, matrix = step.key, step.matrix
        if everything:
            member = "key"
            key = rewrite(key)
            member = "env"
            env = transform_mapping(step.env, rewrite, _transform_text)
            member = "matrix"
            matrix = _transform_matrix(matrix, rewrite)
        else:
            member = "env"
            env = {name: rewrite(value) for name, value in step.env.items()}
    except MalformedInput as error:
        raise Located((member,), error) from None
    return CommandStep(
        command=command,
        key=key,
        label=label,
        env=env,
        plugins=plugins,
        secrets=step.secrets,
        matrix=matrix,
        checkout=checkout,
        cache=cache,
        signature=step.signature,
        rest=transform_rest(step.rest, rewrite) if step.rest else {},
    )


def transform_any_step(step: Step, rewrite: Rewrite) -> Step:
    """A step of any kind with its texts rewritten; groups with all their steps.

    Raises:
        Located: rewriting some text failed.
    """
    match step:
        case CommandStep():
            return transform_step(step, rewrite, everything=True)
        case GroupStep():
            return _transform_group(step, rewrite)
        case WaitStep():
            return WaitStep(step.scalar, transform_rest(step.members, rewrite))
        case InputStep():
            return InputStep(step.scalar, transform_rest(step.members, rewrite))
        case TriggerStep():
            return TriggerStep(transform_rest(step.members, rewrite))
        case UnknownStep():
            try:
                return replace(step, content=transform_value(step.content, rewrite))
            except MalformedInput as error:
                raise Located((), error) from None


def _transform_group(step: GroupStep, rewrite: Rewrite) -> GroupStep:
    member = "key"
    try:
        key = rewrite(step.key)
        member = "group"
        group = None if step.group is None else rewrite(step.group)
    except MalformedInput as error:
        raise Located((member,), error) from None
    return GroupStep(
        group=group,
        key=key,
        steps=transform_steps(step.steps, rewrite),
        rest=transform_rest(step.rest, rewrite),
    )


def transform_steps(steps: list[Step], rewrite: Rewrite) -> list[Step]:
    """Steps with their texts rewritten, in order.

    Raises:
        Located: rewriting some text failed; the path begins with `steps` and the step's index.
    """
    done: list[Step] = []
    try:
        for step in steps:
            done.append(transform_any_step(step, rewrite))
    except Located as located:
        raise Located(("steps", len(done), *located.path), located.error) from None
    return done

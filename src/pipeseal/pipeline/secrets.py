"""Secrets of a step or a pipeline: names only, in the forms they are written in."""

from __future__ import annotations

from pipeseal.pipeline.coerce import Misfit, Path, name
from pipeseal.pipeline.steps import Secret
from pipeseal.pipeline.values import Value, describe


def secrets_of(value: Value, path: Path) -> list[Secret]:
    """The secrets, in order.

    Parameters:
        value: a list of text (key and variable alike) and of mappings with `key` and `environment_variable`; or one
            mapping of variable to key.
        path: where it stands.

    Raises:
        Misfit: anything else, null included.
    """
    if isinstance(value, dict):
        return [_from_pair(variable, key, (*path, variable)) for variable, key in value.items()]
    if not isinstance(value, list):
        raise Misfit(path, f"{name(path)} is {describe(value)}, and a list or a mapping of secrets is wanted")
    return [_from_item(item, (*path, index)) for index, item in enumerate(value)]


def _from_pair(variable: str, key: Value, path: Path) -> Secret:
    if not isinstance(key, str):
        raise Misfit(path, f"{name(path)} is {describe(key)}, and the key of a secret is text")
    if not key:
        raise Misfit(path, f"{name(path)} is empty, and the key of a secret cannot be")
    if not variable:
        raise Misfit(path, "a secret is for a variable without a name")
    return Secret(key, variable)


def _from_item(item: Value, path: Path) -> Secret:
    if isinstance(item, str):
        return Secret(item, item)
    if not isinstance(item, dict):
        raise Misfit(path, f"{name(path)} is {describe(item)}, and a secret is text or a mapping")
    key = item.get("key")
    if not isinstance(key, str) or not key:
        raise Misfit(path, f"`key` of {name(path)} is {describe(key) if key != '' else 'empty'}, and must be text")
    variable = item.get("environment_variable")
    if variable is not None and not isinstance(variable, str):
        raise Misfit(path, f"`environment_variable` of {name(path)} is {describe(variable)}, and must be text")
    return Secret(key, variable)

"""Checkout settings of a step or a pipeline."""

from __future__ import annotations

from pipeseal.pipeline.coerce import (
    Misfit,
    Path,
    boolean_of,
    integer_of,
    name,
    optional_text_of,
    spread_nameless,
    without,
)
from pipeseal.pipeline.steps import Checkout
from pipeseal.pipeline.values import Value, describe

TYPED = ("skip", "submodules", "ssh_secret", "depth")


def checkout_of(value: Value, path: Path) -> Checkout | None:
    """The settings; None for null.

    Parameters:
        value: a mapping or null.
        path: where it stands.

    Raises:
        Misfit: anything else, booleans too; or a typed member of another type.
    """
    if value is None:
        return None
    if isinstance(value, bool):
        wanted = "`checkout: {skip: true}`" if not value else "`checkout: {skip: false}`, or leave it out"
        raise Misfit(path, f"{name(path)} is a boolean, and a mapping is wanted: write {wanted}")
    if not isinstance(value, dict):
        raise Misfit(path, f"{name(path)} is {describe(value)}, and a mapping is wanted")
    value = spread_nameless(value, TYPED)
    return Checkout(
        skip=boolean_of(value.get("skip"), (*path, "skip")),
        submodules=boolean_of(value.get("submodules"), (*path, "submodules")),
        ssh_secret=optional_text_of(value.get("ssh_secret"), (*path, "ssh_secret")),
        depth=integer_of(value.get("depth"), (*path, "depth")),
        rest=without(value, TYPED),
    )

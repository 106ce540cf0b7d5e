"""Cache settings of a step. The Signature does not cover them."""

from __future__ import annotations

from pipeseal.pipeline.coerce import Misfit, Path, boolean_of, name, spread_nameless, text_of, texts_of, without
from pipeseal.pipeline.steps import Cache
from pipeseal.pipeline.values import Value, describe

TYPED = ("disabled", "name", "paths", "size")


def cache_of(value: Value, path: Path) -> Cache | None:
    """The settings; None for null.

    Parameters:
        value: text or a list (paths), a boolean, a mapping, or null.
        path: where it stands.

    Raises:
        Misfit: anything else, or a typed member of another type.
    """
    match value:
        case None:
            return None
        case bool():
            return Cache(disabled=not value)
        case str() | list():
            return Cache(paths=texts_of(value, path) or [])
        case dict():
            value = spread_nameless(value, TYPED)
            return Cache(
                disabled=boolean_of(value.get("disabled"), (*path, "disabled")) or False,
                name=text_of(value.get("name"), (*path, "name")),
                paths=texts_of(value.get("paths"), (*path, "paths")) or [],
                size=text_of(value.get("size"), (*path, "size")),
                rest=without(value, TYPED),
            )
        case _:
            raise Misfit(path, f"{name(path)} is {describe(value)}, and text, a list or a mapping is wanted")

"""Plugins of a command step: the forms they are written in, and their sources in full."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from pipeseal.pipeline.coerce import Misfit, Path, name
from pipeseal.pipeline.steps import Plugin
from pipeseal.pipeline.values import Value, describe, pack, scrub, unpack

_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:", re.ASCII)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_ESCAPE: Final = re.compile(rb"%([0-9a-fA-F]{2})?")
_HOST: Final = "github.com"
_ORGANIZATION: Final = "buildkite-plugins"
_SUFFIX: Final = "-buildkite-plugin"


def plugins_of(value: Value, path: Path) -> list[Plugin]:
    """The plugins of a step, in order.

    Parameters:
        value: a list of text (no configuration) and of mappings (each pair one plugin), or one mapping; or null.
        path: where it stands.

    Raises:
        Misfit: anything else.
    """
    if value is None:
        return []
    if isinstance(value, dict):
        return [Plugin(source, unordered(config)) for source, config in value.items()]
    if not isinstance(value, list):
        raise Misfit(path, f"{name(path)} is {describe(value)}, and a list of plugins is wanted")
    plugins: list[Plugin] = []
    for index, item in enumerate(value):
        if isinstance(item, dict):
            plugins += [Plugin(source, unordered(config)) for source, config in item.items()]
        elif isinstance(item, str):
            plugins.append(Plugin(item))
        else:
            place = (*path, index)
            raise Misfit(place, f"{name(place)} is {describe(item)}, and a plugin is text or a mapping")
    return plugins


def unordered(value: Value) -> Value:
    """A copy with the keys of every mapping sorted: configuration has no order, and is signed without one."""
    if isinstance(value, dict):
        return {key: unordered(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [unordered(item) for item in value]
    return value


def config_value(config: Value) -> Value:
    """Configuration as it is written and signed: an empty mapping or list is null at this level, and only here."""
    return None if config == {} or config == [] else config


@lru_cache(maxsize=4096)
def full_source(source: str) -> str:
    """A plugin's source in full: `docker#v5` is `github.com/buildkite-plugins/docker-buildkite-plugin#v5`.

    Paths, URLs and what is no URL reference (RFC 3986 4.1) stay as they are. Expanding twice is not the same as
    expanding once for sources with percent escapes.

    Parameters:
        source: as written.

    Returns:
        The full form; bytes that are not UTF-8 after percent decoding become U+FFFD.
    """
    if not source or source[0] in "/.\\":
        return source
    reference, _, fragment = source.partition("#")
    if _CONTROL.search(reference):
        return source
    path = reference
    if reference != "*":
        if reference[0:1] == ":" or _SCHEME.match(reference):
            return source
        path = reference.partition("?")[0]
        # RFC 3986 4.2: a relative reference cannot have a colon in its first segment.
        if ":" in path.partition("/")[0]:
            return source
    decoded_path, decoded_fragment = _unescape(path), _unescape(fragment)
    if decoded_path is None or decoded_fragment is None:
        return source
    segments = decoded_path.removeprefix("/").split("/")
    if len(segments) > 2:
        return source
    organization = segments[0] if len(segments) == 2 else _ORGANIZATION
    tail = f"#{decoded_fragment}" if decoded_fragment else ""
    joined = "/".join(part for part in (_HOST, organization, f"{segments[-1]}{_SUFFIX}{tail}") if part)
    return scrub(_clean(joined))


def _unescape(text: str) -> str | None:
    """Percent-decoded text (RFC 3986 2.1), or None when an escape is not one."""
    if "%" not in text:
        return text
    packed = pack(text)
    if any(match[1] is None for match in _ESCAPE.finditer(packed)):
        return None
    return unpack(_ESCAPE.sub(lambda match: bytes([int(match[1], 16)]), packed))


def _clean(path: str) -> str:
    """A relative path without empty, `.` and `..` segments, lexically."""
    kept: list[str] = []
    for segment in path.split("/"):
        if segment in ("", "."):
            continue
        if segment == ".." and kept and kept[-1] != "..":
            kept.pop()
        else:
            kept.append(segment)
    return "/".join(kept) or "."

"""The lock of a repository's plugins: which commit and tree each version is to stand for, in a file people review.

The file is TOML, sorted, one table for each plugin, so that a change of it reads well in a review:

    version = 1

    [plugins."github.com/acme/lint-buildkite-plugin#v1.2.0"]
    commit = "8f0d…"
    tree = "51c2…"
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NoReturn

from pipeseal.errors import ConfigurationError, MalformedInput, VerificationError
from pipeseal.pipeline.object_id import is_object_id
from pipeseal.pipeline.plugin_place import parse_place
from pipeseal.pipeline.plugins import full_source
from pipeseal.pipeline.steps import CommandStep, GroupStep, Step
from pipeseal.repository.pin import LOCK_FILE as LOCK_FILE
from pipeseal.signing.seal.envelope import ResolvedPlugin

VERSION = 1
MAX_LOCK_BYTES = 1 << 20

_HEAD = """\
# Which commit and tree each plugin version stands for. Made by `pipeseal plugins lock`; review changes as code.
"""


class PluginLock:
    """What plugin versions have to stand for.

    Parameters:
        plugins: by source in full.
        source: the file's name, for messages.
    """

    __slots__ = ("plugins", "source")

    def __init__(self, plugins: Mapping[str, ResolvedPlugin], *, source: str = LOCK_FILE) -> None:
        self.plugins: Mapping[str, ResolvedPlugin] = MappingProxyType(dict(plugins))
        self.source = source


def parse_lock(data: bytes, *, source: str = LOCK_FILE) -> PluginLock:
    """The lock that a file holds.

    Parameters:
        data: TOML 1.0, UTF-8.
        source: the file's name, for messages.

    Raises:
        MalformedInput: `plugin.lock`: it is none.
    """
    import tomllib

    def refuse(why: str) -> NoReturn:
        raise MalformedInput(
            "plugin.lock", f"{source} is no lock of plugins: {why}", help="make it again: pipeseal plugins lock"
        )

    if len(data) > MAX_LOCK_BYTES:
        refuse(f"it has more than {MAX_LOCK_BYTES:,} bytes")
    try:
        document = tomllib.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        refuse(str(error)[:200] or type(error).__name__)
    if type(document.get("version")) is not int or document["version"] != VERSION:
        refuse(f"its version is not {VERSION}")
    tables = document.get("plugins", {})
    if document.keys() - {"version", "plugins"} or not isinstance(tables, dict):
        refuse("it has members other than version and plugins")
    plugins: dict[str, ResolvedPlugin] = {}
    for name, table in tables.items():
        if not isinstance(table, dict) or table.keys() != {"commit", "tree"}:
            refuse(f"{name!r} does not have a commit and a tree, and nothing else")
        if not all(isinstance(value, str) and is_object_id(value) for value in table.values()):
            refuse(f"the commit or tree of {name!r} is not a full object id in lower case")
        plugins[name] = ResolvedPlugin(table["commit"], table["tree"])
    return PluginLock(plugins, source=source)


def render_lock(plugins: Mapping[str, ResolvedPlugin]) -> str:
    """The text of a lock: the same plugins, the same text.

    Parameters:
        plugins: by source in full; each with its tree.
    """
    parts = [_HEAD, f"version = {VERSION}\n"]
    for source in sorted(plugins):
        resolved = plugins[source]
        # A JSON string is a basic string of TOML (1.0, "String") once DEL is escaped, which JSON leaves as it is.
        name = "".join(_quoted(character) for character in source)
        parts.append(f'\n[plugins."{name}"]\ncommit = "{resolved.commit}"\ntree = "{resolved.tree}"\n')
    return "".join(parts)


def _quoted(character: str) -> str:
    if character == "\x7f":
        return "\\u007F"
    return json.dumps(character, ensure_ascii=False)[1:-1]


def read_lock(path: Path) -> PluginLock:
    """The lock in a file.

    Raises:
        ConfigurationError: `plugin.no_lock`: it cannot be read.
        MalformedInput: `plugin.lock`.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_LOCK_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(
            "plugin.no_lock",
            f"the lock of plugins {path} cannot be read: {error.strerror}",
            help="make it: pipeseal plugins lock",
        ) from None
    return parse_lock(data, source=str(path))


def plugin_sources(steps: Iterable[Step]) -> Iterator[str]:
    """The full sources of all plugins of some steps that are not part of the repository, each as often as it is used.

    Raises:
        MalformedInput: `plugin.source`.
    """
    for step in steps:
        if isinstance(step, GroupStep):
            yield from plugin_sources(step.steps)
        elif isinstance(step, CommandStep):
            for plugin in step.plugins:
                source = full_source(plugin.source)
                if not parse_place(source).is_vendored:
                    yield source


def verify_locked(lock: PluginLock, sources: Iterable[str]) -> None:
    """Plugins that are all in the lock.

    Steps:
        1. every plugin is in the lock.

    Does not check: what they stand for, see `verify_lock`.

    Parameters:
        sources: in full.

    Raises:
        VerificationError: `plugin.unlocked`.
    """
    # 1.
    for source in sources:
        if source not in lock.plugins:
            raise _unlocked(lock, source)


def verify_lock(lock: PluginLock, resolved: Mapping[str, ResolvedPlugin]) -> Mapping[str, ResolvedPlugin]:
    """What plugins resolved to, held against the lock.

    Steps:
        1. every plugin is in the lock;
        2. every plugin's commit and tree are those of the lock.

    Does not check: that the lock itself was reviewed; that is what the repository's reviews are for.

    Parameters:
        resolved: what versions stand for now, by source in full.

    Returns:
        `resolved`.

    Raises:
        VerificationError: `plugin.unlocked`: a plugin that is not in the lock; `plugin.moved`: a version that stands
            for something else than when it was locked.
    """
    for source, found in resolved.items():
        # 1.
        locked = lock.plugins.get(source)
        if locked is None:
            raise _unlocked(lock, source)
        # 2.
        if found != locked:
            raise VerificationError(
                "plugin.moved",
                f"plugin {source} stands for commit {found.commit} now, and {lock.source} says {locked.commit}",
                help="see what changed in the plugin; if you want it, run `pipeseal plugins lock --update`",
                evidence={
                    "locked": f"{locked.commit} (tree {locked.tree})",
                    "found": f"{found.commit} (tree {found.tree})",
                },
            )
    return resolved


def _unlocked(lock: PluginLock, source: str) -> VerificationError:
    return VerificationError(
        "plugin.unlocked",
        f"plugin {source} is not in {lock.source}",
        help="add it with `pipeseal plugins lock`, and review the change",
    )

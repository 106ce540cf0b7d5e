"""Plugins: where each one is, fetching it, and the variables that carry its configuration to its hooks."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pipeseal.agent.clone_state import tidy_clone
from pipeseal.agent.git import Git, check_revision
from pipeseal.agent.session import JobSession, PhaseFailed
from pipeseal.errors import MalformedInput
from pipeseal.pipeline.plugin_place import PluginPlace, parse_place
from pipeseal.signing.seal.envelope import ResolvedPlugin

CLONE_ATTEMPTS = 3
CLONE_DELAY_SECONDS = 2.0

# What unsealed plugins were when this process cloned them, by folder, repository and version: no file could be kept
# from jobs, which run as the same user.
_made: dict[tuple[Path, str, str], ResolvedPlugin] = {}


class Plugin(NamedTuple):
    """A plugin of a job: where it is and its configuration."""

    place: PluginPlace
    config: dict[str, Any]


class PluginCheckout(NamedTuple):
    """A plugin that is there.

    Parameters:
        root: the repository it came in.
        hooks: its folder of hooks.
    """

    plugin: Plugin
    root: Path
    hooks: Path


def read_plugins(plugins: list[tuple[str, Any]]) -> list[Plugin]:
    """The plugins of a step, ready to be fetched.

    Parameters:
        plugins: full source and configuration of each, in order.

    Raises:
        PhaseFailed: a configuration is not a mapping, or a source is no place.
    """
    ready = []
    for source, config in plugins:
        if config is not None and not isinstance(config, dict):
            raise PhaseFailed(f"the configuration of plugin {source} is not a mapping")
        try:
            place = parse_place(source)
            if not place.is_vendored:
                _ = place.repository
        except MalformedInput as error:
            raise PhaseFailed(error.message) from None
        ready.append(Plugin(place, config or {}))
    return ready


def fetch_plugin(
    session: JobSession,
    plugin: Plugin,
    plugins_path: Path,
    *,
    fresh: bool,
    wait: Callable[[float], bool],
    sealed: ResolvedPlugin | None = None,
) -> PluginCheckout:
    """Make a plugin's repository be there, at its version.

    Parameters:
        plugins_path: this agent's folder of plugins.
        fresh: clone again even if it is there.
        wait: sleeps between attempts; True means stop.
        sealed: what the version stood for when the step was sealed: that is used, wherever a tag has moved to. None:
            what it stands for when this process first needs it.

    Raises:
        PhaseFailed: it cannot be cloned, or has no such version, or no hooks; it is not what was sealed (code
            `plugin.differs`).
    """
    place = plugin.place
    target = plugins_path / (place.folder_name if sealed is None else f"{place.folder_name}-{sealed.commit[:12]}")
    if target.is_symlink():
        # Made by something that ran here: where it leads to is nobody's clone.
        target.unlink()
    made = (target, place.repository, place.version)
    if target.exists() and (fresh or (sealed is None and made not in _made)):
        # Jobs can write here too, and two plugins can be called alike once they are names of folders: `a/b#1` and
        # `a-b#1`. Without a seal, only what this process has cloned itself is known.
        shutil.rmtree(target)
    known = sealed if sealed is not None else _made.get(made)
    if known is not None and target.exists():
        git = Git(session, target)
        if tidy_clone(git, target) and _has_commit(git, known):
            how = "sealed" if sealed is not None else "as it was cloned"
            session.log.comment(f"Plugin {place.label} already checked out ({known.commit[:7]}, {how})")
            # Earlier jobs had it in their hands: an object is what its id says, or the clone is made again. Those of
            # submodules are not looked at, so a clone that has some is made again, too.
            whole = git.ask("fsck", "--full", "--no-dangling", "--no-progress") is not None
            if whole and not (target / ".git" / "modules").exists():
                _check_out_sealed(git, place, known, target)
                return _checked(plugin, target, target / place.subfolder)
            session.log.comment(f"The clone of plugin {place.label} is made again")
        shutil.rmtree(target)
    if place.version:
        check_revision(place.version, "plugin version")
    plugins_path.mkdir(parents=True, exist_ok=True)
    # Cloned beside its place and then moved: half a clone never stands where a whole one should.
    part = Path(tempfile.mkdtemp(prefix=".new-", dir=plugins_path))
    try:
        cloned = _clone(session, place, part, wait, sealed)
        part.rename(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    if sealed is None:
        _made[made] = cloned
    return _checked(plugin, target, target / place.subfolder)


def _has_commit(git: Git, sealed: ResolvedPlugin) -> bool:
    return git.ask("cat-file", "-e", f"{sealed.commit}^{{commit}}") is not None


def _check_out_sealed(git: Git, place: PluginPlace, sealed: ResolvedPlugin, folder: Path) -> None:
    """Check out what was sealed, and see that it is that: every file is written anew from its object."""
    # What an index says of files may keep git from looking at them (`assume-unchanged`, forged times).
    (folder / ".git" / "index").unlink(missing_ok=True)
    if not _has_commit(git, sealed) and git.run("fetch", "--", "origin", sealed.commit).status != 0:
        raise PhaseFailed(
            f"plugin {place.label} was sealed at commit {sealed.commit}, which its repository does not have",
            code="plugin.differs",
        )
    git.must("checkout", "-f", f"{sealed.commit}^{{commit}}", "--")
    head = git.ask("rev-parse", "--verify", "--end-of-options", "HEAD^{commit}")
    tree = git.ask("rev-parse", "--verify", "--end-of-options", "HEAD^{tree}")
    if head != sealed.commit or (sealed.tree is not None and tree != sealed.tree):
        raise PhaseFailed(
            f"plugin {place.label} is at commit {head} with tree {tree}, and was sealed at {sealed.commit} with tree "
            f"{sealed.tree or 'any'}",
            code="plugin.differs",
        )
    if (folder / ".gitmodules").exists():
        # Their commits are part of the tree; those of the default branch may be there from the clone.
        git.must("submodule", "--quiet", "sync", "--recursive")
        git.must("submodule", "--quiet", "update", "--init", "--recursive", "--force")
        git.must("submodule", "foreach", "--quiet", "--recursive", "git reset --quiet --hard")
    git.must("clean", "-ffdxq")


def _clone(
    session: JobSession,
    place: PluginPlace,
    part: Path,
    wait: Callable[[float], bool],
    sealed: ResolvedPlugin | None,
) -> ResolvedPlugin:
    """Clone it, at its version, into an empty folder; the commit and tree that this is."""
    git = Git(session, part)
    for attempt in range(CLONE_ATTEMPTS):
        ended = git.run("clone", "-v", "--recursive", "--", place.repository, ".")
        if ended.status == 0:
            break
        if attempt + 1 == CLONE_ATTEMPTS or wait(CLONE_DELAY_SECONDS):
            raise PhaseFailed(f"plugin {place.label} could not be cloned from {place.repository}", ended=ended)
        for entry in part.iterdir():
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    if sealed is not None:
        _check_out_sealed(git, place, sealed, part)
        return sealed
    if place.version:
        git.must("checkout", "-f", place.version, "--")
    commit, tree = (git.ask("rev-parse", "--verify", f"HEAD^{{{kind}}}") for kind in ("commit", "tree"))
    if commit is None:
        raise PhaseFailed(f"plugin {place.label} has no commit")
    return ResolvedPlugin(commit, tree)


def find_vendored_plugin(plugin: Plugin, checkout: Path) -> PluginCheckout:
    """A plugin that is part of the checked-out repository.

    Raises:
        PhaseFailed: it is not there, or its source leads out of the repository.
    """
    folder = checkout / plugin.place.location
    return _checked(plugin, checkout, folder)


def _checked(plugin: Plugin, root: Path, folder: Path) -> PluginCheckout:
    hooks = folder / "hooks"
    if not hooks.resolve().is_relative_to(root.resolve()):
        raise PhaseFailed(f"plugin {plugin.place.label} leads out of {root}")
    if not hooks.is_dir():
        raise PhaseFailed(f"plugin {plugin.place.label} has no folder of hooks")
    return PluginCheckout(plugin, root, hooks)


def plugin_environment(plugin: Plugin) -> tuple[dict[str, str], str]:
    """The variables that tell a plugin's hooks its configuration.

    Returns:
        The variables, and a warning; the warning is empty when all is well. A null anywhere in the configuration
        leaves out all of them, as the stock agent does.
    """
    name = _variable(plugin.place.name)
    flat: dict[str, str] = {}
    if not _flatten(flat, f"BUILDKITE_PLUGIN_{name}", plugin.config):
        return {}, f"The configuration of plugin {plugin.place.name} holds a null; its hooks get no configuration"
    values = {
        "BUILDKITE_PLUGIN_NAME": name,
        "BUILDKITE_PLUGIN_CONFIGURATION": json.dumps(plugin.config, separators=(",", ":"), ensure_ascii=False),
        **flat,
    }
    # Two underscores in a row used to be written as one; both spellings work.
    values |= {re.sub(r"_+", "_", key): value for key, value in values.items() if "__" in key}
    return values, ""


def _variable(text: str) -> str:
    return re.sub(r"[-\s]", "_", text.upper())


def _flatten(into: dict[str, str], prefix: str, value: Any) -> bool:
    """Write `value` below `prefix`; False if there is something that no variable can hold."""
    match value:
        case Mapping():
            return all(_flatten(into, f"{prefix}_{_variable(str(key))}", item) for key, item in value.items())
        case list():
            return all(_flatten(into, f"{prefix}_{index}", item) for index, item in enumerate(value))
        case bool():
            into[prefix] = "true" if value else "false"
        case str():
            into[prefix] = value
        case int() | float():
            into[prefix] = json.dumps(value)
        case None:
            return False
        case _:
            into[prefix] = str(value)
    return True

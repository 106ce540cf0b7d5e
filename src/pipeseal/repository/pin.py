"""What plugins are sealed at by whoever signs outside of the signer: as the repository's lock has it, or as asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pipeseal.pipeline.steps import CommandStep, GroupStep, Step
from pipeseal.signing.seal.envelope import ResolvedPlugin

if TYPE_CHECKING:
    from pipeseal.repository.plugin_lock import PluginLock

# In the repository whose pipelines use the plugins; see `plugin_lock`.
LOCK_FILE = ".buildkite/plugins.lock"


def pin_plugins(
    steps: Iterable[Step], *, lock_file: str = "", resolve: bool = False, git_config_file: str = ""
) -> Mapping[str, ResolvedPlugin]:
    """The commits that the plugins of some steps are to be sealed at, by source in full.

    With a lock every plugin has to be what the lock says, now, at its repository. Without one they are what they
    stand for now, if that was asked for, and else nothing is said of them.

    Parameters:
        steps: of one pipeline, variables expanded.
        lock_file: the lock; empty for the repository's own, `LOCK_FILE` below the current folder, if there is one.
        resolve: ask what versions stand for even where there is no lock.
        git_config_file: the one configuration that git reads; empty for none.

    Raises:
        ConfigurationError: `plugin.no_lock`.
        MalformedInput: `plugin.lock`, `plugin.source`, `plugin.version`, `git.name`.
        VerificationError: `plugin.unlocked`, `plugin.moved`.
        Unavailable: `git.failed`.
    """
    lock: PluginLock | None = None
    if lock_file or Path(LOCK_FILE).exists():
        from pipeseal.repository.plugin_lock import read_lock

        lock = read_lock(Path(lock_file or LOCK_FILE))
    steps = list(steps)
    if (lock is None and not resolve) or not _have_plugins(steps):
        return {}
    from pipeseal.repository.git_config import GitConfig
    from pipeseal.repository.plugin_lock import plugin_sources, verify_lock, verify_locked
    from pipeseal.repository.resolve import resolve_plugins

    sources = list(plugin_sources(steps))
    if lock is not None:
        # Before any repository is asked: what nobody reviewed is not even looked at.
        verify_locked(lock, sources)
    resolved = resolve_plugins(sources, config=GitConfig(Path(git_config_file) if git_config_file else None))
    return resolved if lock is None else verify_lock(lock, resolved)


def _have_plugins(steps: Iterable[Step]) -> bool:
    return any(
        _have_plugins(step.steps)
        if isinstance(step, GroupStep)
        else isinstance(step, CommandStep) and bool(step.plugins)
        for step in steps
    )

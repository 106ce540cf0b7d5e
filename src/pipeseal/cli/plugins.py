"""`pipeseal plugins lock`: which commit and tree each plugin version of a repository's pipelines stands for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from pipeseal.signing.seal.envelope import ResolvedPlugin


@click.command("lock")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--lock",
    "lock_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The lock.  [.buildkite/plugins.lock]",
)
@click.option("--check", is_flag=True, help="Write nothing; fail when the lock does not hold.")
@click.option("--update", is_flag=True, help="Take what versions stand for now, also where the lock says otherwise.")
@click.option(
    "--git-config-file",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="PIPESEAL_GIT_CONFIG_FILE",
    help="The one configuration that git reads.",
)
def plugins_lock(
    files: tuple[Path, ...], lock_file: Path | None, check: bool, update: bool, git_config_file: Path | None
) -> None:
    """Write down which commit each plugin version stands for, or check it.

    \b
    Examples:
      pipeseal plugins lock                                        # the repository's pipeline file
      pipeseal plugins lock .buildkite/*.yml                       # or all of them
      pipeseal plugins lock --check                                # in CI: is it complete, and does it hold?
      pipeseal plugins lock --update                               # after you have seen what changed

    Commit the file and review its changes as code. While it is there, `pipeline upload`, `tool sign` and the signer
    seal plugins at these commits and refuse any that is missing from it or stands for something else now; agents use
    the sealed commit, wherever its tag has moved to.
    """
    if check and update:
        raise click.UsageError("--check writes nothing, and --update is for writing.")
    from pipeseal.cli.replace_file import replace_file
    from pipeseal.repository.git_config import GitConfig
    from pipeseal.repository.pin import LOCK_FILE
    from pipeseal.repository.plugin_lock import PluginLock, read_lock, render_lock, verify_lock
    from pipeseal.repository.resolve import resolve_plugins

    path = lock_file or Path(LOCK_FILE)
    sources = _sources(files)
    before = read_lock(path) if check or path.exists() else PluginLock({}, source=str(path))
    found = resolve_plugins(sources, config=GitConfig(git_config_file))
    if check:
        verify_lock(before, found)
        for source in sorted(before.plugins.keys() - found.keys()):
            click.echo(f"warning: {source} is in {path}, and none of these pipelines uses it", err=True)
        click.echo(f"{path} holds: {_count(found)} as it says")
        return
    if not update:
        verify_lock(before, {source: one for source, one in found.items() if source in before.plugins})
    _tell(before.plugins, found)
    try:
        path.parent.mkdir(exist_ok=True)
    except OSError:
        pass  # the file's own error says it better
    replace_file(path, render_lock(found), code="plugin.no_lock")
    click.echo(f"Wrote {path}: {_count(found)}. Review it and commit it.")


def _sources(files: tuple[Path, ...]) -> list[str]:
    """The plugins of all pipelines in some files, or in the repository's own."""
    from pipeseal.errors import ConfigurationError, MalformedInput
    from pipeseal.pipeline.files import DEFAULT_FILES
    from pipeseal.pipeline.parse import parse_all
    from pipeseal.repository.plugin_lock import plugin_sources

    chosen = files or tuple(Path(name) for name in DEFAULT_FILES if Path(name).exists())
    if not chosen:
        raise ConfigurationError(
            "upload.no_file", "there is no pipeline file here", help="name the files whose plugins are to be locked"
        )
    sources: list[str] = []
    for path in chosen:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ConfigurationError("upload.no_file", f"{path} cannot be read: {error.strerror}") from None
        for outcome in parse_all(data, source=str(path)):
            if isinstance(outcome, MalformedInput):
                raise outcome
            sources += plugin_sources(outcome.steps)
    for source in sources:
        if "$" in source or "{{" in source:
            raise MalformedInput(
                "plugin.version",
                f"plugin {source} has a variable or matrix token in it, so it stands for no one commit",
                help="write the version out",
            )
    return sources


def _tell(before: Mapping[str, ResolvedPlugin], after: Mapping[str, ResolvedPlugin]) -> None:
    for source in sorted(before.keys() | after.keys()):
        old, new = before.get(source), after.get(source)
        if new is None:
            click.echo(f"  - {source}")
        elif old is None:
            click.echo(f"  + {source}  {new.commit}")
        elif old != new:
            click.echo(f"  ~ {source}  {old.commit[:12]} -> {new.commit}")


def _count(plugins: Mapping[str, ResolvedPlugin]) -> str:
    return f"{len(plugins)} plugin{'' if len(plugins) == 1 else 's'}"

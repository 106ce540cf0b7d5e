"""`resolve_plugin`: what a plugin's version stands for at its repository now, as a commit and its tree.

Whoever seals steps calls this: `plugins lock`, `pipeline upload`, `tool sign` and the signer. It is the one place
where a version becomes a commit. What the agent checks out later is that commit, wherever the version has moved to.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pipeseal.errors import MalformedInput, Unavailable, escape_control
from pipeseal.pipeline.plugin_place import PluginPlace, parse_place
from pipeseal.pipeline.plugins import full_source
from pipeseal.repository.git import GitFailed, PlainGit
from pipeseal.repository.git_config import GitConfig
from pipeseal.repository.names import is_full_object_id, parse_revision
from pipeseal.signing.seal.envelope import ResolvedPlugin

_ABBREVIATED = re.compile(r"[0-9a-f]{7,39}")
_MAX_REFERENCES_BYTES = 64 << 20
# So many repositories are asked at a time.
_AT_A_TIME = 4
_HERE = "refs/pipeseal/version"


def resolve_plugin(
    source: str,
    *,
    config: GitConfig | None = None,
    environment: Mapping[str, str] | None = None,
    timeout_seconds: float = 120.0,
) -> ResolvedPlugin | None:
    """The commit and tree that a plugin's version stands for now; None for a plugin that is part of the repository.

    A version is a tag, or else a branch, or else a commit's object id, whole or abbreviated; without one it is the
    remote's `HEAD`. git runs without any configuration but `config`, in a folder of its own that is gone afterwards,
    and no code of the plugin runs.

    Parameters:
        source: the plugin's source as written or in full, such as `docker#v5.12.0`.
        config: what the operator configures of git; None for its defaults.
        environment: where `PATH`, `HOME`, proxies and an SSH agent are taken from; None for this process's variables.
        timeout_seconds: for each call of git; there are at most four.

    Raises:
        MalformedInput: `plugin.source`: the source is no place; `git.name`: the version is no name; `plugin.version`:
            the repository has no such version.
        Unavailable: `git.failed`: the repository could not be asked.
    """
    place = parse_place(full_source(source))
    if place.is_vendored:
        return None
    repository = place.repository
    if place.version:
        parse_revision(place.version, "plugin version")
    with tempfile.TemporaryDirectory(prefix="pipeseal-plugin-") as folder:
        git = PlainGit(Path(folder), config=config, environment=environment, timeout_seconds=timeout_seconds)
        git.ask("init", "--quiet", "--bare", ".")
        commit = _fetch(git, place, repository)
        return ResolvedPlugin(commit, git.line("rev-parse", "--verify", "--end-of-options", f"{commit}^{{tree}}"))


def resolve_plugins(
    sources: Iterable[str],
    *,
    config: GitConfig | None = None,
    environment: Mapping[str, str] | None = None,
    timeout_seconds: float = 120.0,
) -> dict[str, ResolvedPlugin]:
    """What several plugins stand for, by source in full, sorted; those that are part of the repository are left out.

    Each is asked for once, several at a time.

    Parameters, Raises: as `resolve_plugin`; the error is that of the first source in order.
    """
    wanted = sorted({full_source(source) for source in sources})

    def resolve(source: str) -> ResolvedPlugin | None:
        return resolve_plugin(source, config=config, environment=environment, timeout_seconds=timeout_seconds)

    with ThreadPoolExecutor(_AT_A_TIME, thread_name_prefix="plugins") as pool:
        found = list(pool.map(resolve, wanted))
    return {source: resolved for source, resolved in zip(wanted, found, strict=True) if resolved is not None}


def _fetch(git: PlainGit, place: PluginPlace, repository: str) -> str:
    """Bring the version's commit here; its full object id."""
    version = place.version
    if is_full_object_id(version):
        return _fetch_commit(git, place, repository, version.lower())
    if not version:
        reference = "HEAD"
    else:
        asked = git.ask(
            "ls-remote", "--", repository, f"refs/tags/{version}", f"refs/heads/{version}",
            max_bytes=_MAX_REFERENCES_BYTES,
        )  # fmt: skip
        # ls-remote matches the ends of names, too: only what is called so exactly counts.
        names = {line.partition(b"\t")[2].decode("utf-8", "replace") for line in asked.splitlines()}
        found = [name for name in (f"refs/tags/{version}", f"refs/heads/{version}") if name in names]
        if not found:
            if _ABBREVIATED.fullmatch(version):
                return _fetch_commit(git, place, repository, version)
            raise _no_version(place, "no tag, branch or commit is called so")
        reference = found[0]
    # The commit is read from what this brings, so that nothing can move between asking and fetching.
    git.ask("fetch", "--quiet", "--no-tags", "--depth=1", "--", repository, f"+{reference}:{_HERE}")
    return _commit(git, place, _HERE)


def _fetch_commit(git: PlainGit, place: PluginPlace, repository: str, commit: str) -> str:
    if is_full_object_id(commit):
        try:
            git.ask("fetch", "--quiet", "--no-tags", "--depth=1", "--", repository, commit)
            return _commit(git, place, commit)
        except GitFailed:
            pass  # not every server hands out single commits
    git.ask("fetch", "--quiet", "--", repository, "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
    return _commit(git, place, commit)


def _commit(git: PlainGit, place: PluginPlace, name: str) -> str:
    try:
        return git.line("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
    except GitFailed:
        raise _no_version(place, "the repository has no such commit") from None
    except Unavailable as error:
        raise Unavailable(error.code, f"plugin {escape_control(place.label)}: {error.message}") from None


def _no_version(place: PluginPlace, why: str) -> MalformedInput:
    return MalformedInput(
        "plugin.version",
        f"plugin {place.location} has no version {place.version!r}: {why}",
        help="use a tag that the plugin's repository has, or a commit of it in full",
        evidence={"repository": place.repository},
    )

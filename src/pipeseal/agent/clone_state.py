"""What is kept of a clone that earlier jobs have had in their hands.

A clone's own configuration can name programs (filters, transports, pagers, credential helpers) and other addresses,
and its hooks run whenever a job calls git. Before a clone is used again, its configuration is reduced to what this
agent puts there, and what else could run something is removed. Its index is made again from the files themselves, so
that none is taken for unchanged that is not; its objects are hashed after the checkout (`checkout.py`).
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from pathlib import Path
from typing import NamedTuple

from pipeseal.agent.git import Git

# Sections and names as git prints them: lower case, subsections as written.
_KEPT = re.compile(
    r"core\.(repositoryformatversion|filemode|bare|logallrefupdates|ignorecase|precomposeunicode|symlinks"
    r"|sparsecheckout|sparsecheckoutcone)"
    r"|extensions\.(objectformat|partialclone|worktreeconfig)"
    r"|index\.sparse"
    r"|remote\.origin\.(url|fetch|mirror|promisor|partialclonefilter)"
    r"|branch\.[^\n]*\.(remote|merge)"
    r"|submodule\.[^\n]*\.(url|active)|submodule\.active"
)
# Of a clone's sparse checkout, which git keeps beside its configuration.
_KEPT_OF_WORKTREE = re.compile(r"core\.(sparsecheckout|sparsecheckoutcone)|index\.sparse")
# For hashing all files of a checkout.
INDEX_SECONDS = 900.0
_NO = frozenset({"false", "no", "off", "0", ""})
_REMOVED = ("hooks", "info/attributes", "info/grafts", "refs/replace", "commondir")


class Clone(NamedTuple):
    """A clone that is fit for use.

    Parameters:
        url: where it was cloned from.
        is_sparse: whether its own settings let a checkout leave files out.
    """

    url: str
    is_sparse: bool


def tidy_clone(git: Git, directory: Path) -> Clone | None:
    """Make an existing clone fit for use again; None when there is none that can be.

    Parameters:
        git: in `directory`.
        directory: the job's folder.
    """
    inside = directory / ".git"
    try:
        # A file or a link would be somebody else's repository.
        if not stat.S_ISDIR(inside.lstat().st_mode):
            return None
    except FileNotFoundError:
        return None
    settings = _tidy(git, inside)
    url = _url(settings)
    if settings is None or url is None:
        return None
    modules = inside / "modules"
    if modules.is_symlink():
        return None
    for folder in _repositories(modules):
        if _tidy(git, folder, worktree=True) is None:
            return None
        # Its files are all written anew.
        _remove(folder / "index")
    if not _renew_index(git, inside):
        return None
    # Whatever git does not take for no (git-config(1), boolean).
    is_sparse = any(value.lower() not in _NO for value in settings.get("core.sparsecheckout", ()))
    return Clone(url, is_sparse)


def _url(settings: dict[str, list[str]] | None) -> str | None:
    """The one address of a repository; None when it has none, or several, of which git would choose."""
    urls = (settings or {}).get("remote.origin.url", [])
    return urls[0] if len(urls) == 1 else None


def _renew_index(git: Git, inside: Path) -> bool:
    """Make a clone's index again: what jobs have written into it could keep git from looking at files.

    Files that are as they should be keep their times: they are hashed, and not written anew.
    """
    _remove(inside / "index")
    # Made from the commit, with the times and sizes of files that are as they are there; the others are checked out
    # again. No file is left out, whatever the clone's settings say.
    renewed = git.ask("-c", "core.sparseCheckout=false", "reset", "--mixed", "HEAD", timeout_seconds=INDEX_SECONDS)
    if renewed is None:
        # As it should be, where nothing is checked out yet.
        return git.ask("rev-parse", "--verify", "--quiet", "HEAD^{commit}") is None
    return not (inside / "index.lock").exists()


def tidy_mirror(git: Git, folder: Path, repository: str) -> bool:
    """Make an existing mirror fit for use again; False when it cannot be.

    Parameters:
        git: in `folder`.
        folder: the mirror, a bare repository.
        repository: what it mirrors.
    """
    url = _url(_tidy(git, folder))
    if url is None:
        return False
    if url != repository:
        return git.run("remote", "set-url", "--", "origin", repository).status == 0
    return True


def _repositories(folder: Path) -> list[Path]:
    found = []
    for path, folders, files in os.walk(folder):
        if "config" in files and "HEAD" in files:
            found.append(Path(path))
            # Its own submodules are below `modules`.
            folders[:] = [name for name in folders if name == "modules"]
    return found


def _tidy(git: Git, folder: Path, *, worktree: bool = False) -> dict[str, list[str]] | None:
    """Tidy one repository: what is left of its configuration, None when it has none."""
    for name in _REMOVED:
        _remove(folder / name)
    of_worktree = folder / "config.worktree"
    own: dict[str, list[str]] | None = {}
    if os.path.lexists(of_worktree):
        own = _reduce(git, of_worktree, _KEPT_OF_WORKTREE)
    settings = _reduce(git, folder / "config", _KEPT, worktree=worktree)
    if own is None or settings is None:
        return None
    return {name: settings.get(name, []) + own.get(name, []) for name in {*settings, *own}}


def _remove(path: Path) -> None:
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    except FileNotFoundError:
        pass


def _reduce(git: Git, config: Path, kept: re.Pattern[str], *, worktree: bool = False) -> dict[str, list[str]] | None:
    """Reduce a configuration file: the values of each name that is left, None when it is not one."""
    if config.is_symlink() or not config.is_file():
        return None
    listed = git.ask("config", "--file", str(config), "--no-includes", "--null", "--list")
    if listed is None:
        return None
    settings: dict[str, list[str]] = {}
    lines: list[str] = []
    removed = False
    for entry in listed.split("\0"):
        name, has_value, value = entry.partition("\n")
        if not name:
            continue
        if kept.fullmatch(name) or (worktree and name == "core.worktree" and _is_near(config, value)):
            settings.setdefault(name, []).append(value if has_value else "true")
            lines.append(_render(name, value if has_value else "true"))
        else:
            removed = True
    if removed:
        fresh = config.with_name("config.fresh")
        fresh.unlink(missing_ok=True)
        fresh.write_text("".join(lines), "utf-8", "surrogateescape")
        fresh.replace(config)
    return settings


def _is_near(config: Path, worktree: str) -> bool:
    """Whether a submodule's working tree is inside of the checkout that its repository is in."""
    root = next((parent.parent for parent in config.parents if parent.name == ".git"), None)
    if root is None or Path(worktree).is_absolute():
        return False
    return Path(os.path.normpath(config.parent / worktree)).is_relative_to(root)


def _render(name: str, value: str) -> str:
    section, _, rest = name.partition(".")
    subsection, _, key = rest.rpartition(".")
    head = f'[{section} "{_quoted(subsection)}"]' if subsection else f"[{section}]"
    text = _quoted(value).replace("\n", "\\n").replace("\t", "\\t")
    return f'{head}\n\t{key} = "{text}"\n'


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')

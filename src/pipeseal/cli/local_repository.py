"""What the git repository around the current folder says: which pipeline is meant, and which commit."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

_TIMEOUT_SECONDS = 10


@dataclass(frozen=True, slots=True)
class LocalRepository:
    """Facts of a work tree; empty where git does not say.

    Parameters:
        names: what a pipeline may call this repository: its remote's URL, and its own folder.
        commit: full id of HEAD.
        branch: branch of HEAD; empty when detached.
        message: subject and body of that commit.
        author: its author's name.
    """

    names: frozenset[str]
    commit: str
    branch: str
    message: str
    author: str


def find_repository() -> LocalRepository | None:
    """The repository around the current folder, or None outside of one."""
    folder = _git("rev-parse", "--show-toplevel")
    if not folder:
        return None
    names = {folder, f"{folder}/.git", f"file://{folder}", _git("config", "--get", "remote.origin.url")}
    return LocalRepository(
        names=frozenset(names - {""}),
        commit=_git("rev-parse", "--verify", "--quiet", "HEAD^{commit}"),
        branch=_git("symbolic-ref", "--quiet", "--short", "HEAD"),
        message=_git("log", "-1", "--format=%B"),
        author=_git("log", "-1", "--format=%an"),
    )


def _git(*words: str) -> str:
    try:
        done = subprocess.run(
            ["git", *words], capture_output=True, text=True, errors="replace", timeout=_TIMEOUT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""

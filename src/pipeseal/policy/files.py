"""Files that say what is trusted: only those that nobody else can change, and read again when they were changed."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import NamedTuple

from pipeseal.errors import ConfigurationError, MalformedInput
from pipeseal.policy.commit_signers import SignedCommits
from pipeseal.policy.policy import Policy

_MAX_BYTES = 1 << 20


class FileState(NamedTuple):
    """A file as it was when it was read; another value means that it has to be read again."""

    device: int
    inode: int
    size: int
    modified: int
    changed: int


def look_at(path: Path) -> FileState | None:
    """How a file is now; None when it cannot be looked at."""
    try:
        status = path.stat()
    except OSError:
        return None
    return FileState(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def read_policy(path: Path) -> Policy:
    """A policy file that nobody else can change.

    Parameters:
        path: the file.

    Raises:
        ConfigurationError: `policy.unreadable`, `policy.permissions`; `commit.signers`: so is a file that it names.
        MalformedInput: as `parse_policy`.
    """
    from pipeseal.policy.file import parse_policy

    check_only_ours(path, "policy.permissions")
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(
            "policy.unreadable",
            f"the policy {path} cannot be read: {error.strerror}",
            help="check the path, and who may read it",
        ) from None
    try:
        policy = parse_policy(data, source=str(path))
    except MalformedInput as error:
        if error.position is None and str(path) not in error.message:
            raise MalformedInput(error.code, f"{path}: {error.message}", help=error.help) from None
        raise
    for section in (policy.everywhere, *policy.sections):
        for rule in section.rules:
            if isinstance(rule, SignedCommits):
                for named in rule.signers.files:
                    check_signers_file(named)
    return policy


def check_signers_file(path: Path) -> None:
    """That a file which says who may sign commits is there, and that nobody else can change it.

    Raises:
        ConfigurationError: `commit.signers`.
    """
    check_only_ours(path, "commit.signers")
    if not path.is_file() or not os.access(path, os.R_OK):
        raise ConfigurationError(
            "commit.signers",
            f"{path}, which says who may sign commits, is no file that can be read",
            help="see `commit-signers`, `revoked-commit-signers` and `commit-keyring` of the policy",
        )


def check_only_ours(path: Path, code: str) -> None:
    """That no other user can change a file, nor put another one in its place.

    Folders that anybody may write to are let be when they are sticky (`/tmp`): there nobody can replace what belongs
    to somebody else. A file that is not there is nobody's; reading it says so.

    Parameters:
        path: the file.
        code: of the error.

    Raises:
        ConfigurationError: somebody can, named with what to do.
    """
    try:
        real = path.resolve(strict=True)
        parts = [(real, real.stat()), *((folder, folder.stat()) for folder in real.parents)]
    except OSError:
        return
    for place, status in parts:
        is_folder = stat.S_ISDIR(status.st_mode)
        writable = status.st_mode & (stat.S_IWOTH | (0 if _is_own_group(status) and is_folder else stat.S_IWGRP))
        if is_folder and status.st_mode & stat.S_ISVTX:
            writable = 0
        if stat.S_ISREG(status.st_mode) or is_folder:
            _refuse_if(bool(writable), place, path, code, f"chmod go-w {place}")
            stranger = status.st_uid not in (0, os.geteuid())
            _refuse_if(stranger, place, path, code, f"chown it to root or to uid {os.geteuid()}")


def _is_own_group(status: os.stat_result) -> bool:
    # Many systems give each user a group of their own with the same number, and let folders be writable for it.
    return status.st_gid == os.getegid() == status.st_uid


def _refuse_if(wrong: bool, place: Path, path: Path, code: str, fix: str) -> None:
    if not wrong:
        return
    where = "" if place == path else f" (through {place})"
    raise ConfigurationError(code, f"{path} can be changed by other users{where}", help=fix)

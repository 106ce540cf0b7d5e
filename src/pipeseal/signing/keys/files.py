"""Keys in files: reading with an eye on who else can, writing only what is not there yet."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from pipeseal.errors import ConfigurationError
from pipeseal.signing.keys.jwk import MAX_SET_BYTES


def read_key_file(path: Path) -> bytes:
    """The contents of a key file that nobody else can change.

    Parameters:
        path: the file.

    Raises:
        ConfigurationError: `key.unreadable`: it cannot be read; `key.permissions`: others could have changed it.
    """
    try:
        # Open first and look at what was opened: between a look and an open the file can be another.
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if stat.S_ISREG(status.st_mode):
                _check_mode(path, status)
            elif not stat.S_ISFIFO(status.st_mode):
                raise ConfigurationError(
                    "key.unreadable", f"{path} is not a file", help="give the path of a key file"
                )
            return file.read(MAX_SET_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(
            "key.unreadable",
            f"the key file {path} cannot be read: {error.strerror}",
            help="check the path, and who may read it",
        ) from None


def _check_mode(path: Path, status: os.stat_result) -> None:
    if stat.S_IMODE(status.st_mode) & 0o022:
        raise ConfigurationError(
            "key.permissions",
            f"the key file {path} can be changed by other users (mode {stat.S_IMODE(status.st_mode):04o})",
            help=f"chmod go-w {path}",
        )
    if status.st_uid not in (0, os.geteuid()):
        raise ConfigurationError(
            "key.permissions",
            f"the key file {path} belongs to another user (uid {status.st_uid}), who can change it",
            help=f"chown it to root or to the user who runs this (uid {os.geteuid()})",
        )


def exposure_of(path: Path) -> str:
    """One sentence when a private key file can be read by other users, for a warning; empty when it cannot.

    Refusing such a file would shut out key stores that mount their files readable, inside containers where there are
    no other users; so this is said, and left to the operator.

    Parameters:
        path: a private key file.
    """
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return ""
    return (
        f"the private key file {path} can be read by other users (mode {mode:04o}); chmod 0600 it"
        if mode & 0o044
        else ""
    )


def write_key_file(path: Path, text: str) -> None:
    """Write a new key file, mode 0600, without a trailing line feed, as the stock tools do; never over an existing
    one.

    Parameters:
        path: where; its folder must exist.
        text: the key set.

    Raises:
        ConfigurationError: `key.exists`: there is a file already; `key.unwritable`: it cannot be written.
    """
    try:
        # O_EXCL: create or fail, also when the name is a link.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise ConfigurationError(
            "key.exists",
            f"file already exists: {path}",
            help="choose another --key-id, or move the old file away; keys are never overwritten",
        ) from None
    except OSError as error:
        raise ConfigurationError(
            "key.unwritable", f"the key file {path} cannot be written: {error.strerror}", help="check the folder"
        ) from None
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def find_work_tree(path: Path) -> Path | None:
    """The git work tree that a file at `path` would be part of, or None.

    Parameters:
        path: a file that need not exist.
    """
    folder = path.absolute().parent.resolve()
    return next((parent for parent in (folder, *folder.parents) if (parent / ".git").exists()), None)

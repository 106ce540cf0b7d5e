"""Where a downloaded artifact goes: below one folder, whatever its path says and whatever links lie in the way."""

from __future__ import annotations

import errno
import os
import posixpath
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from pipeseal.errors import ConfigurationError, MalformedInput, Unavailable, VerificationError, escape_control

MAX_PATH_LENGTH = 4_096
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def local_components(artifact_path: str, folder_name: str) -> tuple[str, ...]:
    """The names of folders and file below the destination, for an artifact's path.

    Backslashes are slashes (the artifact may come from Windows); detours are resolved; what would lead out of the
    destination at the beginning is left off. A path that begins with the destination's own name is not repeated
    below it: `pkg/a` in a destination `out/pkg` is `out/pkg/a`.

    Parameters:
        artifact_path: as the server has it.
        folder_name: last component of the destination's absolute path.

    Raises:
        MalformedInput: nothing is left that could be a file's name (code `artifact.path`).
    """
    if "\0" in artifact_path:
        raise _bad_path(artifact_path, "holds a NUL byte")
    if len(artifact_path) > MAX_PATH_LENGTH:
        raise _bad_path(artifact_path, f"has {len(artifact_path):,} characters, more than {MAX_PATH_LENGTH:,}")
    path = artifact_path.replace("\\", "/")
    if not path or path.endswith(("/", "/.", "/..")):
        raise _bad_path(artifact_path, "names no file")
    components = [name for name in posixpath.normpath(path).split("/") if name]
    if len(components) > 1 and components[0] == folder_name and not path.startswith("/"):
        components = components[1:]
    while components and components[0] == "..":
        components = components[1:]
    if not components or components == ["."]:
        raise _bad_path(artifact_path, "names no file")
    return tuple(components)


def _bad_path(path: str, problem: str) -> MalformedInput:
    shown = escape_control(path[:200])
    return MalformedInput("artifact.path", f"the artifact's path {shown!r} {problem}", evidence={"path": shown})


class Destination:
    """A folder to download to, held open.

    Parameters:
        folder: its path.

    Raises:
        ConfigurationError: there is no such folder (code `artifact.folder`).
    """

    def __init__(self, folder: str) -> None:
        self.path = os.path.abspath(folder)  # noqa: PTH100  (text: a job's names need not be UTF-8)
        try:
            self._descriptor = os.open(self.path, _FOLDER)
        except OSError as error:
            raise ConfigurationError(
                "artifact.folder",
                f"cannot download to {escape_control(folder)}: {error.strerror}",
                help="make the folder first",
            ) from error

    @property
    def name(self) -> str:
        """The last component of its absolute path."""
        return posixpath.basename(self.path)

    def close(self) -> None:
        """Let go of the folder."""
        os.close(self._descriptor)

    @contextmanager
    def create(self, components: tuple[str, ...]) -> Iterator[BinaryIO]:
        """A new file below the folder; it gets its name when the block ends without an error, and vanishes otherwise.

        Parameters:
            components: from `local_components`. Folders are made as needed; a link is never followed.

        Raises:
            VerificationError: a folder on the way is a symbolic link (code `artifact.symlink`).
            Unavailable: it cannot be written (code `artifact.file`).
        """
        shown = escape_control("/".join(components))
        name = components[-1]
        temporary = f".{os.urandom(8).hex()}.part"
        try:
            parent = self._open_parent(components)
        except OSError as error:
            raise _unwritable(shown, error) from error
        made = False
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with open(os.open(temporary, flags, 0o666, dir_fd=parent), "wb", buffering=0) as file:  # noqa: PTH123  # a descriptor, not a path
                made = True
                yield file
            # Replaces a file or a link of that name; what a link pointed to is not touched.
            os.rename(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
            made = False
        except OSError as error:
            raise _unwritable(shown, error) from error
        finally:
            if made:
                _remove(temporary, parent)
            os.close(parent)

    def _open_parent(self, components: tuple[str, ...]) -> int:
        current = os.dup(self._descriptor)
        try:
            for index, name in enumerate(components[:-1]):
                try:
                    os.mkdir(name, 0o777, dir_fd=current)
                except FileExistsError:
                    pass
                try:
                    below = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=current)
                except OSError as error:
                    if error.errno in (errno.ELOOP, errno.ENOTDIR) and _is_link(name, current):
                        raise self._link_in_the_way(components[: index + 1]) from error
                    raise
                os.close(current)
                current = below
        except BaseException:
            os.close(current)
            raise
        return current

    def _link_in_the_way(self, components: tuple[str, ...]) -> VerificationError:
        shown = escape_control(posixpath.join(self.path, *components))
        return VerificationError(
            "artifact.symlink",
            f"{shown} is a symbolic link; downloads do not go through links",
            help="remove the link, or download to the folder it leads to",
            evidence={"link": shown},
        )


def _is_link(name: str, folder: int) -> bool:
    return stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)


def _remove(name: str, folder: int) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except OSError:
        pass  # what went wrong before is the better error


def _unwritable(shown: str, error: OSError) -> Unavailable:
    return Unavailable("artifact.file", f"cannot write {shown}: {error.strerror}")

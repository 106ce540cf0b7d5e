"""A disk that can be filled to its last byte, and has room again."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

import pytest

_SIZE, _FILES = 8 << 20, 400


class SmallDisk(Protocol):
    """A folder on it, and how to fill it."""

    folder: Path

    def fill(self) -> None:
        """Leave no room at all."""

    def free(self) -> None:
        """Have room again."""


class _Memory:
    """A file system in memory, of a few megabytes and files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"

    def fill(self) -> None:
        self._filler.mkdir()
        with suppress(OSError), (self._filler / "bytes").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        with suppress(OSError):
            for number in range(_FILES + 1):
                (self._filler / str(number)).touch()

    def free(self) -> None:
        for path in self._filler.iterdir():
            path.unlink()
        self._filler.rmdir()


class _Limit:
    """A limit for the size of files, which processes have of their own: no file of this one and its children
    grows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1, self._before[1]))

    def free(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, self._before)


@contextmanager
def small_disk(folder: Path, *, of_other_processes: bool = False) -> Iterator[SmallDisk]:
    """A small disk mounted at `folder`.

    Parameters:
        of_other_processes: processes that run already must feel it, which takes a mount, and so root.
    """
    folder.mkdir()
    options = f"size={_SIZE},nr_inodes={_FILES}"
    mounted = os.geteuid() == 0 and _run("mount", "-t", "tmpfs", "-o", options, "pipeseal-test", str(folder))
    if not mounted and of_other_processes:
        pytest.skip("only root can mount a small disk")
    disk: SmallDisk = _Memory(folder) if mounted else _Limit(folder)
    try:
        yield disk
    finally:
        if not mounted:
            disk.free()
        elif not _run("umount", str(folder)):
            _run("umount", "--lazy", str(folder))


def _run(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0

"""Whether anybody touched a file: by what the kernel says of reads, and by content and times.

Reads are seen with inotify (Linux). Where there is none, only changes are seen.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

# <sys/inotify.h>
_IN_ACCESS, _IN_MODIFY, _IN_ATTRIB, _IN_OPEN, _IN_MOVE, _IN_CREATE, _IN_DELETE = 1, 2, 4, 0x20, 0xC0, 0x100, 0x200
_IN_DELETE_SELF, _IN_MOVE_SELF, _IN_ISDIR = 0x400, 0x800, 0x40000000
_FILE_EVENTS = _IN_ACCESS | _IN_MODIFY | _IN_ATTRIB | _IN_OPEN | _IN_DELETE_SELF | _IN_MOVE_SELF
_FOLDER_EVENTS = _FILE_EVENTS | _IN_MOVE | _IN_CREATE | _IN_DELETE
_EVENT = struct.Struct("iIII")
_WORDS = {
    _IN_ACCESS: "read",
    _IN_OPEN: "opened",
    _IN_MODIFY: "changed",
    _IN_ATTRIB: "its attributes changed",
    _IN_CREATE: "created in",
    _IN_DELETE: "deleted from",
    _IN_DELETE_SELF: "deleted",
    _IN_MOVE_SELF: "moved",
}


class Watch:
    """Watches files and folders that nobody has any business with, until closed.

    Parameters:
        paths: existing files and folders; what is inside folders is watched too.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._paths = sorted({path for given in paths for path in (given, *given.rglob("*"))})
        self._before = self._look()
        self._names: dict[int, Path] = {}
        self._descriptor = -1
        try:
            # A C library without inotify has no such name; that machine is no Linux.
            library = ctypes.CDLL(None, use_errno=True)
            start, add = library.inotify_init1, library.inotify_add_watch
        except (OSError, AttributeError):
            return
        self._descriptor = start(os.O_NONBLOCK | os.O_CLOEXEC)
        for path in self._paths if self._descriptor >= 0 else ():
            wanted = _FOLDER_EVENTS if path.is_dir() else _FILE_EVENTS
            number = add(self._descriptor, os.fsencode(path), wanted)
            if number >= 0:
                self._names[number] = path

    @property
    def sees_reads(self) -> bool:
        """Whether reading alone is noticed here."""
        return bool(self._names)

    def close(self) -> None:
        """Stop watching."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def touched(self) -> list[str]:
        """What happened since the last call, one sentence each; empty when nobody touched anything."""
        found = self._events()
        now = self._look()
        self._events()  # our own looking
        for path in sorted({*self._before, *now}):
            if self._before.get(path) != now.get(path):
                found.append(f"{path} is not what it was")
        self._before = now
        return list(dict.fromkeys(found))

    def _events(self) -> list[str]:
        found: list[str] = []
        while self._descriptor >= 0:
            try:
                data = os.read(self._descriptor, 65_536)
            except BlockingIOError:
                break
            offset = 0
            while offset < len(data):
                number, mask, _cookie, length = _EVENT.unpack_from(data, offset)
                name = data[offset + _EVENT.size : offset + _EVENT.size + length].rstrip(b"\0")
                offset += _EVENT.size + length
                path = self._names.get(number, Path("?")) / os.fsdecode(name)
                words = [word for bit, word in _WORDS.items() if mask & bit]
                # A folder may be listed, on the way to a pattern that must not match; its files are what counts.
                if words and not (mask & _IN_ISDIR and set(words) <= {"opened", "read"}):
                    found.append(f"{path} was {' and '.join(words)}")
        return found

    def _look(self) -> dict[Path, str]:
        seen: dict[Path, str] = {}
        for path in self._paths:
            try:
                status = path.lstat()
                content = (
                    sha256(path.read_bytes()).hexdigest()
                    if path.is_file()
                    else ",".join(sorted(entry.name for entry in path.iterdir()))
                )
            except OSError:
                seen[path] = "gone"
                continue
            seen[path] = f"{status.st_mode} {status.st_size} {status.st_mtime_ns if path.is_file() else ''} {content}"
        return seen

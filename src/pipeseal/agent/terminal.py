"""Starting processes of jobs: on a terminal, in one call of the C library where it can do that, or with an output.

A process gets a controlling terminal by opening one when it leads a session and has none (POSIX.1-2017 11.1.3), which
has to happen between its birth and its program's start. `subprocess` does nothing there without running Python in
the child; `posix_spawn` opens files there (POSIX.1-2017, `posix_spawn`), and saves every process of a job the start
of a shell, which is a third of the time until a command's first output.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Protocol

# <spawn.h> of glibc and musl; larger than any of their structures.
_SETSIGDEF, _SETSID = 0x04, 0x80
_ACTIONS_BYTES, _ATTRIBUTES_BYTES, _SIGNALS_BYTES = 512, 1024, 256
# What Python ignores and its children do not expect to be ignored, as in `subprocess` (`restore_signals`).
_RESTORED = (signal.SIGPIPE, signal.SIGXFSZ)
_FIRST_CLOSED = 3
# Opening a terminal makes it the controlling one of a session leader that has none.
_TAKE_TERMINAL = 'exec "$@" <>"$0" >&0 2>&1'


class Started(Protocol):
    """A process that was started, and is to be waited for."""

    pid: int

    def wait(self) -> int:
        """Its exit status once it has ended, or the negative number of the signal that ended it."""
        ...


class _Spawned:
    """A process by its number."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._code: int | None = None

    def wait(self) -> int:
        """As `Started.wait`."""
        if self._code is None:
            self._code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self._code


def start_on_terminal(
    arguments: Sequence[str], *, environment: Mapping[str, str], directory: Path, terminal: int
) -> Started:
    """Start a program in a session of its own, with a terminal as its standard input, output and error.

    Parameters:
        arguments: path of the program, and its arguments.
        environment: all of its variables.
        directory: its working directory.
        terminal: descriptor of the terminal, which stays open here; the process gets no other.

    Raises:
        OSError: it could not be started.
        ValueError: a NUL byte in an argument or a variable.
    """
    library = find_library()
    if library is None:
        by_shell = ["/bin/sh", "-c", _TAKE_TERMINAL, os.ttyname(terminal), *arguments]
        return start_with_output(by_shell, environment=environment, directory=directory, output=terminal)
    return _Spawned(_spawn(library, arguments, environment, directory, os.ttyname(terminal)))


def start_with_output(
    arguments: Sequence[str], *, environment: Mapping[str, str], directory: Path, output: int
) -> Started:
    """Start a program in a session of its own that reads nothing and writes all it has to say to one descriptor.

    Parameters:
        arguments, environment, directory: as in `start_on_terminal`.
        output: the descriptor, which stays open here.

    Raises:
        OSError: it could not be started.
        ValueError: a NUL byte in an argument or a variable.
    """
    return subprocess.Popen(
        arguments,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        env=environment,
        cwd=directory,
        start_new_session=True,
    )


@cache
def find_library() -> ctypes.CDLL | None:
    """The C library, if it has all that is needed; two of the calls are in no standard yet (glibc 2.34 has them)."""
    if sys.platform != "linux":
        return None  # the flags have other numbers elsewhere
    library = ctypes.CDLL(None)
    needed = (
        "posix_spawn",
        "posix_spawnattr_setsigdefault",
        "posix_spawn_file_actions_addopen",
        "posix_spawn_file_actions_addchdir_np",
        "posix_spawn_file_actions_addclosefrom_np",
    )
    return library if all(hasattr(library, name) for name in needed) else None


def _spawn(
    library: ctypes.CDLL, arguments: Sequence[str], environment: Mapping[str, str], directory: Path, terminal: str
) -> int:
    words = _strings(arguments)
    variables = _strings([f"{name}={value}" for name, value in environment.items()])
    folder = _checked(directory)
    if any("=" in name for name in environment):
        raise ValueError("illegal environment variable name")
    actions = ctypes.create_string_buffer(_ACTIONS_BYTES)
    attributes = ctypes.create_string_buffer(_ATTRIBUTES_BYTES)
    signals = ctypes.create_string_buffer(_SIGNALS_BYTES)
    pid = ctypes.c_int()

    def call(function: Callable[..., int], *values: Any) -> None:
        _check(function(*values), arguments[0])

    call(library.posix_spawn_file_actions_init, actions)
    try:
        call(library.posix_spawnattr_init, attributes)
        try:
            library.sigemptyset(signals)
            for number in _RESTORED:
                library.sigaddset(signals, ctypes.c_int(number))
            call(library.posix_spawnattr_setsigdefault, attributes, signals)
            call(library.posix_spawnattr_setflags, attributes, ctypes.c_short(_SETSIGDEF | _SETSID))
            call(library.posix_spawn_file_actions_addchdir_np, actions, folder)
            opened = terminal.encode()
            call(library.posix_spawn_file_actions_addopen, actions, 0, opened, os.O_RDWR, ctypes.c_uint(0))
            call(library.posix_spawn_file_actions_adddup2, actions, 0, 1)
            call(library.posix_spawn_file_actions_adddup2, actions, 0, 2)
            call(library.posix_spawn_file_actions_addclosefrom_np, actions, _FIRST_CLOSED)
            code = library.posix_spawn(ctypes.byref(pid), words[0], actions, attributes, words, variables)
        finally:
            library.posix_spawnattr_destroy(attributes)
    finally:
        library.posix_spawn_file_actions_destroy(actions)
    _check(code, os.fspath(directory) if code == errno.ENOENT and not directory.is_dir() else arguments[0])
    return pid.value


def _strings(texts: Sequence[str]) -> ctypes.Array[ctypes.c_char_p]:
    """An array that ends with a null pointer, as `argv` and `environ` do."""
    encoded = [_checked(text) for text in texts]
    return (ctypes.c_char_p * (len(encoded) + 1))(*encoded, None)


def _checked(text: str | Path) -> bytes:
    """The bytes of a text that C can hold: for C it would end at a NUL, and be another one."""
    encoded = os.fsencode(text)
    if b"\0" in encoded:
        raise ValueError("embedded null byte")
    return encoded


def _check(code: int, what: str) -> None:
    """Raise what a call of this family says with its return value, an error number."""
    if code:
        raise OSError(code, os.strerror(code), what)

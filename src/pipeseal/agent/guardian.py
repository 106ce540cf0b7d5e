"""A small process beside the agent that cleans up when the agent dies without a word (SIGKILL, out of memory).

The agent tells it over a pipe which process groups and folders its jobs have; the kernel closes the pipe when the
agent is gone, however it went. Then what is left gets SIGTERM, two seconds later SIGKILL, and the folders, which hold
variables of jobs, are removed. It is a shell, because a shell is small: it waits for as long as the agent lives.
"""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path

# Each argument is one thing to clean up: `g` and the number of a process group, or `d` and a folder's path.
_SCRIPT = """\
trap '' HUP INT TERM QUIT
while IFS= read -r line; do
  thing=${line#?}
  case $line in
    +*) set -- "$@" "$thing" ;;
    -*) for known do shift; [ "$known" = "$thing" ] || set -- "$@" "$known"; done ;;
  esac
done
found=
for thing do
  case $thing in g*) kill -s TERM -- "-${thing#g}" 2>/dev/null && found=yes ;; esac
done
[ -z "$found" ] || sleep 2
for thing do
  case $thing in
    g*) kill -s KILL -- "-${thing#g}" 2>/dev/null ;;
    d*) rm -rf -- "${thing#d}" ;;
  esac
done
"""


class Guardian:
    """The process; it ends with the agent, or when it is closed."""

    def __init__(self) -> None:
        theirs, self._ours = os.pipe()
        self._lock = threading.Lock()
        self._closed = False
        try:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", _SCRIPT, "pipeseal-guardian"],
                stdin=theirs,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={"PATH": "/usr/bin:/bin"},
                cwd="/",
                start_new_session=True,
            )
        except BaseException:
            os.close(self._ours)
            raise
        finally:
            os.close(theirs)

    def watch_group(self, group: int) -> None:
        """End this process group when the agent dies."""
        self._tell(f"+g{group}")

    def forget_group(self, group: int) -> None:
        """That process group has ended."""
        self._tell(f"-g{group}")

    def watch_folder(self, folder: Path) -> None:
        """Remove this folder when the agent dies."""
        self._tell(f"+d{folder}")

    def forget_folder(self, folder: Path) -> None:
        """That folder was removed."""
        self._tell(f"-d{folder}")

    def close(self) -> None:
        """Clean up what is left, and end."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            os.close(self._ours)
        self._process.wait()

    def _tell(self, line: str) -> None:
        if "\n" in line:
            return  # a folder with such a name is not worth a protocol
        with self._lock:
            if self._closed:
                return
            try:
                os.write(self._ours, line.encode("utf-8", "surrogateescape") + b"\n")
            except OSError:
                pass  # somebody killed it: jobs go on without

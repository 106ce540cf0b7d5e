"""The command `pipeseal`, whose server kills itself at a write: a program for tests to run.

    python crashing_server.py FILE server ...

FILE is looked for before each write. When it is there, it says how and when: `LOST 17` is the end right before the
17th write from then on, `KEPT 17` right after it.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pipeseal.controlplane.store.logs import LogStore
from pipeseal.controlplane.store.objects import FolderWriter


class Crashes:
    """Counts the writes, and ends this process at one of them.

    Parameters:
        orders: the file.
    """

    def __init__(self, orders: Path) -> None:
        self._orders = orders
        self._left = 0
        self._twin = ""

    def before(self) -> None:
        """A write is about to be done."""
        if self._orders.exists():
            self._twin, _, number = self._orders.read_text("utf-8").partition(" ")
            self._left = int(number) + 1
            self._orders.unlink()
        self._left -= 1
        if self._left == 0 and self._twin == "LOST":
            os.kill(os.getpid(), signal.SIGKILL)

    def after(self) -> None:
        """It is done."""
        if self._left == 0 and self._twin == "KEPT":
            os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Run the command."""
    crashes = Crashes(Path(sys.argv.pop(1)))

    class Crashing(sqlite3.Connection):
        _writing = False

        def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
            if sql.startswith("BEGIN"):
                self._writing = sql == "BEGIN IMMEDIATE"
            if sql != "COMMIT" or not self._writing:
                return super().execute(sql, parameters)
            crashes.before()
            done = super().execute(sql, parameters)
            crashes.after()
            return done

    connect, write_log, commit_object = sqlite3.connect, LogStore.write, FolderWriter.commit

    def connect_crashing(*arguments: Any, **options: Any) -> sqlite3.Connection:
        return connect(*arguments, factory=Crashing, **options)

    def write_log_crashing(self: LogStore, job_id: str, start: int, data: bytes) -> None:
        crashes.before()
        write_log(self, job_id, start, data)
        crashes.after()

    def commit_object_crashing(self: FolderWriter) -> int:
        crashes.before()
        size = commit_object(self)
        crashes.after()
        return size

    sqlite3.connect = connect_crashing  # type: ignore[assignment]  # a program for tests
    LogStore.write = write_log_crashing  # type: ignore[method-assign]  # likewise
    FolderWriter.commit = commit_object_crashing  # type: ignore[method-assign]  # likewise
    from pipeseal.cli import main as run

    run()


if __name__ == "__main__":
    main()

"""Telling the server that a job starts, while the agent still looks whether it may."""

from __future__ import annotations

import threading
from collections.abc import Callable

from pipeseal.errors import PipesealError


class NotStarted(Exception):
    """The server did not take note that the job starts, so it is not this agent's, and nothing of it is run.

    Never leaves `run_job`.
    """

    def __init__(self, cause: PipesealError) -> None:
        super().__init__(str(cause))
        self.cause = cause


class Announcement:
    """The call, made on a thread of its own.

    Judging a job, planning it and writing down that it starts take as long as the call does. Neither needs the other;
    what a job runs, what is told of it and what is sent of its log need both (`wait`).

    Parameters:
        call: tells the server; tries again by itself.
    """

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="announce", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._call()
        except Exception as error:  # whatever it is, it belongs to who waits, not to this thread
            self._failure = error

    def wait(self) -> None:
        """Wait until the server knows.

        Raises:
            NotStarted: it does not, or will not have it.
        """
        self._thread.join()
        if isinstance(self._failure, PipesealError):
            raise NotStarted(self._failure)
        if self._failure is not None:
            raise self._failure

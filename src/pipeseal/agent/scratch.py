"""A job's own small files: made when first needed, gone with the job, or with the agent."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from pipeseal.agent.guardian import Guardian


class Scratch:
    """A folder for a job's own small files.

    Parameters:
        guardian: removes it when the agent dies before it does so itself.
    """

    def __init__(self, guardian: Guardian | None = None) -> None:
        self._guardian = guardian
        self._folder: Path | None = None

    @property
    def folder(self) -> Path:
        """The folder; nobody but this user can look into it."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="pipeseal-job-"))
            if self._guardian is not None:
                self._guardian.watch_folder(self._folder)
        return self._folder

    def close(self) -> None:
        """Remove it."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            if self._guardian is not None:
                self._guardian.forget_folder(self._folder)
            self._folder = None


class LogCopy:
    """A file that holds a copy of the job's log.

    Parameters:
        folder: where it is made.

    Raises:
        OSError: it cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        descriptor, name = tempfile.mkstemp(prefix="job-log-", dir=folder)
        self.path = Path(name)
        # Without a buffer: the job looks at it while it runs.
        self.file = os.fdopen(descriptor, "wb", buffering=0)

    def close(self) -> None:
        """Remove it."""
        self.path.unlink(missing_ok=True)
        self.file.close()

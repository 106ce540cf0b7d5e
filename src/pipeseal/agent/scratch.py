"""Folders for a job's own small files: made when first needed, gone with the job, or with the agent."""

from __future__ import annotations

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

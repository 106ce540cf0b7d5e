"""Replacing a file in one step: whoever reads it sees the old text or the new one, never half of it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from pipeseal.errors import ConfigurationError


def replace_file(path: Path, text: str, *, code: str) -> None:
    """Write `text` in the place of what is in a file; it keeps its mode, and a link keeps leading to it.

    Parameters:
        path: need not exist; its folder must.
        code: of the error.

    Raises:
        ConfigurationError: `code`: it cannot be written.
    """
    path = path.resolve()
    try:
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask()
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
                file.write(text)
                file.flush()
                os.fchmod(file.fileno(), mode)
                os.fsync(file.fileno())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ConfigurationError(
            code, f"{path} cannot be written: {error.strerror}", help="check the folder, and who may write"
        ) from None


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask

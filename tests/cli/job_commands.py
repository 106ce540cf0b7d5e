"""Running commands as a job runs them: a process of its own, under the name scripts know."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

_PROGRAM = "import sys; sys.argv[0] = {name!r}; from pipeseal.cli import main; main()"


class Done(NamedTuple):
    """How a command ended, and what it wrote."""

    status: int
    out: bytes
    err: str

    def has_code(self, code: str) -> bool:
        """Whether it failed with the error of this code."""
        return self.status != 0 and f"error[{code}]" in self.err


def run_command(
    environment: Mapping[str, str],
    *arguments: str | bytes,
    stdin: bytes | None = None,
    cwd: Path | None = None,
    name: str = "buildkite-agent",
) -> Done:
    """Run a command to its end.

    Parameters:
        environment: the job's variables; a few of this process come on top.
        stdin: what it can read; None for a device, as under a terminal.
        name: what the program is called.
    """
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    process = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM.format(name=name), *arguments],
        env={**kept, **environment},
        cwd=cwd,
        stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        try:
            out, err = process.communicate(stdin, timeout=120)
        except BaseException:
            process.kill()
            raise
    return Done(process.returncode, out, err.decode("utf-8", "replace"))

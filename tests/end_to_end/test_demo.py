"""The demonstration happens, all of it."""

from __future__ import annotations

import subprocess
import sys


def test_the_demo_runs_an_honest_build_and_refuses_four_attacks() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pipeseal", "demo"], capture_output=True, text=True, check=False, timeout=180
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 of 5 jobs verified and run" in done.stdout
    assert done.stdout.count("3 of 3 jobs refused; nothing ran") == 4
    assert done.stdout.count("refused[signature.mismatch]") == 3
    assert done.stdout.count("refused[signature.missing]") == 1

"""The README's own lines, run as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def _block(heading: str) -> list[str]:
    section = (ROOT / "README.md").read_text(encoding="utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    return [line.strip() for line in section.splitlines() if line.startswith("    ")]


def _shell(script: str, directory: Path) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-e", "-c", script],
        cwd=directory,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_sign_and_verify_in_five_lines(tmp_path: Path) -> None:
    lines = [line for line in _block("Sign and verify in five lines") if "activate" not in line]
    done = _shell("\n".join(lines), tmp_path)
    assert done.returncode == 0, done.stderr
    assert "release" in done.stdout

    signed = tmp_path / "signed.yml"
    signed.write_text(signed.read_text(encoding="utf-8").replace("make release", "make released"), encoding="utf-8")
    changed = _shell(lines[-1], tmp_path)
    assert changed.returncode == 22
    assert re.search(r"signature\.mismatch", changed.stdout + changed.stderr)


def test_it_names_both_commands() -> None:
    assert [line.split("#")[0].strip() for line in _block("Two commands")] == ["make demo", "make test"]

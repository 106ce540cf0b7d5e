"""What the README says beyond its commands, which are run with those of all pages (`tests/docs`)."""

from __future__ import annotations

from pathlib import Path

from docs.console import Command
from tests.docs.pages import ROOT, read_blocks, read_commands
from tests.docs.stage import Stage

README = ROOT / "README.md"


def test_a_changed_character_fails_and_says_so(tmp_path: Path) -> None:
    commands = read_commands(README)
    with Stage(tmp_path, {}) as stage:
        for command in commands:
            stage.run(command)
        stage.run(Command(0, "sed -i 's/make release/make released/' signed.yml", ()))
        changed = Command(
            0, f'{commands[-1].text}; echo "exit status $?"', ("...signature.mismatch...", "exit status 22")
        )
        stage.run(changed)


def test_it_names_both_commands() -> None:
    first = next(block for block in read_blocks(README) if block.reason)
    assert [line.split("#")[0].strip() for line in first.text.splitlines()] == ["make demo", "make test"]

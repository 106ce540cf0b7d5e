"""The stage finds out pages that say what is not so, and leaves nothing running."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import pytest

from docs.console import Command, OutputFirst, read_console

from .stage import Stage

WRONG = {
    "a command fails": ("$ false", "ended with 1"),
    "it prints something else": ("$ echo one\ntwo", "did not print 'two'"),
    "it prints in another order": ("$ printf 'one\\ntwo\\n'\ntwo\none", "did not print 'one'"),
    "it prints only the beginning": ("$ echo one more\none", "did not print 'one'"),
    "what should stay ends": ("$ echo no &\nready", "did not print 'ready'"),
}
RIGHT = {
    "output, in part": "$ printf 'one\\ntwo\\nthree\\n'\none\n...\nthree",
    "a line, in part": "$ echo one two three\none ... three",
    "an exit status": '$ false; echo "exit status $?"\nexit status 1',
    "several lines": "$ echo one \\\n    two\none two",
    "a here-document": "$ cat <<'END'\n$ this is no command\nEND\n$ echo two\ntwo",
    "what holds for later commands": "$ mkdir x && cd x && NAME=value\n$ echo $(basename $PWD) $NAME\nx value",
    "what stays": "$ { echo ready; sleep 60; } &\nready\n$ true",
}


def _run(folder: Path, text: str) -> None:
    with Stage(folder, {}) as stage:
        for command in read_console(text):
            stage.run(command)


@pytest.mark.parametrize("name", WRONG)
def test_a_page_that_is_wrong_fails(name: str, tmp_path: Path) -> None:
    text, said = WRONG[name]
    with pytest.raises(AssertionError, match=said):
        _run(tmp_path, text)


@pytest.mark.parametrize("name", RIGHT)
def test_a_page_that_is_right_passes(name: str, tmp_path: Path) -> None:
    _run(tmp_path, RIGHT[name])


def test_nothing_is_left_running(tmp_path: Path) -> None:
    with Stage(tmp_path, {}) as stage:
        stage.run(Command(1, "sleep 60 &", ()))
        stage.run(Command(2, "{ sleep 60 & echo $!; wait; } &", ("...",)))
        group = int(stage.run(Command(3, "echo $$", ())))
        deadline = time.monotonic() + 60
        while len(_members(group)) <= 3 and time.monotonic() < deadline:
            time.sleep(0.01)  # a background command starts in its own time
        assert len(_members(group)) > 3
    deadline = time.monotonic() + 60
    while _members(group) and time.monotonic() < deadline:
        time.sleep(0.01)  # they were told to end; the system says only to their parent when they have
    assert _members(group) == []


def _members(group: int) -> list[str]:
    """Processes of a group that have not ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            fields = path.read_text(encoding="utf-8").rpartition(")")[2].split()
            if int(fields[2]) == group and fields[0] != "Z":
                found.append(path.parent.name)
    return found


def test_output_without_a_command_is_refused() -> None:
    with pytest.raises(OutputFirst):
        list(read_console("hello\n$ echo hello"))

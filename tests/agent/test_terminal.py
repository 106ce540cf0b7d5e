"""Processes of jobs on a terminal: in one call of the C library, and by a shell where that cannot do it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeseal.agent import terminal
from pipeseal.agent.processes import Cancellation, Ended, run_process


@pytest.fixture(params=["library", "shell"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Both ways to start, whatever the C library of this machine can do."""
    if request.param == "shell":
        monkeypatch.setattr(terminal, "find_library", lambda: None)
    elif terminal.find_library() is None:
        pytest.skip("this C library starts no process on a terminal")
    yield request.param


def start(directory: Path, *arguments: str, **variables: str) -> tuple[Ended, str]:
    """Run a program on a terminal; how it ended, and what it printed."""
    printed: list[bytes] = []
    cancellation = Cancellation(1)
    try:
        ended = run_process(
            arguments,
            environment={"PATH": os.defpath, **variables},
            directory=directory,
            output=printed.append,
            cancellation=cancellation,
            terminal=True,
        )
    finally:
        cancellation.close()
    return ended, b"".join(printed).decode().replace("\r\n", "\n")


def test_a_process_leads_a_session_on_a_terminal_of_its_own(way: str, tmp_path: Path) -> None:
    script = 'test -t 0 && test -t 1 && test -t 2 && echo there >/dev/tty && pwd && echo "$GIVEN" && stty size'
    ended, printed = start(tmp_path, "sh", "-c", script, GIVEN="a value")
    assert ended == Ended(0)
    assert printed == f"there\n{tmp_path}\na value\n100 160\n"
    ended, printed = start(
        tmp_path, "sh", "-c", 'read -r _ _ _ _ group session _ </proc/$$/stat; echo "$$ $group $session"'
    )
    own, group, session = printed.split()
    assert own == group == session


def test_a_process_gets_no_file_of_the_agent(way: str, tmp_path: Path) -> None:
    # One that a program before the agent left open, or a library opened without care.
    reading, writing = os.pipe()
    try:
        left_open = 200
        os.dup2(reading, left_open, inheritable=True)
        try:
            _, printed = start(tmp_path, "sh", "-c", f"test -e /proc/self/fd/{left_open} && echo open || echo closed")
        finally:
            os.close(left_open)
    finally:
        os.close(reading)
        os.close(writing)
    assert printed == "closed\n"


def test_a_process_ends_when_its_pipe_breaks_as_programs_expect(way: str, tmp_path: Path) -> None:
    # Python ignores the signal, and what it starts would inherit that.
    assert signal.getsignal(signal.SIGPIPE) == signal.SIG_IGN
    _, printed = start(tmp_path, "sed", "-n", "s/^SigIgn:[[:space:]]*//p", "/proc/self/status")
    assert not int(printed, 16) & (1 << (signal.SIGPIPE - 1) | 1 << (signal.SIGXFSZ - 1))


def test_how_a_process_ends_is_told(way: str, tmp_path: Path) -> None:
    assert start(tmp_path, "sh", "-c", "exit 7")[0] == Ended(7)
    assert start(tmp_path, "sh", "-c", "kill -9 $$")[0] == Ended(-1, signal.SIGKILL)


def test_a_program_is_found_from_the_directory(way: str, tmp_path: Path) -> None:
    program = tmp_path / "inside"
    program.write_text("#!/bin/sh\necho found\n", encoding="utf-8")
    program.chmod(0o755)
    assert start(tmp_path, "./inside") == (Ended(0), "found\n")


def test_what_cannot_be_started_is_an_error_with_its_name(way: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as missing:
        start(tmp_path, "no-such-program")
    assert missing.value.filename == "no-such-program"
    with pytest.raises(FileNotFoundError) as nowhere:
        start(tmp_path / "nowhere", "sh", "-c", "true")
    assert str(nowhere.value.filename) == str(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="null byte"):
        start(tmp_path, "sh", "-c", "echo \0")
    with pytest.raises(ValueError, match="null byte"):
        start(tmp_path, "sh", "-c", "true", GIVEN="a\0b")
    with pytest.raises(ValueError, match="environment variable name"):
        start(tmp_path, "sh", "-c", "true", **{"A=B": "c"})


def test_a_program_that_the_kernel_does_not_take_is_an_error(tmp_path: Path) -> None:
    if terminal.find_library() is None:
        pytest.skip("a shell says this in its own words")
    program = tmp_path / "closed"
    program.write_text("#!/no/such/interpreter\n", encoding="utf-8")
    with pytest.raises(PermissionError):
        start(tmp_path, "./closed")
    program.chmod(0o755)
    with pytest.raises(FileNotFoundError):
        start(tmp_path, "./closed")

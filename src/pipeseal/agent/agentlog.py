"""The agent's own log: one line a fact, as text or JSON, on standard error."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TextIO

from pipeseal.clock import Clock, SystemClock
from pipeseal.errors import escape_control

_COLOURS = {"info": "", "warn": "\x1b[33m", "error": "\x1b[31m", "refused": "\x1b[31m"}


class AgentLog:
    """Where the agent says what it does. Everything that came from a server is escaped.

    Parameters:
        stream: where lines go; standard error by default.
        as_json: one JSON object a line.
        colour: colour the level; None means when the stream is a terminal.
        name: the worker that speaks; empty for the agent as a whole.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        as_json: bool = False,
        colour: bool | None = None,
        clock: Clock | None = None,
        name: str = "",
    ) -> None:
        self._stream = stream or sys.stderr
        self._as_json = as_json
        self._colour = self._stream.isatty() if colour is None else colour
        self._clock = clock or SystemClock()
        self._name = name
        self._lock = threading.Lock()

    def named(self, name: str) -> AgentLog:
        """The same log, spoken by a worker."""
        log = AgentLog(self._stream, as_json=self._as_json, colour=self._colour, clock=self._clock, name=name)
        log._lock = self._lock
        return log

    def info(self, text: str, **facts: str) -> None:
        """Something happened."""
        self._say("info", text, facts)

    def warn(self, text: str, **facts: str) -> None:
        """Something to look at."""
        self._say("warn", text, facts)

    def error(self, text: str, **facts: str) -> None:
        """Something failed."""
        self._say("error", text, facts)

    def refused(self, text: str, lines: list[str], **facts: str) -> None:
        """A job was refused: the fact, and lines that say why."""
        self._say("refused", text, facts, lines)

    def block(self, lines: list[str]) -> None:
        """Lines for people at start-up; left out of a JSON log."""
        if not self._as_json:
            self._write("".join(f"{escape_control(line)}\n" for line in lines))

    def _say(self, level: str, text: str, facts: Mapping[str, str], lines: list[str] | None = None) -> None:
        moment = datetime.fromtimestamp(self._clock.now(), UTC)
        if self._as_json:
            record = {"time": moment.isoformat(timespec="milliseconds"), "level": level, "message": text, **facts}
            if self._name:
                record["agent"] = self._name
            if lines:
                record["detail"] = "\n".join(lines)
            self._write(json.dumps(record, ensure_ascii=True) + "\n")
            return
        word = level.upper()
        if self._colour and _COLOURS[level]:
            word = f"{_COLOURS[level]}{word}\x1b[0m"
        name = f" {self._name}" if self._name else ""
        tail = "".join(f" {key}={escape_control(value)}" for key, value in facts.items() if value)
        first = f"{moment:%Y-%m-%d %H:%M:%S} {word}{escape_control(name)} {escape_control(text)}{tail}\n"
        self._write(first + "".join(f"  {escape_control(line)}\n" for line in lines or []))

    def _write(self, text: str) -> None:
        with self._lock:
            try:
                self._stream.write(text)
                self._stream.flush()
            except (OSError, ValueError):
                pass  # nobody listens any more (a closed pipe); jobs matter more than this log

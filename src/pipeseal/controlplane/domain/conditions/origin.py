"""Where a condition came from, for errors that point at the character."""

from __future__ import annotations

from dataclasses import dataclass

from pipeseal.errors import MalformedInput, Position


@dataclass(frozen=True, slots=True)
class Origin:
    """The text of a condition and its name.

    Parameters:
        source: what people call it, such as `pipeline.yml, step 3 (deploy), if`.
        text: the whole condition.
    """

    source: str
    text: str

    def position(self, at: int) -> Position:
        """Line and column of the character at offset `at` (which may be the end)."""
        start = self.text.rfind("\n", 0, at) + 1
        end = self.text.find("\n", start)
        line = self.text[start:] if end < 0 else self.text[start:end]
        return Position(self.source, self.text.count("\n", 0, at) + 1, at - start + 1, line.rstrip("\r"))

    def malformed(self, at: int, message: str, help: str = "") -> MalformedInput:
        """The error for text that is no condition."""
        return MalformedInput("condition.malformed", message, help=help, position=self.position(at))

    def unknown(self, at: int, message: str, help: str = "") -> MalformedInput:
        """The error for a name that does not exist, or not in this place."""
        return MalformedInput("condition.unknown_name", message, help=help, position=self.position(at))

    def mismatch(self, at: int, message: str, help: str = "") -> MalformedInput:
        """The error for values that cannot be compared or combined."""
        return MalformedInput("condition.type", message, help=help, position=self.position(at))

    def pattern(self, at: int, message: str, help: str = "") -> MalformedInput:
        """The error for a regular expression that is not one, or not a supported one."""
        return MalformedInput("condition.pattern", message, help=help, position=self.position(at))

    def limit(self, at: int, message: str, help: str = "") -> MalformedInput:
        """The error for a condition that would cost too much."""
        return MalformedInput("condition.limit", message, help=help, position=self.position(at))

    def value(self, at: int, message: str, help: str = "") -> MalformedInput:
        """The error for a condition that met a value it cannot work with."""
        return MalformedInput("condition.value", message, help=help, position=self.position(at))

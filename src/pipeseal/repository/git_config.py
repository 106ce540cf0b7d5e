"""The configuration that git runs with for a job: made here, with nothing of the machine's but what is named."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

# Settings for every call, stronger than any file: nothing that a clone brings along may run a program.
SETTINGS = (
    "advice.detachedHead=false",
    "core.attributesFile=/dev/null",
    "core.fsmonitor=false",
    "core.hooksPath=/dev/null",
    "fetch.recurseSubmodules=no",
    "protocol.allow=never",
    "submodule.recurse=false",
)
# These are for repositories and submodules alike; others never for a submodule, whose address nobody signed.
_FOR_SUBMODULES = frozenset({"https", "ssh"})
DEFAULT_PROTOCOLS = ("https", "ssh", "http", "git", "file")


class GitConfig(NamedTuple):
    """What the operator configures of git.

    Parameters:
        file: the one configuration file that is read; None for none.
        protocols: names of the transports that git may use.
    """

    file: Path | None = None
    protocols: tuple[str, ...] = DEFAULT_PROTOCOLS

    def settings(self) -> tuple[str, ...]:
        """Settings for every call, `name=value`."""
        allowed = (
            f"protocol.{name}.allow={'always' if name in _FOR_SUBMODULES else 'user'}"
            for name in self.protocols
            if name != "ext"
        )
        return (*SETTINGS, *allowed)

    def environment(self) -> dict[str, str]:
        """Variables for every call."""
        return {
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": str(self.file or "/dev/null"),
            "GIT_ATTR_NOSYSTEM": "1",
            # An object is what its id says: no `refs/replace/` stands in for it.
            "GIT_NO_REPLACE_OBJECTS": "1",
        }

    def arguments(self, *arguments: str) -> list[str]:
        """A whole git command line."""
        return ["git", *(word for setting in self.settings() for word in ("-c", setting)), *arguments]

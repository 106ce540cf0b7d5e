"""How much is tried: some in every test run, everything with `make chaos`."""

from __future__ import annotations

import os


def is_thorough() -> bool:
    """Whether there is time for everything."""
    return os.environ.get("PIPESEAL_FAULTS") == "all"

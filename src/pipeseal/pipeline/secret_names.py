"""Which variables hold secrets, by their names: hidden in logs, in uploads and on public pages."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import translate
from functools import lru_cache

# As the stock agent has them.
DEFAULT_PATTERNS = (
    "*_PASSWORD",
    "*_SECRET",
    "*_TOKEN",
    "*_PRIVATE_KEY",
    "*_SSH_KEY",
    "*_ACCESS_KEY",
    "*_SECRET_KEY",
    "*_CONNECTION_STRING",
    "*_API_KEY",
)


def is_secret_name(name: str, patterns: Iterable[str] = DEFAULT_PATTERNS) -> bool:
    """Whether a variable's name matches one of the patterns (`*` and `?`)."""
    return _one_pattern(tuple(patterns)).match(name) is not None


@lru_cache(maxsize=64)
def _one_pattern(patterns: tuple[str, ...]) -> re.Pattern[str]:
    # Every job asks for each of its variables, with the same few patterns.
    return re.compile("|".join(map(translate, patterns)) if patterns else r"(?!)")

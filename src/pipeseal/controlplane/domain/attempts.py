"""How often somebody may guess: failed attempts for each key within a window of time, in memory."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from dataclasses import dataclass, field

from pipeseal.errors import VerificationError

MAX_KEYS = 10_000


class Attempts:
    """Counts failures, and says when there were too many.

    Parameters:
        limit: so many failures of one key within the window are allowed.
        window_seconds: after so long a failure is forgotten.
    """

    def __init__(self, limit: int, window_seconds: float) -> None:
        self._limit = limit
        self._window = window_seconds
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()

    def check(self, key: str, now: float) -> None:
        """Nothing, while the key may try.

        Raises:
            VerificationError: `access.slow_down`, with the seconds to wait in its evidence.
        """
        failures = self._failures.get(key)
        if failures is None:
            return
        while failures and failures[0] <= now - self._window:
            failures.popleft()
        if len(failures) >= self._limit:
            wait = int(failures[0] + self._window - now) + 1
            raise VerificationError(
                "access.slow_down",
                f"too many failed attempts; try again in {max(1, wait // 60)} minutes",
                evidence={"retry-after": str(wait)},
            )

    def note_failure(self, key: str, now: float) -> None:
        """One more; of many keys the oldest are forgotten, so that nobody fills the memory."""
        self._failures.setdefault(key, deque(maxlen=self._limit)).append(now)
        self._failures.move_to_end(key)
        while len(self._failures) > MAX_KEYS:
            self._failures.popitem(last=False)

    def forget(self, key: str) -> None:
        """The key succeeded."""
        self._failures.pop(key, None)


@dataclass(slots=True)
class SignIns:
    """What keeps guessing slow: failures count by account and by caller, and slow digests are made two at a time."""

    by_email: Attempts = field(default_factory=lambda: Attempts(10, 900))
    by_caller: Attempts = field(default_factory=lambda: Attempts(50, 900))
    lanes: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(2))

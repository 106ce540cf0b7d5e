"""Clocks that jump, and clocks that are in a hurry."""

from __future__ import annotations

import time


class JumpingClock:
    """The computer's clock, until it is put forward or back.

    Parameters:
        speed: how many of its seconds go by in one real second.
    """

    def __init__(self, speed: float = 1.0) -> None:
        self._speed = speed
        self._began = time.time()
        self._offset = 0.0

    def now(self) -> float:
        return self._began + (time.time() - self._began) * self._speed + self._offset

    def jump(self, seconds: float) -> None:
        """Put it forward, or back."""
        self._offset += seconds

"""The computer's clock is put forward or back: what waits for a length of time goes on waiting for that length.

Whatever this process alone remembers is measured by a steady clock, which nobody can put. Deadlines of jobs outlive
the process, so the database keeps them as times of day; when the clock jumps, they are moved along with it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from pipeseal.controlplane.store import jobs as job_store

if TYPE_CHECKING:
    from pipeseal.controlplane.services.plane import ControlPlane

# Less is the clock being set right little by little, or a thread that had to wait.
_LEAST_SECONDS = 2.0
_log = logging.getLogger("pipeseal.server")


class ClockJumps:
    """Notices jumps of the clock.

    Parameters:
        plane: whose clock it is.
    """

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane
        self._ahead = self._measure()

    def _measure(self) -> float:
        return self._plane.clock.now() - self._plane.steady()

    def pending(self) -> float:
        """By how many seconds the clock was put forward since the deadlines were last moved; 0 for next to nothing.

        Servers that share a database cannot each move what is in it; their clocks are held together by others.
        """
        jump = self._measure() - self._ahead
        return 0.0 if self._plane.database.is_shared or abs(jump) < _LEAST_SECONDS else jump

    async def follow(self) -> None:
        """Move the deadlines if there was a jump since the last call. Until then `plane.now` says the former time.

        Raises:
            Unavailable: `server.store`; the next call tries again.
        """
        jump = self.pending()
        if not jump:
            self._ahead = self._measure()
            return
        await self._plane.database.write(lambda tx: job_store.move_deadlines(tx, int(jump * 1_000_000)))
        self._ahead += jump
        _log.warning("the computer's clock was put %s by %.0f s", "forward" if jump > 0 else "back", abs(jump))

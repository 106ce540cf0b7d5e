"""Orders of the server in the agent's log: each is told, until there are so many that they only fill it.

Pausing, resuming and cancelling are the server's right, and cost it nothing. Every order is followed; past a number
of them in a while one alarm takes the place of all further lines, until the server has calmed down.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable

from pipeseal.agent.agentlog import AgentLog

MOST = 12
WHILE_SECONDS = 600.0


class Orders:
    """What the server has ordered one worker lately.

    Parameters:
        log: the worker's log.
        now: seconds of a clock that only goes forward.
    """

    def __init__(self, log: AgentLog, now: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._now = now
        self._recent: deque[tuple[float, str]] = deque(maxlen=10_000)
        self._untold = 0
        self._alarmed = False

    def note(self, kind: str, text: str = "", **facts: str) -> None:
        """An order came, and is followed.

        Parameters:
            kind: what was ordered, in a word: `pause`.
            text: the line that tells it; empty where another line does.
            facts: as for `AgentLog.info`.
        """
        now = self._now()
        while self._recent and self._recent[0][0] <= now - WHILE_SECONDS:
            self._recent.popleft()
        if self._alarmed and len(self._recent) <= MOST // 2:
            self._log.info(f"The server has calmed down; {self._untold} orders were followed and not told here")
            self._alarmed, self._untold = False, 0
        self._recent.append((now, kind))
        if self._alarmed:
            self._untold += 1
        elif len(self._recent) > MOST:
            counted = ", ".join(f"{count} times {kind}" for kind, count in sorted(_count(self._recent).items()))
            self._log.error(
                f"The server gives this agent order after order: {counted} in {WHILE_SECONDS / 60:.0f} minutes. They "
                "are followed, and cost only work; further ones are not told here until there are fewer. Look who "
                "gives them"
            )
            self._alarmed, self._untold = True, 1
        elif text:
            self._log.info(text, **facts)


def _count(recent: deque[tuple[float, str]]) -> Counter[str]:
    return Counter(kind for _, kind in recent)

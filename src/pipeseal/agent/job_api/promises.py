"""Promised failures: however often a job promises one, the control plane hears of it once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NamedTuple

from pipeseal.errors import PipesealError, Unavailable

Declare = Callable[[int, str], None]


class Promised(NamedTuple):
    """What came of a promise.

    Parameters:
        by_this_call: this call told the control plane; otherwise it shares what came of an earlier one.
        accepted: the control plane has it.
        status: HTTP status of a refusal; 0 when there was no answer, or it was accepted.
        error: why it was not accepted; empty otherwise.
    """

    by_this_call: bool
    accepted: bool
    status: int = 0
    error: str = ""

    @property
    def is_final(self) -> bool:
        """Whether asking again would bring the same answer."""
        return self.accepted or (400 <= self.status < 500 and self.status != 429)


class _Asked:
    """One exit status: being declared, or declared."""

    def __init__(self) -> None:
        self.known = threading.Event()
        self.outcome = Promised(True, False, error="not declared")


class PromiseBook:
    """Remembers what was promised.

    Concurrent calls for one exit status share a single declaration. Acceptance and final refusals are remembered;
    after any other failure the next call tries again. The first call's reason is the one that counts.

    Parameters:
        declare: tells the control plane; raises `PipesealError` when it does not accept.
    """

    def __init__(self, declare: Declare) -> None:
        self._declare = declare
        self._lock = threading.Lock()
        self._asked: dict[int, _Asked] = {}

    def promise(self, exit_status: int, reason: str) -> Promised:
        """Promise that the job ends with at least `exit_status`, which is above zero."""
        with self._lock:
            asked = self._asked.get(exit_status)
            is_first = asked is None
            if asked is None:
                asked = self._asked[exit_status] = _Asked()
        if not is_first:
            asked.known.wait()
            return asked.outcome._replace(by_this_call=False)
        try:
            self._declare(exit_status, reason)
            asked.outcome = Promised(True, True)
        except PipesealError as error:
            status = error.status if isinstance(error, Unavailable) else None
            asked.outcome = Promised(True, False, status or 0, error.message)
        finally:
            if not asked.outcome.is_final:
                with self._lock:
                    self._asked.pop(exit_status, None)
            asked.known.set()
        return asked.outcome

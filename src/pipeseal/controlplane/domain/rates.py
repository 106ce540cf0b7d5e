"""How often somebody may ask: a bucket of requests for each, which fills again at an even rate."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from pipeseal.errors import VerificationError

MAX_KEYS: Final = 10_000


class Rate:
    """A minute's worth of requests at once, and as many again in each minute after that.

    Parameters:
        per_minute: so many; 0 for any number.
    """

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        # How many are left, and when that was; whoever asked longest ago comes first.
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str, now: float) -> None:
        """Take one request out of the bucket of `key`.

        Parameters:
            now: in seconds, of a clock that nobody puts back.

        Raises:
            VerificationError: `access.too_often`, with the seconds to wait in its evidence.
        """
        if not self._per_minute:
            return
        each = self._per_minute / 60
        left, then = self._left.get(key, (float(self._per_minute), now))
        left = min(float(self._per_minute), left + (now - then) * each)
        if left < 1:
            wait = int((1 - left) / each) + 1
            raise VerificationError(
                "access.too_often",
                f"more than {self._per_minute} requests in a minute; go on in {wait} seconds",
                help="ask less often: builds and logs can be waited for with `wait`, or followed as events",
                evidence={"retry-after": str(wait)},
            )
        self._left[key] = (left - 1, now)
        self._left.move_to_end(key)
        # Whoever is forgotten begins with a full bucket: by then it is all but full anyway.
        while len(self._left) > MAX_KEYS:
            self._left.popitem(last=False)

"""Counting starts, whatever keeps the rows: each is claimed before anything of its job happens, or the job refused.

A row that is there is a start that happened, whether the agent lived to see its job's end or not. So an agent that is
killed between its claim and the first command has used up an attempt: the other way round a job could start unseen.
"""

from __future__ import annotations

import secrets
import threading
import time
from abc import ABC, abstractmethod
from typing import Final, NamedTuple

from pipeseal.clock import render_timestamp
from pipeseal.errors import Unavailable, VerificationError
from pipeseal.policy.starts import StartRequest

# How long a ledger that does not answer may take to come back before its job is refused.
PATIENCE_SECONDS: Final = 15.0
_PAUSE_SECONDS: Final = 0.25
# Others that are quicker, one after the other, each using up an attempt: nobody loses as often as this.
_MAX_RACES: Final = 10_000
ANY_NUMBER: Final = 2**31 - 1
# For ever, as a number: the last second that both databases hold.
FOR_EVER: Final = 2**62
# Rows that nobody needs are dropped this often, and so many at a time that no job waits for it.
DROP_EVERY_SECONDS: Final = 3600.0
DROP_AT_ONCE: Final = 5000


class NewStart(NamedTuple):
    """A row that somebody would like to add.

    Parameters:
        place: what is counted, see `StartRequest`.
        job_id: the job.
        agent: who asks.
        started_at: seconds since 1970.
        keep_until: seconds since 1970; `FOR_EVER` for no end.
        most: how many rows there may be with this place.
        nonce: tells this attempt to add it from every other one.
    """

    place: str
    job_id: str
    agent: str
    started_at: float
    keep_until: int
    most: int
    nonce: str


class Start(NamedTuple):
    """A row: one start of one job.

    Parameters:
        number: of the row; later rows have larger ones.
        attempt: from 1, in its place.
        job_id, agent, started_at, nonce: see `NewStart`.
    """

    number: int
    attempt: int
    job_id: str
    agent: str
    started_at: float
    nonce: str


class Seen(NamedTuple):
    """What a ledger holds of a place and a job.

    Parameters:
        starts: those of the place, the oldest first.
        same_job: the start of the job with this id, in whatever place; None without one.
        dropped_until: rows that had to be kept until then, or less long, may be gone; seconds since 1970.
    """

    starts: tuple[Start, ...]
    same_job: Start | None
    dropped_until: int


class Ledger(ABC):
    """A ledger. Its methods may be called from any thread.

    Parameters:
        where: what it is called in messages; never holds a password.
        patience_seconds: how long it may be out of reach before a job is refused.

    Attributes:
        is_new: whether this agent made it just now: then it does not know what was started before.
    """

    is_new = False

    def __init__(self, where: str, *, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self.where = where
        self._patience = patience_seconds
        self._lock = threading.Lock()
        self._last_number = 0
        self._drop_at = 0.0

    @abstractmethod
    def insert(self, row: NewStart) -> Start | None:
        """Add a row if its place has fewer than `most`, its job has none, and nothing that it needs was dropped.

        All of that at once: of two that ask together, one is first. When it returns, the row outlives a power cut.

        Raises:
            Unavailable: `ledger.unavailable`: it may or may not be there.
            VerificationError: `ledger.damaged`.
        """

    @abstractmethod
    def withdraw(self, start: Start) -> None:
        """Take back a claim of this agent's own, of a job of which nothing started. Raises as `insert`."""

    @abstractmethod
    def look(self, place: str, job_id: str) -> Seen:
        """What is there of a place and a job. Raises as `insert`."""

    @abstractmethod
    def drop(self, until: int, limit: int) -> int:
        """Forget rows that had to be kept until then or less long, and remember that; how many. Raises as `insert`.

        Parameters:
            until: seconds since 1970.
            limit: how many at most.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of the file or the connection."""

    def claim(self, request: StartRequest, *, job_id: str, agent: str, now: float) -> Start:
        """Claim one more start; when this returns, it is written down for good.

        1. The row is added if it may be. It was not, when an earlier try to add it that seemed to fail did not.
        2. Else what is there says why: the job was started before, an exclusive step or all attempts are used up, or
           the ledger has dropped what it would have to know.
        3. A ledger that does not answer is asked again for a while, and then the job is refused.
        4. A ledger that is older than it was (a backup that somebody put back) is not believed.

        Does not check: that the job is proven; who else writes to the ledger.

        Parameters:
            request: what the policy says of the job.
            job_id: the job that the agent accepted.
            agent: its name, for whoever is refused later.
            now: seconds since 1970.

        Raises:
            VerificationError: `ledger.started`, `ledger.exclusive`, `ledger.attempts`, `ledger.forgotten`,
                `ledger.damaged`.
            Unavailable: `ledger.unavailable`.
        """
        row = NewStart(
            place=request.place,
            job_id=job_id,
            agent=agent,
            started_at=now,
            keep_until=FOR_EVER if request.keep_until is None else request.keep_until,
            most=ANY_NUMBER if request.most is None else request.most,
            nonce=secrets.token_hex(16),
        )
        ends = time.monotonic() + self._patience
        for _ in range(_MAX_RACES):
            try:
                with self._lock:
                    # 1.
                    start = self.insert(row) or self._why_not(request, row)
                    if start is not None:
                        # 4.
                        self._check_newer(start)
                        self._drop_sometimes(now)
                        return start
            except Unavailable:
                # 3.
                if time.monotonic() + _PAUSE_SECONDS > ends:
                    raise
                time.sleep(_PAUSE_SECONDS)
        raise self.unavailable("other agents were always quicker")

    def _why_not(self, request: StartRequest, row: NewStart) -> Start | None:
        """The start, if it was written down all the same; None if another one came first and there is room again."""
        seen = self.look(row.place, row.job_id)
        same = seen.same_job
        if same is not None:
            if same.nonce == row.nonce:
                return same
            raise _refusal("ledger.started", f"the job {row.job_id} was started already", request, [same], self.where)
        # 2.
        if seen.dropped_until > row.keep_until:
            raise VerificationError(
                "ledger.forgotten",
                "the ledger has already dropped starts of steps that were good for as long as this one, so it cannot "
                "say that this one did not run before",
                help="set the clocks of the agents that share the ledger; or start a new build",
                evidence={"dropped until": _time(seen.dropped_until), "ledger": self.where},
            )
        if len(seen.starts) >= row.most:
            if request.exclusive:
                words = "the step is exclusive and may start once, and it was started already"
                raise _refusal("ledger.exclusive", words, request, seen.starts, self.where)
            times = "once" if row.most == 1 else f"{row.most} times"
            words = f"the job may start {times}, and it did"
            raise _refusal("ledger.attempts", words, request, seen.starts, self.where)
        return None

    def _check_newer(self, start: Start) -> None:
        if start.number <= self._last_number:
            raise self.damaged("it is older than it was: an earlier copy was put in its place")
        self._last_number = start.number

    def _drop_sometimes(self, now: float) -> None:
        if time.monotonic() < self._drop_at:
            return
        try:
            dropped = self.drop(int(now), DROP_AT_ONCE)
        except Unavailable:
            return  # another time: a ledger that is too large is still right
        self._drop_at = time.monotonic() + (DROP_EVERY_SECONDS if dropped < DROP_AT_ONCE else 0.0)

    def unavailable(self, why: str) -> Unavailable:
        """The error that it does not answer."""
        return Unavailable(
            "ledger.unavailable",
            f"the ledger {self.where} cannot be used, so nothing says how often the job was started: {why}",
            help="see that the file or the database can be reached and written, then retry the job",
        )

    def damaged(self, why: str) -> VerificationError:
        """The error that what it says cannot be believed."""
        return VerificationError(
            "ledger.damaged",
            f"the ledger {self.where} cannot be believed: {why}",
            help="find out what happened to it; then move it away, and restart the agents with a new one",
        )


def _refusal(
    code: str, words: str, request: StartRequest, starts: list[Start] | tuple[Start, ...], where: str
) -> VerificationError:
    last = starts[-1]
    return VerificationError(
        code,
        f"{words}: {_time(last.started_at)} by {last.agent} as job {last.job_id}",
        evidence={
            "what": request.subject,
            "started": _time(last.started_at),
            "by agent": last.agent,
            "as job": last.job_id,
            "starts": f"{len(starts)} of {'any number' if request.most is None else request.most}",
            "ledger": where,
        },
    )


def _time(seconds: float) -> str:
    try:
        return render_timestamp(seconds)
    except (ValueError, OverflowError, OSError):  # no calendar has it
        return f"second {seconds}"

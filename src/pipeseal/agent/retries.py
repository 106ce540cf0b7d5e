"""How often and how patiently each call of the Agent API is tried again: one table, as the stock agent does it."""

from __future__ import annotations

import random
from collections.abc import Callable
from enum import Enum
from typing import NamedTuple, TypeVar

from pipeseal.errors import PipesealError, Unavailable

Result = TypeVar("Result")

# However long a server asks us to wait, we do not wait longer.
MAX_RETRY_AFTER_SECONDS = 60.0


class After(Enum):
    """After which failures a call is tried again."""

    RETRYABLE = "no connection, 429, 5xx"
    NETWORK = "no connection alone"
    NOT_CLIENT_ERROR = "no connection, 5xx"
    LOCKED = "no connection, 423, 429, 5xx"
    ANYTHING = "any failure to get a 2xx"


class Retry(NamedTuple):
    """A way to try again.

    Parameters:
        attempts: how many times in all.
        delay: seconds to wait after attempt number n (from 0).
        jitter_seconds: up to this much is added to each delay.
        after: which failures are worth another attempt.
    """

    attempts: int
    delay: Callable[[int], float]
    jitter_seconds: float = 0.0
    after: After = After.RETRYABLE


def constant(seconds: float) -> Callable[[int], float]:
    """Always the same delay."""
    return lambda _attempt: seconds


def doubling() -> Callable[[int], float]:
    """1, 2, 4, ... seconds."""
    return lambda attempt: float(2**attempt)


def growing(base_milliseconds: int, cap_seconds: float = 3600.0) -> Callable[[int], float]:
    """Milliseconds to the power of 1 + n/16: for 2,000 it is 2.0, 3.2, 5.2, 8.3, ... seconds."""
    return lambda attempt: min(base_milliseconds ** (1 + attempt / 16) / 1000, cap_seconds)


RETRIES: dict[str, Retry] = {
    "register": Retry(30, constant(10)),
    "connect": Retry(10, constant(5), after=After.ANYTHING),
    "disconnect": Retry(4, constant(1), after=After.ANYTHING),
    "ping": Retry(1, constant(0)),
    "heartbeat": Retry(10, constant(5)),
    "acquire_job": Retry(7, doubling(), jitter_seconds=5, after=After.LOCKED),
    "accept_job": Retry(30, constant(5), after=After.NETWORK),
    "start_job": Retry(7, doubling()),
    "job_state": Retry(1, constant(0)),
    "finish_job": Retry(12, growing(2000), jitter_seconds=1),
    "append_log": Retry(12, growing(2000), jitter_seconds=1, after=After.NOT_CLIENT_ERROR),
    "header_times": Retry(10, constant(5)),
    "upload_pipeline": Retry(60, constant(5)),
    "upload_state": Retry(60, constant(5)),
    "set_meta_data": Retry(10, growing(2000)),
    "get_meta_data": Retry(10, constant(5)),
    "has_meta_data": Retry(10, constant(5)),
    "list_meta_data": Retry(10, constant(5)),
}


def is_worth_retrying(error: PipesealError, after: After) -> bool:
    """Whether another attempt may help."""
    if not isinstance(error, Unavailable):
        return after is After.ANYTHING
    status = error.status
    match after:
        case After.ANYTHING:
            return True
        case After.NETWORK:
            return status is None
        case After.NOT_CLIENT_ERROR:
            return status is None or status >= 500
        case After.LOCKED:
            return status is None or status in {423, 429} or status >= 500
        case After.RETRYABLE:
            return status is None or status == 429 or status >= 500


def with_retries(
    retry: Retry,
    call: Callable[[int], Result],
    *,
    wait: Callable[[float], bool],
    on_failure: Callable[[PipesealError, float], None] | None = None,
    retry_after: Callable[[PipesealError], float | None] = lambda _error: None,
) -> Result:
    """Make a call, again and again if need be.

    Parameters:
        retry: a row of the table.
        call: gets the attempt number, from 0.
        wait: sleeps for so many seconds; True means stop trying now.
        on_failure: told of each failure that will be tried again, and the delay before that.
        retry_after: what the server asked for, in seconds, if this call honours it.

    Raises:
        PipesealError: the last failure.
    """
    for attempt in range(retry.attempts):
        try:
            return call(attempt)
        except PipesealError as error:
            if attempt + 1 == retry.attempts or not is_worth_retrying(error, retry.after):
                raise
            asked = retry_after(error)
            delay = retry.delay(attempt) + random.uniform(0, retry.jitter_seconds)  # noqa: S311  (no secret here)
            if asked is not None:
                delay = min(asked, MAX_RETRY_AFTER_SECONDS)
            if on_failure is not None:
                on_failure(error, delay)
            if wait(delay):
                raise
    raise AssertionError("a retry has at least one attempt")

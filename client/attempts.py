"""When a failed call is made again: never past its time, never a call that must not repeat.

ClientError --Attempts.pause_s--> seconds to wait, or the error itself
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from client.errors import ClientError, Deadline, Overloaded, Unavailable

MAX_TRIES = 3
_FIRST_PAUSE_S = 0.05
Clock = Callable[[], float]


class Attempts:
    """One call's tries.

    Args:
        repeatable: whether a second arrival does no harm.
        timeout_s: what all tries and pauses together may take.
        within_s: no try begins later than this; the answer to one begun may still come.
        clock: seconds, for the tests.
    """

    def __init__(
        self,
        *,
        repeatable: bool,
        timeout_s: float,
        within_s: float,
        clock: Clock = time.monotonic,
    ) -> None:
        self._tries_left = MAX_TRIES if repeatable else 1
        self._timeout_s = timeout_s
        self._clock = clock
        self._end = clock() + timeout_s
        self._last_start = clock() + within_s
        self._pause_s = _FIRST_PAUSE_S

    def left_s(self) -> float:
        """Time left for the next try.

        Raises:
            Deadline: none.
        """
        left_s = self._end - self._clock()
        if left_s <= 0:
            raise Deadline(f"no answer within {self._timeout_s:g} s")
        return left_s

    def pause_s(self, error: ClientError) -> float:
        """How long to wait before trying again.

        Raises:
            ClientError: the one given, when another try is not allowed, useless or too late.
        """
        self._tries_left -= 1
        if self._tries_left <= 0 or not isinstance(error, (Overloaded, Unavailable)):
            raise error
        # Full jitter, so that callers refused together do not come back together.
        pause_s = random.uniform(0, self._pause_s) + (error.retry_after_s or 0.0)
        self._pause_s *= 2
        if self._clock() + pause_s >= self._last_start:
            raise error
        return pause_s

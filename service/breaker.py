"""A breaker: stops calling what has stopped answering, and tries again with a single call.

closed --half of the last calls bad--> open --rest_s--> half open --probe good--> closed
                                        ^                   └-----probe bad----> open
with breaker: call()    StoreUnavailable at once while open or while the probe is under way

Calls that are found late at one moment count as one: it may be this process that stood still, and
then all that were under way seem late.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

from service.errors import StoreUnavailable

_TOGETHER_S = 0.01  # for such a moment, or a quarter of slow_s
State = Literal["closed", "open", "half_open"]


class Breaker:
    """Event loop only. A cancelled call counts neither way: its caller left, nothing is proven.

    Args:
        slow_s: a call that takes longer is as bad as one that fails.
        rest_s: how long an open breaker leaves the store alone.
        window: how many of the last calls are judged; half of them bad opens it.
    """

    def __init__(
        self,
        slow_s: float,
        rest_s: float = 1.0,
        window: int = 20,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._slow_s = slow_s
        self._rest_s = rest_s
        self._clock = clock
        self._tolerated = window // 2
        self._bad: deque[bool] = deque(maxlen=window)
        self._opened_at: float | None = None
        self._probing = False
        self._late_at = -math.inf

    @property
    def state(self) -> State:
        if self._opened_at is None:
            return "closed"
        rested = self._clock() - self._opened_at >= self._rest_s
        return "half_open" if rested else "open"

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Judges the call inside: bad when it raises StoreUnavailable or is slow.

        Raises:
            StoreUnavailable: the call must not be made now.
        """
        probe = self._admit()
        start = self._clock()
        try:
            yield
        except StoreUnavailable:
            self._judge(bad=True, probe=probe, start=start)
            raise
        else:
            self._judge(bad=self._late(start), probe=probe, start=start)
        finally:
            if probe:
                self._probing = False

    def _admit(self) -> bool:
        """Whether the call is the probe; StoreUnavailable if it must not be made."""
        state = self.state
        if state == "closed":
            return False
        if state == "open" or self._probing:
            raise StoreUnavailable("the feature store failed repeatedly and is left alone a moment")
        self._probing = True
        return True

    def _late(self, start: float) -> bool:
        return self._clock() - start > self._slow_s

    def _judge(self, *, bad: bool, probe: bool, start: float) -> None:
        if bad and not probe and self._late(start):
            if self._clock() - self._late_at < min(_TOGETHER_S, self._slow_s / 4):
                return
            self._late_at = self._clock()
        if probe:
            self._opened_at = self._clock() if bad else None
            self._bad.clear()
        elif self._opened_at is None:  # calls that began before it opened have no say any more
            self._bad.append(bad)
            if sum(self._bad) >= self._tolerated:
                self._opened_at = self._clock()

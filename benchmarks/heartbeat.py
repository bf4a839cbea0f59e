"""How long a core ran nobody: what the machine took, and no ordinary program can be blamed for.

    a process that goes before all others on one core --longest--> seconds of its longest absence

On a shared machine a core is taken away for tenths of a second now and then. A service looks slow
then, and is not. Going before all others needs root, or CAP_SYS_NICE; without it nothing is told.
"""

from __future__ import annotations

import os
import time
from multiprocessing.connection import Connection

from benchmarks.asked_process import AskedProcess, orders_from

_EVERY_S = 0.005


class Heartbeat(AskedProcess):
    """Ended with the block.

    Args:
        core: by its number.
    """

    def __init__(self, core: int) -> None:
        super().__init__(_beat, core)

    def longest(self) -> float | None:
        """Since the last time; None where it may not go before others."""
        found: float | None = self.ask()
        return found


def _beat(orders: Connection, core: int) -> None:
    os.sched_setaffinity(0, {core})
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        for _ in orders_from(orders):
            orders.send(None)
        return
    longest, last = 0.0, time.perf_counter()
    while True:
        asked = orders.poll(_EVERY_S)
        now = time.perf_counter()
        longest, last = max(longest, now - last - _EVERY_S), now
        if asked:
            if orders.recv() is None:
                return
            orders.send(longest)
            longest = 0.0

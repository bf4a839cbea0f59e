"""Who waits for a graph run: nobody for long.

    short run, no second thread to gain --> in place, one after another
    any other                           --> a thread; the event loop goes on meanwhile

A hand-over to a thread and back costs more than scoring a hundred candidates does. With one engine
thread there is nothing to overlap either, so what should be done within _SHORT_S is done at once.
Between two runs in place the event loop has its turn: a probe waits for one run, not for a queue.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from service.engine import Cancellation
from service.threads import give_way

_SHORT_S = 0.005
_MEMORY = 0.25  # weight of the newest run that was timed
_TIMED = 8  # one of so many: the clock is a call to the system
Answer = TypeVar("Answer")


class EnginePool:
    """Runs the engine for the event loop.

    Args:
        threads: runs at once.
        nice: added to the threads' own priority: above 0 the others go first, and nothing is run
            in place.
        clock: in seconds, of the thread's own work: waiting for a core is no reason to hand over.
    """

    def __init__(
        self, threads: int, nice: int = 0, clock: Callable[[], float] = time.thread_time
    ) -> None:
        self._clock = clock
        self.executor = ThreadPoolExecutor(
            threads, thread_name_prefix="engine", initializer=give_way, initargs=(nice,)
        )
        self._in_place = _Turns() if threads == 1 and nice == 0 else None
        self._s_per_work = 0.0  # 0: nothing has run yet
        self._runs = 0

    async def run(self, call: Callable[[Cancellation], Answer], work: int) -> Answer:
        """The answer of a call; a caller that goes away stops it, unless it runs in place.

        Args:
            call: blocks; ends early if it is cancelled.
            work: how much there is to do, in a unit that is the same for all calls.
        """
        cancellation = Cancellation()
        if self._in_place is not None and 0.0 < work * self._s_per_work <= _SHORT_S:
            async with self._in_place:
                return self._timed(call, work, cancellation)
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(
                self.executor, partial(self._timed, call, work, cancellation)
            )
        except asyncio.CancelledError:
            cancellation.cancel()
            raise

    def _timed(
        self, call: Callable[[Cancellation], Answer], work: int, cancellation: Cancellation
    ) -> Answer:
        self._runs += 1
        if self._runs % _TIMED and self._s_per_work:
            return call(cancellation)
        began = self._clock()
        answer = call(cancellation)
        s_per_work = (self._clock() - began) / work
        known = self._s_per_work
        self._s_per_work = known + (s_per_work - known) * _MEMORY if known else s_per_work
        return answer

    def close(self) -> None:
        self.executor.shutdown(wait=True, cancel_futures=True)


class _Turns:
    """One holder per round of the event loop, in the order of arrival."""

    def __init__(self) -> None:
        self._taken = False
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def __aenter__(self) -> None:
        if not self._taken:
            self._taken = True
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._pass_on()  # its turn came as it left
            raise

    async def __aexit__(self, *_: object) -> None:
        asyncio.get_running_loop().call_soon(self._pass_on)

    def _pass_on(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._taken = False

"""Who waits for a graph run: nobody for long.

    short run, no second thread to gain --> in place, after all that waits, without a pause
    any other                           --> a thread; the event loop goes on meanwhile
    its time is over                    --> TimeoutError; what has not begun never will

A hand-over to a thread and back costs more than scoring a hundred candidates does. With one engine
thread there is nothing to overlap either, so what should be done within _SHORT_S is done at once.

A run leaves nothing of the interpreter in the core's cache, and the interpreter nothing of the
model: a run after another is quicker than a run after a request was read. So requests are read
together and run together, for _SHORT_S at most; then the event loop has its turn, and a probe waits
no longer than that. Who is a future goes on after all of them; who is told at once answers between.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol, TypeVar

from service.engine import Cancellation
from service.threads import give_way

_SHORT_S = 0.005
_MEMORY = 0.25  # weight of the newest run that was timed
_TIMED = 8  # one of so many: the clock is a call to the system
Answer = TypeVar("Answer")
Given_contra = TypeVar("Given_contra", contravariant=True)


class Asker(Protocol[Given_contra]):
    """Who waits for a run: a future, or what takes the part of one."""

    def done(self) -> bool:
        """Whether it waits no more."""

    def set_result(self, result: Given_contra, /) -> None: ...
    def set_exception(self, exception: Exception, /) -> None: ...


_Waiting = tuple[Callable[[], Any], Asker[Any], float]


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
        self.runs_in_place = threads == 1 and nice == 0
        self._waiting: deque[_Waiting] = deque()
        self._s_per_work = 0.0  # 0: nothing has run yet
        self._runs = 0

    async def run(
        self, call: Callable[[Cancellation], Answer], work: int, until: float = math.inf
    ) -> Answer:
        """The answer of a call; a caller that goes away stops it, unless it runs in place.

        Args:
            call: blocks; ends early if it is cancelled.
            work: how much there is to do, in a unit that is the same for all calls.
            until: on the loop's clock, the moment from which nobody wants the answer.

        Raises:
            TimeoutError: see the module.
        """
        run = partial(self._timed, call, work, cancellation := Cancellation())
        loop = asyncio.get_running_loop()
        if self.in_place(work):
            answer: asyncio.Future[Answer] = loop.create_future()
            self._queue(run, until, answer)
            return await answer
        async with asyncio.timeout_at(None if until == math.inf else until):
            try:
                return await loop.run_in_executor(self.executor, run)
            except asyncio.CancelledError:
                cancellation.cancel()
                raise

    def in_place(self, work: int) -> bool:
        """Whether so much is run without a thread."""
        return self.runs_in_place and 0.0 < work * self._s_per_work <= _SHORT_S

    def run_soon(
        self, call: Callable[[Cancellation], Answer], work: int, until: float, asker: Asker[Answer]
    ) -> None:
        """Run in place what may be, after all that waits already, and tell the asker."""
        self._queue(partial(self._timed, call, work, Cancellation()), until, asker)

    def _queue(self, run: Callable[[], Answer], until: float, asker: Asker[Answer]) -> None:
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._run_waiting)
        self._waiting.append((run, asker, until))

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

    def _run_waiting(self) -> None:
        """Whatever waits, one after another; the rest in the loop's next round."""
        end = time.perf_counter() + _SHORT_S
        while self._waiting and time.perf_counter() < end:
            run, asker, until = self._waiting.popleft()
            if asker.done():
                continue  # its caller left
            try:
                if time.monotonic() > until:
                    raise TimeoutError
                asker.set_result(run())
            except Exception as err:  # whoever waits is told
                asker.set_exception(err)
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._run_waiting)

    def close(self) -> None:
        self.executor.shutdown(wait=True, cancel_futures=True)

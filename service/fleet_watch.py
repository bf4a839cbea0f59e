"""One thread that looks at all workers for whoever waits for them, however many wait.

    until(judge) --each look at the task store--> judge(what was seen) --> an answer, or look again
                                                        └--> raises: so does until

A thread for each wait would, with a few grafts at once, take all that there are from those who must
tell how far this worker has come, for whom others wait.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from service.errors import StoreUnavailable
from service.task_store import Acknowledgement
from service.threads import ASIDE_NICE, give_way

_LOOK_EVERY_S = 0.005
Workers = tuple[Acknowledgement, ...]
Seen = Workers | StoreUnavailable
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class _Waiter:
    judge: Callable[[Seen], Any]
    answer: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop

    def look(self, seen: Seen) -> bool:
        """Whether the wait is over."""
        found, failure = None, None
        try:
            found = self.judge(seen)
        except Exception as err:  # whoever waits is told
            failure = err
        over = found is not None or failure is not None
        if over:
            with suppress(RuntimeError):  # the loop has ended
                self.loop.call_soon_threadsafe(self._tell, found, failure)
        return over

    def _tell(self, found: object, failure: Exception | None) -> None:
        if self.answer.done():
            return  # whoever waited has left
        if failure is None:
            self.answer.set_result(found)
        else:
            self.answer.set_exception(failure)


class FleetWatch:
    """Looks while somebody waits; the thread ends with the last of them.

    Args:
        look: all workers that are alive, or StoreUnavailable. Blocks.
    """

    def __init__(self, look: Callable[[], Workers]) -> None:
        self._look = look
        self._lock = threading.Lock()
        self._waiting: list[_Waiter] = []
        self._thread: threading.Thread | None = None

    async def until(self, judge: Callable[[Seen], Answer | None]) -> Answer:
        """The judge's first answer that is not None; it is asked in the thread."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Answer] = loop.create_future()
        with self._lock:
            self._waiting.append(_Waiter(judge, answer, loop))
            if self._thread is None:
                # A store that hangs must not keep the process from ending.
                self._thread = threading.Thread(target=self._run, name="fleet watch", daemon=True)
                self._thread.start()
        return await answer

    def _run(self) -> None:
        give_way(ASIDE_NICE)
        while True:
            with self._lock:
                self._waiting = [one for one in self._waiting if not one.answer.done()]
                waiting = [*self._waiting]
                if not waiting:
                    self._thread = None
                    return
            seen = self._seen()
            over = [one for one in waiting if one.look(seen)]
            with self._lock:
                self._waiting = [one for one in self._waiting if one not in over]
            time.sleep(_LOOK_EVERY_S)

    def _seen(self) -> Seen:
        try:
            return self._look()
        except StoreUnavailable as err:
            return err

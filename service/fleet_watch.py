"""One thread that looks at all workers for whoever waits for them, however many wait.

    until(judge) --each look at the task store--> judge(all workers) --> an answer, or look again
                                  └──────────────────────┴--> what is raised, until raises

A thread for each wait would, with a few grafts at once, take all that there are from those who must
tell how far this worker has come, for whom others wait.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from service.news import News
from service.task_store import Acknowledgement
from service.threads import ASIDE_NICE, give_way

_LOOK_EVERY_S = 0.1  # without word that anybody told
_LINGER_S = 1.0  # the next change needs no new thread
Workers = tuple[Acknowledgement, ...]
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True, eq=False)
class _Waiter:
    judge: Callable[[Workers], Any]
    answer: Future[Any] = field(default_factory=Future)

    def look(self, seen: Future[Workers]) -> None:
        with suppress(InvalidStateError):  # whoever waited has left
            try:
                found = self.judge(seen.result())
            except Exception as err:  # whoever waits is told
                self.answer.set_exception(err)
            else:
                if found is not None:
                    self.answer.set_result(found)


class FleetWatch:
    """Looks while somebody waits; the thread ends soon after the last of them.

    Args:
        look: all workers that are alive. Blocks, and may raise.
        news: word that one of them told something.
    """

    def __init__(self, look: Callable[[], Workers], news: Callable[[], News]) -> None:
        self._look = look
        self._news = news
        self._asked = threading.Condition()
        self._waiting: list[_Waiter] = []
        self._thread: threading.Thread | None = None

    async def until(self, judge: Callable[[Workers], Answer | None]) -> Answer:
        """The judge's first answer that is not None; it is asked in the thread.

        Raises whatever the judge raises, or looking did.
        """
        waiter = _Waiter(judge)
        with self._asked:
            self._waiting.append(waiter)
            self._asked.notify()
            if self._thread is None:
                # A store that hangs must not keep the process from ending.
                self._thread = threading.Thread(target=self._run, name="fleet watch", daemon=True)
                self._thread.start()
        answer: Answer = await asyncio.wrap_future(waiter.answer)
        return answer

    def _run(self) -> None:
        give_way(ASIDE_NICE)
        with closing(self._news()) as news:
            while waiting := self._still_waiting():
                seen: Future[Workers] = Future()
                try:
                    seen.set_result(self._look())
                except Exception as err:  # it is for those who wait
                    seen.set_exception(err)
                for waiter in waiting:
                    waiter.look(seen)
                if not all(waiter.answer.done() for waiter in waiting):
                    news.wait(_LOOK_EVERY_S)

    def _still_waiting(self) -> list[_Waiter]:
        """A new list; without anybody in it, this thread is done."""
        with self._asked:
            if not self._those_left():
                self._asked.wait(_LINGER_S)
            if not self._those_left():
                self._thread = None
            return [*self._waiting]

    def _those_left(self) -> list[_Waiter]:
        self._waiting = [one for one in self._waiting if not one.answer.done()]
        return self._waiting

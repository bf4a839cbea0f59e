"""Whether this process wants traffic, and how much at once.

    starting --open--> ready --drain--> draining (not ready, but serving on)
    check, enter ├--> NotReady     still starting
                 └--> Overloaded   no place
    serving      └--> Overloaded   its deadline would pass, or its task has all it may have

A place is worth having only if its turn comes in time. turn_s is how long a turn takes, measured
between the departures of a busy service, so `in_flight * turn_s` is the wait to expect (Little's
law), and the room shrinks with whatever makes the service slower. Work that would only be thrown
away at its deadline is refused at the door, while refusing is cheap. Event loop only.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Literal

from service.errors import DeadlineExceeded, NotReady, Overloaded

State = Literal["starting", "ready", "draining"]
_RETRY_AFTER_S = 1.0
_MOST_OF_DEADLINE = 0.5  # the expected wait; the rest is for what was not expected
_LEAST_ROOM = 2  # one is worked on, one is next
_MEMORY = 0.05  # weight of the newest turn
_MISSED = 0.1  # a missed deadline lengthens the expected turn by this part


class Gate:
    """Counts requests in and out; use it as a context manager around each.

    Args:
        most: places, however fast the service is.
        deadline_s: of a request that names none.
        task_share: part of the places that requests naming one same task may hold.
        clock: in seconds.
    """

    def __init__(
        self,
        most: int,
        deadline_s: float = 1.0,
        task_share: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most = most
        self._deadline_s = deadline_s
        self._task_share = task_share
        self._clock = clock
        self._turn_since = 0.0
        self._by_task: dict[str, int] = {}
        self.turn_s = 0.0
        self.in_flight = 0
        self.state: State = "starting"

    @property
    def room(self) -> int:
        """Places at this moment."""
        wait_s = self._deadline_s * _MOST_OF_DEADLINE
        if self.turn_s * self._most <= wait_s:
            return self._most
        return max(_LEAST_ROOM, int(wait_s / self.turn_s))

    def open(self) -> None:
        if self.state == "starting":
            self.state = "ready"

    def drain(self) -> None:
        self.state = "draining"

    def check(self) -> None:
        """Refuse early what could not enter, before its body is read."""
        if self.state == "starting":
            raise NotReady("the service is still starting; try again in a moment")
        if (full := self.full()) is not None:
            raise full

    def full(self) -> Overloaded | None:
        """Why nobody more may enter, if so; raising it would cost more than a refusal may."""
        if self.in_flight < self.room:
            return None
        return Overloaded(f"{self.in_flight} requests are in flight already", _RETRY_AFTER_S)

    def __enter__(self) -> None:
        self.check()
        if self.in_flight == 0:
            self._turn_since = self._clock()
        self.in_flight += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.in_flight -= 1
        if kind is None:  # what was refused says nothing about how long serving takes
            now = self._clock()
            turn_s = now - self._turn_since
            self.turn_s += (turn_s - self.turn_s) * (_MEMORY if self.turn_s else 1.0)
            self._turn_since = now

    def serving(self, tasks: Sequence[str], deadline_s: float | None) -> Turn:
        """Around the work itself, once it is known what is asked.

        Args:
            tasks: those the request names. One that names none wants all alike.
            deadline_s: its own, if it names one.

        Raises:
            Overloaded: see the module.
        """
        self._refuse_hopeless(deadline_s)
        most = math.ceil(self.room * self._task_share)
        if hot := [task for task in tasks if self._by_task.get(task, 0) >= most]:
            raise Overloaded(
                f"{most} requests for {', '.join(hot)} are in flight already", _RETRY_AFTER_S
            )
        return Turn(self, tasks, deadline_s)

    def _begin(self, tasks: Sequence[str]) -> None:
        for task in tasks:
            self._by_task[task] = self._by_task.get(task, 0) + 1

    def _end(self, tasks: Sequence[str]) -> None:
        for task in tasks:
            self._by_task[task] -= 1
            if not self._by_task[task]:
                del self._by_task[task]

    def _miss(self, deadline_s: float | None) -> None:
        # Whoever asks for the impossible tells nothing about the service.
        if deadline_s is None or deadline_s >= self._deadline_s:
            least = self._deadline_s * _MOST_OF_DEADLINE / self._most
            self.turn_s = max(self.turn_s, least) * (1 + _MISSED)

    def _refuse_hopeless(self, deadline_s: float | None) -> None:
        wait_s = (self.in_flight - 1) * self.turn_s
        if (
            deadline_s is not None
            and self.in_flight > _LEAST_ROOM
            and wait_s > deadline_s * _MOST_OF_DEADLINE
        ):
            raise Overloaded(
                f"its turn would come in {wait_s * 1000:.0f} ms, too near to its deadline",
                _RETRY_AFTER_S,
            )


class Turn:
    """The work of one request; a with-block that raises DeadlineExceeded counts as missed."""

    __slots__ = ("_deadline_s", "_gate", "_tasks")

    def __init__(self, gate: Gate, tasks: Sequence[str], deadline_s: float | None) -> None:
        self._gate = gate
        self._tasks = tasks
        self._deadline_s = deadline_s

    def __enter__(self) -> None:
        self._gate._begin(self._tasks)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._gate._end(self._tasks)
        if isinstance(error, DeadlineExceeded):
            self._gate._miss(self._deadline_s)

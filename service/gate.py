"""Whether this process wants traffic, and how much at once.

    starting --open--> ready --drain--> draining (not ready, but serving on)
    enter ├--> NotReady     still starting
          └--> Overloaded   as much in flight as there may be

Event loop only.
"""

from __future__ import annotations

from types import TracebackType
from typing import Literal

from service.errors import NotReady, Overloaded

State = Literal["starting", "ready", "draining"]
_RETRY_AFTER_S = 1.0


class Gate:
    """Counts requests in and out; use it as a context manager around each."""

    def __init__(self, max_in_flight: int) -> None:
        self._most = max_in_flight
        self.in_flight = 0
        self.state: State = "starting"

    def open(self) -> None:
        if self.state == "starting":
            self.state = "ready"

    def drain(self) -> None:
        self.state = "draining"

    def check(self) -> None:
        """Refuse early what could not enter, before its body is read."""
        if self.state == "starting":
            raise NotReady("the service is still starting; try again in a moment")
        if self.in_flight >= self._most:
            raise Overloaded(f"{self._most} requests are in flight already", _RETRY_AFTER_S)

    def __enter__(self) -> None:
        self.check()
        self.in_flight += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.in_flight -= 1

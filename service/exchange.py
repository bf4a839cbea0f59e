"""One request and its answer, on a connection and without the ASGI application.

    GuardedProtocol: head --Door--> Exchange --its body, whole--> taker --answer--> the connection
                                                                    └--decline--> the application

What uvicorn asks of the last request of a connection it finds here as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol, Self

Headers = Sequence[tuple[bytes, bytes]]  # names in lower case
Taker = Callable[["Exchange"], None]  # called once the body is whole
# Method, target, headers of a plain request: its whole answer, who takes it, or None for the
# application.
Door = Callable[[bytes, bytes, Headers], "bytes | Taker | None"]


class Line(Protocol):
    """The connection."""

    def finish(self, exchange: Exchange, status: bytes, rest: bytes) -> None: ...
    def hand_over(self, exchange: Exchange) -> None: ...


class Exchange:
    """Event loop only.

    Attributes:
        body: grows until it is whole.
        disconnected: nobody waits for the answer.
    """

    __slots__ = (
        "_line", "body", "disconnected", "keep_alive", "response_complete", "response_started",
        "take",
    )  # fmt: skip
    message_event = asyncio.Event()  # uvicorn sets it; nobody waits

    def __init__(self, line: Line, take: Taker) -> None:
        self._line = line
        self.take = take
        self.body = b""
        self.disconnected = self.response_started = self.response_complete = False
        self.keep_alive = True

    @classmethod
    def answered(cls, line: Line) -> Self:
        """One that was answered at its head: its body is passed over."""
        exchange = cls(line, _nobody)
        exchange.response_started = exchange.response_complete = True
        return exchange

    def answer(self, status: bytes, rest: bytes) -> None:
        """The status line, and all that follows the headers which the server gives each answer."""
        if not self.response_complete:
            self.response_started = self.response_complete = True
            self._line.finish(self, status, rest)
            self.end()

    def decline(self) -> None:
        """Let the application answer; only within the call to the taker."""
        self._line.hand_over(self)
        self.end()

    def end(self) -> None:
        """Let go of the taker, which holds this: a cycle, and all that hangs on it, would wait."""
        self.take, self.body = _nobody, b""


def _nobody(_: Exchange) -> None:
    """Takes what has ended."""

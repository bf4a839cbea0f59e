"""A cheap caller of one address: at a steady rate, or as fast as it is answered.

    rate, seconds    --Caller.flow------> Outcome of each request; none waits for another
    callers, seconds --Caller.saturate--> Outcome of each request, asked when the last was answered

Several requests are sent in turn.

One protocol object per connection and no task per request, so that asking costs a small part of
answering. A request that finds no free connection opens one; past the most, it fails.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle

from httptools import HttpResponseParser

_TICK_S = 0.001
_PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """One request's end.

    Attributes:
        latency_s: from the planned moment to the last byte of the answer.
        status: 0 when the connection broke, or none could be had.
    """

    latency_s: float
    status: int


def post(path: str, body: bytes, headers: Mapping[str, str] | None = None) -> bytes:
    told = {"Host": "bench", "Content-Type": "application/json"} | dict(headers or {})
    told["Content-Length"] = str(len(body))
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in told.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode()


class Caller:
    """Sends its requests again and again, over connections that are kept."""

    def __init__(
        self,
        address: tuple[str, int],
        requests: bytes | Sequence[bytes],
        most_connections: int = 1024,
    ) -> None:
        self._address = address
        self._requests = cycle([requests] if isinstance(requests, bytes) else requests)
        self._most = most_connections
        self._free: deque[_Connection] = deque()
        self._open = 0
        self._asked = 0
        self._heard: list[Outcome] = []
        self._opening: set[asyncio.Task[None]] = set()
        self._next: Callable[[], None] = lambda: None

    async def flow(
        self, rate: float, seconds: float, chance: random.Random | None = None
    ) -> list[Outcome]:
        """Ask so many times a second, then wait for the last answer.

        Args:
            rate: a second.
            seconds: for how long.
            chance: draws exponential gaps (a Poisson process); without it all gaps are equal.
        """
        start = time.perf_counter()
        for at in _moments(rate, seconds, chance):
            due = start + at
            if (early := due - time.perf_counter()) > 0:
                await asyncio.sleep(max(early, _TICK_S))
            self._ask(due)
        return await self._finished()

    async def saturate(self, callers: int, seconds: float) -> list[Outcome]:
        """So many callers, each of whom asks again as soon as it is answered."""
        end = time.perf_counter() + seconds

        def again() -> None:
            if (now := time.perf_counter()) < end:
                self._ask(now)

        self._next = again
        for _ in range(callers):
            again()
        await asyncio.sleep(seconds)
        return await self._finished()

    def close(self) -> None:
        while self._free:
            self._free.pop().transport.close()

    def _ask(self, due: float) -> None:
        self._asked += 1
        if self._free:
            self._free.pop().ask(next(self._requests), due)
        elif self._open < self._most:
            self._open += 1
            task = asyncio.create_task(self._connect(due))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)
        else:
            self._note(due, 0)

    async def _connect(self, due: float) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(
                lambda: _Connection(self._answered, self._lost), *self._address
            )
        except OSError:
            self._open -= 1
            self._note(due, 0)
        else:
            connection.ask(next(self._requests), due)

    def _answered(self, connection: _Connection, due: float, status: int, *, kept: bool) -> None:
        if kept:
            self._free.append(connection)
        else:
            self._open -= 1
        self._note(due, status)

    def _lost(self, connection: _Connection, due: float | None) -> None:
        self._open -= 1
        if due is not None:
            self._note(due, 0)
        elif connection in self._free:  # not closed by us
            self._free.remove(connection)

    def _note(self, due: float, status: int) -> None:
        self._heard.append(Outcome(time.perf_counter() - due, status))
        self._next()

    async def _finished(self) -> list[Outcome]:
        self._next = lambda: None
        end = time.perf_counter() + _PATIENCE_S
        while len(self._heard) < self._asked and time.perf_counter() < end:  # noqa: ASYNC110  # no event
            await asyncio.sleep(_TICK_S)
        heard, missing = self._heard, self._asked - len(self._heard)
        self._heard, self._asked = [], 0
        return heard + [Outcome(_PATIENCE_S, 0)] * missing


def _moments(rate: float, seconds: float, chance: random.Random | None) -> Iterator[float]:
    if chance is None:
        yield from (number / rate for number in range(round(rate * seconds)))
        return
    at = chance.expovariate(rate)
    while at < seconds:
        yield at
        at += chance.expovariate(rate)


class _Connection(asyncio.Protocol):
    """One request at a time.

    Args:
        answered: hears of each answer, and whether the connection can be used again.
        lost: hears that the connection broke, with the moment of the request that it broke, if any.
    """

    transport: asyncio.Transport

    def __init__(self, answered: Callable[..., None], lost: Callable[..., None]) -> None:
        self._answered, self._lost = answered, lost
        self._parser = HttpResponseParser(self)
        self._due: float | None = None
        self._done = False

    def ask(self, request: bytes, due: float) -> None:
        self._due = due
        self.transport.write(request)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        self._done = not self._parser.should_keep_alive()
        if self._done:
            self.transport.close()
        due, self._due = self._due, None
        self._answered(self, due, self._parser.get_status_code(), kept=not self._done)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done:
            self._lost(self, self._due)

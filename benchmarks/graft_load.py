"""Open-loop load on /v1/score: requests leave on time, whether or not earlier ones are answered.

    rate, addresses --Load--> Heard (latency from the planned moment, version, scores) of each one

A late answer delays nobody but itself, and the wait for a free connection counts as latency.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import cycle

import orjson

from benchmarks.open_loop import post


@dataclass(frozen=True, slots=True)
class Heard:
    """One request's end.

    Attributes:
        asked: which of the requests it was.
        status: 0 when the connection broke.
        version: of the watched task; None where it was not live.
        scores: a digest of the watched task's scores as they stood in the answer.
    """

    latency_s: float
    status: int
    asked: int = 0
    version: int | None = None
    scores: int = 0


@dataclass(slots=True)
class Load:
    """A steady stream of a few requests, in turn, over keep-alive connections.

    Args:
        addresses: host and port of each replica; connections are spread over them.
        bodies: of the requests, JSON.
        rate: requests a second, of all.
        task: the watched one.
        connections: at once; more requests than that wait.
    """

    addresses: Sequence[tuple[str, int]]
    bodies: Sequence[bytes]
    rate: float
    task: str
    connections: int = 32
    heard: list[Heard] = field(default_factory=list)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Flows while the block runs; what was begun is finished."""
        due: asyncio.Queue[float | None] = asyncio.Queue()
        where = cycle(self.addresses)
        requests = [post("/v1/score", body) for body in self.bodies]
        callers = [
            asyncio.create_task(self._call(due, next(where), requests))
            for _ in range(self.connections)
        ]
        clock = asyncio.create_task(self._plan(due))
        try:
            yield
        finally:
            clock.cancel()
            for _ in callers:
                due.put_nowait(None)
            await asyncio.gather(*callers)

    async def _plan(self, due: asyncio.Queue[float | None]) -> None:
        moment = time.perf_counter()
        while True:
            moment += 1 / self.rate
            await asyncio.sleep(moment - time.perf_counter())
            due.put_nowait(moment)

    async def _call(
        self,
        due: asyncio.Queue[float | None],
        address: tuple[str, int],
        requests: Sequence[bytes],
    ) -> None:
        turns = cycle(enumerate(requests))
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while (moment := await due.get()) is not None:
            asked, request = next(turns)
            try:
                streams = streams or await asyncio.open_connection(*address)
                streams[1].write(request)
                status, content = await _answer(streams[0])
            except (OSError, asyncio.IncompleteReadError):
                if streams is not None:
                    streams[1].close()
                streams, status, content = None, 0, b""
            latency_s = time.perf_counter() - moment
            self.heard.append(self._note(latency_s, status, asked, content))
        if streams is not None:
            streams[1].close()

    def _note(self, latency_s: float, status: int, asked: int, content: bytes) -> Heard:
        if status != 200:  # noqa: PLR2004
            return Heard(latency_s, status, asked)
        answer = orjson.loads(content)
        version = answer["tasks"].get(self.task, {}).get("version")
        scores = hash(tuple(answer["scores"].get(self.task, ())))
        return Heard(latency_s, status, asked, version, scores)


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    length = next(int(line[15:]) for line in lines if line.startswith(b"content-length:"))
    return int(lines[0].split(b" ")[1]), await reader.readexactly(length)

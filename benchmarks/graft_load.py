"""Open-loop load on /v1/score: requests leave on time, whether or not earlier ones are answered.

    rate, address --Load--> Heard (latency from the planned moment, version, scores) of each request

A late answer delays nobody but itself, and the wait for a free connection counts as latency.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import orjson


@dataclass(frozen=True, slots=True)
class Heard:
    """One request's end.

    Attributes:
        status: 0 when the connection broke.
        version: of the watched task; None where it was not live.
        scores: of the watched task, as they stood in the answer.
    """

    at_s: float
    latency_s: float
    status: int
    version: int | None = None
    scores: tuple[float, ...] = ()


@dataclass(slots=True)
class Load:
    """A steady stream of one request over keep-alive connections.

    Args:
        host, port: of the public port.
        body: of the request, JSON.
        rate: requests a second.
        task: the watched one.
        connections: at once; more requests than that wait.
    """

    host: str
    port: int
    body: bytes
    rate: float
    task: str
    connections: int = 32
    heard: list[Heard] = field(default_factory=list)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Flows while the block runs; what was begun is finished."""
        due: asyncio.Queue[float | None] = asyncio.Queue()
        callers = [asyncio.create_task(self._call(due)) for _ in range(self.connections)]
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

    async def _call(self, due: asyncio.Queue[float | None]) -> None:
        head = (
            f"POST /v1/score HTTP/1.1\r\nHost: {self.host}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(self.body)}\r\n\r\n"
        )
        request = head.encode() + self.body
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while (moment := await due.get()) is not None:
            try:
                streams = streams or await asyncio.open_connection(self.host, self.port)
                streams[1].write(request)
                status, content = await _answer(streams[0])
            except (OSError, asyncio.IncompleteReadError):
                streams, status, content = None, 0, b""
            self.heard.append(self._note(moment, status, content))
        if streams is not None:
            streams[1].close()

    def _note(self, moment: float, status: int, content: bytes) -> Heard:
        now = time.perf_counter()
        if status != 200:  # noqa: PLR2004
            return Heard(now, now - moment, status)
        answer = orjson.loads(content)
        version = answer["tasks"].get(self.task, {}).get("version")
        scores = tuple(answer["scores"].get(self.task, ()))
        return Heard(now, now - moment, status, version, scores)


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    length = next(int(line[15:]) for line in lines if line.startswith(b"content-length:"))
    return int(lines[0].split(b" ")[1]), await reader.readexactly(length)

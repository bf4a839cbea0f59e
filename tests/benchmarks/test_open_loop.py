"""The caller hears what a server says, whatever way it says that an answer is whole."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from benchmarks.open_loop import Caller, get

KEPT = b"HTTP/1.1 200 OK\r\nX-Content-Length: 99\r\nContent-Length: 2\r\n\r\nhi"
CLOSED = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"


class Answering(asyncio.Protocol):
    """Gives one answer to whatever comes; counts requests by connection."""

    transport: asyncio.Transport

    def __init__(self, answer: bytes, asked: list[int]) -> None:
        self._answer, self._asked, self._at = answer, asked, len(asked)
        asked.append(0)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._asked[self._at] += 1
        self.transport.write(self._answer)
        if b"close" in self._answer:
            self.transport.close()


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[tuple[tuple[str, int], list[int]]]:
    """The address of a server that gives this answer, and what it counted."""
    asked: list[int] = []
    loop = asyncio.get_running_loop()
    async with await loop.create_server(lambda: Answering(answer, asked), "127.0.0.1") as server:
        yield server.sockets[0].getsockname(), asked


@pytest.mark.parametrize("answer", [KEPT, CLOSED, CHUNKED], ids=["kept", "closed", "chunked"])
async def test_an_answer_is_heard_as_it_is_said(answer: bytes) -> None:
    async with answering(answer) as (address, asked):
        caller = Caller(address, get("/"))
        heard = await caller.flow(100.0, 0.1)
        caller.close()
    assert [one.status for one in heard] == [200] * 10
    assert sum(asked) == 10


async def test_a_closed_connection_makes_room_for_another() -> None:
    async with answering(CLOSED) as (address, asked):
        caller = Caller(address, get("/"), most_connections=1)
        heard = await caller.saturate(1, 0.1)
        caller.close()
    assert {one.status for one in heard} == {200}
    assert asked == [1] * len(heard)


async def test_a_connection_that_breaks_is_heard_as_failed() -> None:
    async with answering(CLOSED[:-1]) as (address, _):
        heard = await Caller(address, get("/")).flow(100.0, 0.1)
    assert [one.status for one in heard] == [0] * 10

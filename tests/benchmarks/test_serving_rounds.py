"""A round of serving: a rate counts to the last answer, a stage counts where it ran."""

from __future__ import annotations

import asyncio
import time

from benchmarks.open_loop import Caller, post
from benchmarks.serving_rounds import reached, stage_us

LATE_S = 0.3


async def test_a_rate_is_counted_to_the_last_answer() -> None:
    ended = asyncio.Event()

    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        await asyncio.sleep(LATE_S)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await reader.read()
        writer.close()
        await writer.wait_closed()
        ended.set()

    async with await asyncio.start_server(late, "127.0.0.1", 0) as server:
        caller = Caller(server.sockets[0].getsockname(), post("/", b"{}"))
        since = time.perf_counter()
        rate = await reached(caller, 1, LATE_S / 10)
        took_s = time.perf_counter() - since
        caller.close()
        await ended.wait()
    assert 1 / took_s <= rate <= 1 / LATE_S


def test_a_stage_that_did_not_run_has_no_figure() -> None:
    before, after = (
        {"encode": (1.0, 10.0), "read": (1.0, 5.0)},
        {
            "encode": (1.5, 20.0),
            "read": (1.0, 5.0),
            "rank": (0.0, 0.0),
        },
    )
    assert stage_us(before, after) == {"encode": 50_000.0}

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from functools import partial
from itertools import count

import pytest

from service.engine import Cancellation
from service.engine_pool import EnginePool

HERE = threading.get_ident


def where(_: Cancellation) -> int:
    return HERE()


@pytest.fixture
def alone() -> EnginePool:
    """By its clock, each run takes a millisecond."""
    return EnginePool(1, clock=partial(next, count(step=0.001)))


async def test_a_short_run_is_done_in_place_once_it_is_known_to_be_short(alone: EnginePool) -> None:
    assert await alone.run(where, 1) != HERE()
    assert await alone.run(where, 1) == HERE()
    alone.close()


async def test_what_would_hold_the_event_loop_up_goes_to_a_thread(alone: EnginePool) -> None:
    await alone.run(where, 1)
    assert await alone.run(where, 4) == HERE()
    assert await alone.run(where, 1000) != HERE()
    alone.close()


async def test_several_threads_run_side_by_side() -> None:
    pool, together = EnginePool(2), threading.Barrier(2, timeout=10)
    await asyncio.gather(*(pool.run(lambda _: together.wait(), 1) for _ in range(2)))
    pool.close()


async def test_a_caller_that_goes_away_stops_its_run(alone: EnginePool) -> None:
    seen: list[Cancellation] = []

    def endless(cancellation: Cancellation) -> None:
        seen.append(cancellation)
        while not cancellation.cancelled:
            time.sleep(0.001)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await alone.run(endless, 1)
    alone.close()  # returns: the thread is free
    assert seen[0].cancelled


def noting(order: list[str], name: str, takes_s: float = 0.0) -> Callable[[Cancellation], None]:
    def run(_: Cancellation) -> None:
        order.append(name)
        time.sleep(takes_s)

    return run


async def test_what_waits_is_run_together_once_all_have_asked(
    alone: EnginePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.engine_pool._SHORT_S", 60.0)  # however slow the machine is
    await alone.run(where, 1)
    order: list[str] = []

    async def ask(number: int) -> None:
        order.append(f"ask {number}")
        await alone.run(noting(order, f"run {number}"), 1)
        order.append(f"told {number}")

    await asyncio.gather(*map(ask, range(3)))
    assert order == [f"{step} {number}" for step in ("ask", "run", "told") for number in range(3)]
    alone.close()


async def test_others_have_their_turn_before_many_runs_are_done(alone: EnginePool) -> None:
    await alone.run(where, 1)
    order: list[str] = []

    async def probe() -> None:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        order.append("probe")

    runs = [alone.run(noting(order, f"run {n}", takes_s=0.003), 1) for n in range(6)]
    await asyncio.gather(*runs, probe())
    assert order.index("probe") < order.index("run 5")
    alone.close()


async def test_a_run_that_fails_fails_its_own_caller(alone: EnginePool) -> None:
    await alone.run(where, 1)

    def fail(_: Cancellation) -> int:
        raise RuntimeError("no")

    told = await asyncio.gather(
        *(alone.run(call, 1) for call in (where, fail, where)), return_exceptions=True
    )
    assert [type(one) for one in told] == [int, RuntimeError, int]
    alone.close()


async def test_a_caller_that_leaves_while_it_waits_holds_nobody_up(alone: EnginePool) -> None:
    await alone.run(where, 1)
    waiting = [asyncio.ensure_future(alone.run(where, 1)) for _ in range(4)]
    await asyncio.sleep(0)
    waiting[1].cancel()
    waiting[2].cancel()
    async with asyncio.timeout(5):
        assert await waiting[3] == HERE()
        assert await alone.run(where, 1) == HERE()
    alone.close()


async def test_a_pool_that_gives_way_runs_beside_the_loop_at_a_lower_priority() -> None:
    pool = EnginePool(1, nice=3)

    def told(cancellation: Cancellation) -> tuple[int, int]:
        own = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
        return where(cancellation), own

    before = os.getpriority(os.PRIO_PROCESS, 0)
    for _ in range(5):
        thread, priority = await pool.run(told, 1)
        assert thread != HERE()
        assert priority == min(19, before + 3)
    pool.close()


async def test_what_waited_past_its_time_is_not_begun(alone: EnginePool) -> None:
    await alone.run(where, 1)
    order: list[str] = []
    late = alone.run(noting(order, "late"), 1, until=time.monotonic() + 0.01)
    both = asyncio.gather(
        alone.run(noting(order, "before", takes_s=0.02), 1), late, return_exceptions=True
    )
    assert isinstance((await both)[1], TimeoutError)
    assert order == ["before"]
    alone.close()


async def test_a_run_in_a_thread_ends_when_its_time_is_over(alone: EnginePool) -> None:
    def endless(cancellation: Cancellation) -> None:
        while not cancellation.cancelled:
            time.sleep(0.001)

    with pytest.raises(TimeoutError):
        await alone.run(endless, 1, until=time.monotonic() + 0.02)
    alone.close()  # returns: the thread is free

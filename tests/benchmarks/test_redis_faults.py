"""The measurement of Redis in trouble: what it makes is trouble, and what fails is counted."""

from __future__ import annotations

from collections import Counter

import pytest

from benchmarks.faulty_proxy import Fault, FaultyProxy
from benchmarks.open_loop import Outcome
from benchmarks.redis_faults import Found, figures_of
from service.breaker import Breaker
from service.errors import StoreUnavailable
from service.features import Event
from service.packing import Layout
from service.redis_store import RedisOptions, RedisStore
from tests.redis_server import RedisServer

LAYOUT = Layout(("click",), "int64", cap=10)


async def clicks(store: RedisStore) -> list[int]:
    ids: list[int] = (await store.read("ann")).histories["click"].tolist()
    return ids


async def test_a_proxy_passes_on_or_makes_the_trouble_it_is_told(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    proxy = FaultyProxy(server.port)
    await proxy.open()
    options = RedisOptions(read_budget_s=0.5)
    store = RedisStore(f"redis://127.0.0.1:{proxy.port}/0", LAYOUT, lambda _: None, options)
    store.reads = Breaker(slow_s=60.0, window=10**6)
    await store.append([Event("ann", 1, "click", 1)])
    faults: tuple[Fault, ...] = ("slow", "garbage")
    for fault in faults:
        assert await clicks(store) == [1]
        proxy.fault = fault
        with pytest.raises(StoreUnavailable):
            await store.read("ann")
        proxy.fault = ""
    assert await clicks(store) == [1]
    await proxy.close()
    with pytest.raises(StoreUnavailable):
        await store.read("ann")
    await proxy.open()
    assert await clicks(store) == [1]
    await store.close()
    await proxy.close()
    server.stop()


@pytest.mark.parametrize(
    ("spoilt", "name"),
    [
        (Outcome(0.01, 504), "availability"),
        (Outcome(0.01, 0), "availability"),
        (Outcome(0.6, 200), "p99"),
    ],
)
def test_one_answer_that_fails_or_many_that_are_late_break_the_goal(
    spoilt: Outcome, name: str
) -> None:
    good, ready = [Outcome(0.01, 200)] * 10, [Outcome(0.01, 200)]
    for scores, holds in ((good, True), ([*good, spoilt], False)):
        found = Found(scores, ready, Counter(none=10), back_s=0.1)
        figures = {figure.name: figure for figure in figures_of({"hung": found}, 500)}
        assert figures[f"redis/hung/{name}"].holds is holds
        assert figures["redis/hung/ready"].holds is True

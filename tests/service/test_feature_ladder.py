"""Which step of the ladder a read takes, over a real Redis that answers, hangs and comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from service.breaker import Breaker
from service.errors import StoreUnavailable
from service.feature_ladder import FeatureLadder
from service.features import NO_FEATURES, Event, UserFeatures
from service.near_cache import NearCache, NearCacheOptions
from service.packing import Layout
from service.redis_store import RedisOptions, RedisStore
from tests.redis_server import RedisServer

LAYOUT = Layout(("click",), "int64", cap=10)
BUDGET_S = 0.3
PLENTY_S = 10.0


def opened(server: RedisServer, lag_s: float = 0.0) -> FeatureLadder:
    """One worker's way to the store."""
    options = RedisOptions(read_budget_s=BUDGET_S, write_budget_s=BUDGET_S)
    store = RedisStore(server.url, LAYOUT, lambda _: None, options)
    store.reads = Breaker(slow_s=60.0, window=10**6)
    store.writes = Breaker(slow_s=60.0, window=10**6)
    cache = NearCache(NearCacheOptions(limit_bytes=1 << 20, longest_read_s=BUDGET_S))
    return FeatureLadder(store, cache, BUDGET_S, lag_s)


@pytest_asyncio.fixture
async def ladder(own_redis: RedisServer) -> AsyncIterator[FeatureLadder]:
    made = opened(own_redis)
    yield made
    await made.close()


async def seen(ladder: FeatureLadder, user: str = "ann") -> tuple[list[int], str]:
    features, step = await ladder.read(user, (), PLENTY_S)
    return list(features.histories.get("click", ())), step


async def test_connections_stand_before_the_first_read(
    own_redis: RedisServer, ladder: FeatureLadder
) -> None:
    with own_redis.client() as client:
        before = len(client.client_list())
        await ladder.connect(PLENTY_S)
        assert len(client.client_list()) - before >= 4


async def test_a_store_that_comes_in_time_is_connected_and_one_that_is_away_waited_for_no_longer(
    own_redis: RedisServer, ladder: FeatureLadder
) -> None:
    own_redis.pause()
    await ladder.connect(0.1)
    connecting = asyncio.create_task(ladder.connect(PLENTY_S))
    await asyncio.sleep(0)
    own_redis.resume()
    await connecting
    assert await seen(ladder) == ([], "none")


async def test_a_store_that_hangs_gives_way_to_the_copy_and_returns(
    own_redis: RedisServer, ladder: FeatureLadder
) -> None:
    await ladder.append([Event("ann", 1, "click", 1)])
    assert await seen(ladder) == ([1], "none")
    own_redis.pause()
    assert await seen(ladder) == ([1], "near_cache")
    assert await seen(ladder, "bob") == ([], "no_history")
    own_redis.resume()
    while await seen(ladder) != ([1], "none"):
        pass


async def test_an_event_that_no_read_has_brought_yet_makes_the_copy_stale(
    own_redis: RedisServer, ladder: FeatureLadder
) -> None:
    await ladder.append([Event("ann", 1, "click", 1)])
    await seen(ladder)
    await ladder.append([Event("ann", 2, "click", 2)])
    own_redis.stop()
    assert await seen(ladder) == ([1], "stale")


async def test_an_event_that_could_not_be_stored_fails_and_leaves_the_copy(
    own_redis: RedisServer, ladder: FeatureLadder
) -> None:
    await ladder.append([Event("ann", 1, "click", 1)])
    await seen(ladder)
    own_redis.stop()
    with pytest.raises(StoreUnavailable):
        await ladder.append([Event("ann", 2, "click", 2)])
    assert await seen(ladder) == ([1], "near_cache")


async def test_the_next_read_of_any_worker_sees_a_stored_event(
    own_redis: RedisServer, ladder: FeatureLadder
) -> None:
    other = opened(own_redis)
    for number in range(200):
        writer, reader = (ladder, other) if number % 2 else (other, ladder)
        await writer.append([Event("ann", number, "click", number)])
        ids, step = await seen(reader)
        assert (ids[-1], step) == (number, "none")
    await other.close()


async def test_with_a_lag_only_another_workers_events_may_be_late(own_redis: RedisServer) -> None:
    ladder, other = opened(own_redis, lag_s=3600.0), opened(own_redis)
    await ladder.append([Event("ann", 1, "click", 1)])
    assert await seen(ladder) == ([1], "none")
    assert await seen(ladder) == ([1], "near_cache")
    await other.append([Event("ann", 2, "click", 2)])
    assert await seen(ladder) == ([1], "near_cache")
    await ladder.append([Event("ann", 3, "click", 3)])
    assert await seen(ladder) == ([1, 2, 3], "none")
    await ladder.close()
    await other.close()


async def test_a_request_in_a_hurry_does_not_wait_for_the_stores_budget() -> None:
    """Nor does its hurry count against the store."""
    ended = asyncio.Event()

    class Slow:
        async def read(self, user: str, *_: object) -> UserFeatures:
            try:
                await asyncio.sleep(60)
            finally:
                ended.set()
            raise AssertionError

    ladder = FeatureLadder(Slow(), budget_s=30.0)  # type: ignore[arg-type]  # reads only
    assert await ladder.read("ann", (), 0.01) == (NO_FEATURES, "no_history")
    assert ended.is_set()

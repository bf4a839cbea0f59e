"""What a copy of a user's features is worth, and how much room the copies take."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from service.features import UserFeatures, assemble, read_keys
from service.near_cache import NearCache, NearCacheOptions
from service.packing import Fields, Layout, pack_fields, pack_history, pack_items
from tests.service.clock import Clock

LAYOUT = Layout(("click", "like"), "int64", cap=100)
OPTIONS = NearCacheOptions(limit_bytes=1 << 20, near_s=10.0, stale_s=60.0, longest_read_s=1.0)


def known(number: int = 1, items: dict[str, dict[str, int]] | None = None) -> UserFeatures:
    return UserFeatures({"age": number}, {"click": np.arange(3)}, items or {})


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cache(clock: Clock) -> NearCache:
    return NearCache(OPTIONS, clock)


def tier(cache: NearCache, user: str = "ann") -> str | None:
    found = cache.find(user)
    return found and found[1]


def test_a_copy_is_near_then_stale_then_gone(cache: NearCache, clock: Clock) -> None:
    features = known()
    cache.keep("ann", features, clock.now)
    assert cache.find("ann") == (features, "near_cache")
    clock.now += 10.5
    assert tier(cache) == "stale"
    clock.now += 50.0
    assert tier(cache) is None
    assert cache.size == 0


def test_a_stored_event_makes_the_copy_stale_until_the_next_read(
    cache: NearCache, clock: Clock
) -> None:
    cache.keep("ann", known(), clock.now)
    cache.keep("bob", known(), clock.now)
    clock.now += 0.1
    cache.outdate(["ann"])
    assert (tier(cache, "ann"), tier(cache, "bob")) == ("stale", "near_cache")
    assert cache.younger_than("ann", 5.0) is None
    assert cache.younger_than("bob", 5.0) is not None
    clock.now += 0.1
    cache.keep("ann", known(), clock.now)
    assert tier(cache, "ann") == "near_cache"


def test_a_read_that_began_before_an_event_was_stored_may_miss_it(
    cache: NearCache, clock: Clock
) -> None:
    began = clock.now
    clock.now += 0.1
    cache.outdate(["ann"])
    cache.keep("ann", known(), began)
    assert tier(cache) == "stale"


def test_a_read_that_took_too_long_to_judge_is_stale(cache: NearCache, clock: Clock) -> None:
    began = clock.now
    cache.outdate(["ann"])
    clock.now += 1.5
    cache.outdate(["bob"])
    cache.keep("ann", known(), began)
    assert tier(cache) == "stale"


def test_overrides_of_items_are_not_kept(cache: NearCache, clock: Clock) -> None:
    cache.keep("ann", known(items={"7": {"price": 1}}), clock.now)
    found = cache.find("ann")
    assert found is not None
    assert found[0].items == {}


def test_the_copy_kept_longest_ago_goes_first(clock: Clock) -> None:
    cache = NearCache(NearCacheOptions(limit_bytes=8500), clock)
    for user in ("ann", "bob", "cid", "ann", "dan"):
        cache.keep(user, known(), clock.now)
    assert [user for user in ("ann", "bob", "cid", "dan") if tier(cache, user)] == [
        "ann",
        "cid",
        "dan",
    ]
    assert cache.size <= 8500


def test_a_cache_without_room_keeps_nothing(clock: Clock) -> None:
    cache = NearCache(NearCacheOptions(limit_bytes=0), clock)
    cache.keep("ann", known(), clock.now)
    cache.outdate(["ann"])
    assert tier(cache) is None


@pytest.mark.parametrize("events", [0, 1, 100])
def test_the_copies_take_no_more_memory_than_the_limit(events: int, clock: Clock) -> None:
    """Measured on copies unpacked as a store unpacks them."""
    limit = 1 << 20
    cache = NearCache(NearCacheOptions(limit_bytes=limit), clock)
    tracemalloc.start()
    try:
        for number in range(700):
            user = f"user-{number}"
            profile, *histories = keys = read_keys(LAYOUT, user, ())
            ids = list(range(number, number + events))
            fields: Fields = {
                "age": number,
                "city": f"city {number}",
                "tags": [str(number), "b", "c"],
            }
            values = [pack_fields(profile, fields, "")] + [
                pack_history(LAYOUT, key, pack_items(LAYOUT, ids, np.arange(events), ""))
                for key in histories
            ]
            found = assemble(LAYOUT, keys, (), values, lambda reason: None)
            cache.keep(user, found, clock.now)
            del found, values, fields, ids, keys, histories, profile, user
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert tier(cache, "user-0") is None
    assert tier(cache, "user-699") == "near_cache"
    assert limit / 3 < taken < limit * 1.05


def test_the_same_answer_again_makes_its_copy_young_and_takes_no_more_room(
    cache: NearCache, clock: Clock
) -> None:
    features = known()
    cache.keep("ann", features, clock.now)
    cache.keep("bob", known(2), clock.now)
    size = cache.size
    clock.now += 30.0
    assert cache.last("ann") is features
    cache.keep("ann", features, clock.now)
    assert (tier(cache), tier(cache, "bob"), cache.size) == ("near_cache", "stale", size)
    cache.outdate(["ann"])
    cache.keep("ann", features, clock.now - 1.0)
    assert tier(cache) == "stale"

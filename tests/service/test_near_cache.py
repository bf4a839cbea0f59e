"""What a copy of a user's features is worth, and how much room the copies take."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from contract.item_table import ItemTable
from contract.lookups import Lookups
from contract.schema import (
    CategoricalField,
    DenseField,
    FeatureSchema,
    MultiValuedField,
    VocabularySpec,
)
from contract.vocabulary import Vocabulary
from service.encoder import Encoder, encoded_bytes
from service.features import UserFeatures, assemble, read_keys
from service.near_cache import NearCache, NearCacheOptions
from service.packing import Fields, Layout, pack_fields, pack_history, pack_items
from tests.service.clock import Clock
from tests.service.tiny import request

LAYOUT = Layout(("click", "like"), "int64", cap=100)
WIDE = Layout(("a", "b", "c", "d", "e", "f"), "int64", cap=100)
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


def wide_lookups() -> Lookups:
    """Six behaviours, six values an event, and users of many fields."""
    item = VocabularySpec(name="v", type="int64", size=0)
    schema = FeatureSchema(
        vocabularies=(item,),
        fields=(
            *(CategoricalField(name=f"i{n}", side="item", vocabulary="v") for n in range(6)),
            *(CategoricalField(name=f"u{n}", side="user", vocabulary="v") for n in range(40)),
            DenseField(name="age", side="user", minimum=0.0, maximum=1.0),
            MultiValuedField(name="tags", side="user", vocabulary="v", max_values=64),
        ),
        behaviours=WIDE.behaviours,
        history_length=WIDE.cap,
        history_fields=tuple(f"i{n}" for n in range(6)),
        user_id_type="string",
        item_id_type="int64",
        user_id_field=None,
        item_id_field="i0",
    )
    items = ItemTable.build(
        schema,
        [],
        np.empty((0, 6), np.int32),
        np.empty((0, 0), np.float32),
        np.empty((0, 0), np.int32),
    )
    return Lookups(schema, {"v": Vocabulary.build(item, [])}, items)


@pytest.mark.parametrize("events", [0, 1, 100])
def test_what_an_encoder_leaves_with_the_copies_counts(events: int, clock: Clock) -> None:
    """Of one behaviour only: the arrays are as long for all of them."""
    limit, lookups = 1 << 20, wide_lookups()
    encoder, size = Encoder(lookups), encoded_bytes(lookups.schema)
    cache = NearCache(NearCacheOptions(limit_bytes=limit), clock, size)
    tracemalloc.start()
    try:
        for number in range(500):
            user = f"user-{number}"
            keys = read_keys(WIDE, user, ())
            rows = pack_items(WIDE, list(range(events)), np.arange(events), "")
            values = [None, pack_history(WIDE, keys[1], rows), *[None] * 5]
            found = assemble(WIDE, keys, (), values, lambda reason: None)
            cache.keep(user, found, clock.now)
            encoder.encode(request(user_id=user, item_ids=[1]), found)
            del found, values, rows, keys, user
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert (tier(cache, "user-0"), tier(cache, "user-499")) == (None, "near_cache")
    assert limit / 3 < taken < limit * 1.05


def test_a_read_with_items_keeps_what_is_known_of_the_user(cache: NearCache, clock: Clock) -> None:
    """And what is encoded after it is of use to the next, with items or without."""
    keys = read_keys(LAYOUT, "ann", ())
    values = [pack_fields(keys[0], {"age": 3}, ""), None, None]

    def read(*prices: int) -> UserFeatures:
        names = [str(number) for number in range(len(prices))]
        wanted = read_keys(LAYOUT, "ann", names)
        found = [
            pack_fields(key, {"price": p}, "") for key, p in zip(wanted[3:], prices, strict=True)
        ]
        last = cache.last("ann")
        stored = [*values, *found]
        features = assemble(LAYOUT, wanted, names, stored, lambda reason: None, last)
        cache.keep("ann", features, clock.now)
        return features

    first, second, third = read(5), read(6, 7), read()
    assert [f.items for f in (first, second, third)] == [
        {"0": {"price": 5}},
        {"0": {"price": 6}, "1": {"price": 7}},
        {},
    ]
    assert first.encoded is second.encoded is third.encoded
    assert first.profile is second.profile is third.profile
    assert first.histories is second.histories
    assert third is cache.last("ann")
    values[0] = pack_fields(keys[0], {"age": 4}, "")
    changed = read(5)
    assert (changed.profile, changed.items) == ({"age": 4}, first.items)
    assert changed.encoded is not first.encoded


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

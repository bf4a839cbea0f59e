"""What every feature store promises: one suite over the real ones."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
from redis import Redis, RedisCluster

from service.embedded_store import open_embedded_store
from service.errors import InvalidField
from service.features import Event, FeatureStore, ItemRecord, UserRecord, pack_events
from service.packing import (
    MAX_EVENTS,
    Corruption,
    Layout,
    history_head,
    history_key,
    item_key,
    merge,
    profile_key,
)
from service.redis_store import RedisOptions, RedisStore

PATIENT = RedisOptions(read_budget_s=10.0, write_budget_s=10.0)


@dataclass
class World:
    """Two workers' stores over the same data, and a back door to it."""

    layout: Layout
    store: FeatureStore
    other: FeatureStore
    corrupt: list[Corruption]
    raw: Callable[[bytes], bytes | None]
    spoil: Callable[[bytes, bytes], object]

    def event(self, user: str, item: int, ts: int, behaviour: str = "click") -> Event:
        return Event(user, self.item(item), behaviour, ts)

    def item(self, number: int) -> int | str:
        return number if self.layout.item_id_type == "int64" else f"é{number}"

    async def history(self, user: str, behaviour: str = "click") -> list[int]:
        """The numbers of the items, newest last."""
        ids = (await self.store.read(user)).histories[behaviour].tolist()
        return [i if isinstance(i, int) else int(i.decode().removeprefix("é")) for i in ids]


def embedded_world(layout: Layout, path: Path) -> World:
    corrupt: list[Corruption] = []
    one, two = (open_embedded_store(path, layout, corrupt.append) for _ in range(2))

    def run(query: str, *values: bytes) -> list[tuple[bytes]]:
        connection = sqlite3.connect(path)
        with connection:
            rows = connection.execute(query, values).fetchall()
        connection.close()
        return rows

    def raw(key: bytes) -> bytes | None:
        rows = run("SELECT value FROM entries WHERE key = ?", key)
        return rows[0][0] if rows else None

    def spoil(key: bytes, value: bytes) -> None:
        run("INSERT OR REPLACE INTO entries VALUES (?, ?)", key, value)

    return World(layout, one, two, corrupt, raw, spoil)


def redis_world(layout: Layout, url: str, client: Redis | RedisCluster) -> World:
    corrupt: list[Corruption] = []
    one, two = (RedisStore(url, layout, corrupt.append, PATIENT) for _ in range(2))

    def raw(key: bytes) -> bytes | None:
        value: bytes | None = client.get(key)  # type: ignore[assignment]  # it is not awaited
        return value

    return World(layout, one, two, corrupt, raw, client.set)


@pytest_asyncio.fixture(
    params=[
        "embedded-int64",
        "embedded-string",
        "redis-int64",
        "redis-string",
        "valkey-string",
        "cluster-int64",
    ]
)
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    kind, item_type = request.param.split("-")
    layout = Layout(("click", "buy"), item_type, cap=5)
    with ExitStack() as open_clients:
        if kind == "embedded":
            made = embedded_world(layout, tmp_path / "features.db")
        else:
            server = request.getfixturevalue(f"empty_{kind}")
            made = redis_world(layout, server.url, open_clients.enter_context(server.client()))
        yield made
        await made.store.close()
        await made.other.close()


async def test_an_unknown_user_has_nothing(world: World) -> None:
    known = await world.store.read("nobody", ["1"])
    assert known.profile == {}
    assert known.items == {}
    assert {name: ids.tolist() for name, ids in known.histories.items()} == {"click": [], "buy": []}
    assert known.histories["click"].dtype == world.layout.item["id"]
    assert world.corrupt == []


async def test_an_event_is_seen_by_every_worker_newest_last(world: World) -> None:
    await world.other.append([world.event("ann", 1, ts=10), world.event("ann", 9, 11, "buy")])
    await world.other.append([world.event("ann", 2, ts=20)])
    assert await world.history("ann") == [1, 2]
    assert await world.history("ann", "buy") == [9]


async def test_a_repeated_event_changes_nothing(world: World) -> None:
    batch = [world.event("ann", 1, ts=10), world.event("ann", 2, ts=20)]
    await world.store.append(batch)
    await world.store.append([*batch, batch[0]])
    assert await world.history("ann") == [1, 2]


async def test_the_same_item_at_another_time_is_another_event(world: World) -> None:
    await world.store.append([world.event("ann", 1, ts=10), world.event("ann", 1, ts=11)])
    assert await world.history("ann") == [1, 1]


async def test_a_late_event_takes_its_place(world: World) -> None:
    for item, ts in ((1, 10), (3, 30), (2, 20)):
        await world.store.append([world.event("ann", item, ts)])
    assert await world.history("ann") == [1, 2, 3]


async def test_events_of_one_time_stand_as_they_came(world: World) -> None:
    await world.store.append([world.event("ann", item, ts=10) for item in (3, 1, 2)])
    assert await world.history("ann") == [3, 1, 2]


async def test_only_the_newest_events_are_kept(world: World) -> None:
    await world.store.append([world.event("ann", item, ts=item) for item in range(9)])
    await world.store.append([world.event("ann", 99, ts=-1)])
    assert await world.history("ann") == [4, 5, 6, 7, 8]


async def test_users_with_awkward_names_do_not_mix(world: World) -> None:
    users = ["a", "{a}", "}", "a}:click", "%7B", "", "é", "\ud800", "a" * 1000]
    for number, user in enumerate(users):
        await world.store.append([world.event(user, number, ts=1)])
    assert [await world.history(user) for user in users] == [[n] for n in range(len(users))]


async def test_the_stored_bytes_are_those_of_the_reference_merge(world: World) -> None:
    """Random batches, with times that a double cannot tell apart."""
    rng = random.Random(7)
    times = [-(2**63), -1, 0, 1, 2**32 - 1, 2**32, 2**62, 2**62 + 1, 2**63 - 1]
    key = history_key("ann", "click")
    expected: bytes | None = None
    for _ in range(60):
        batch = [
            world.event("ann", rng.randrange(4), rng.choice(times))
            for _ in range(rng.randrange(1, 8))
        ]
        await world.store.append(batch)
        expected = merge(world.layout, key, expected, pack_events(world.layout, batch)[key])
        assert world.raw(key) == expected


async def test_concurrent_appends_lose_nothing(world: World) -> None:
    wide = [world.event("ann", item, ts=item) for item in range(5)]
    stores = [world.store, world.other]
    await asyncio.gather(*(stores[e.ts % 2].append([e]) for e in random.sample(wide, len(wide))))
    assert await world.history("ann") == [0, 1, 2, 3, 4]


async def test_a_batch_with_an_impossible_event_stores_none(world: World) -> None:
    good = world.event("ann", 1, ts=1)
    for bad, where in (
        (world.event("ann", 1, 1, "stare"), "events[1].behaviour"),
        (world.event("ann", 1, 2**63), "events[1].ts"),
        (Event("ann", [], "click", 1), "events[1].item_id"),  # type: ignore[arg-type]
    ):
        with pytest.raises(InvalidField) as caught:
            await world.store.append([good, bad])
        assert caught.value.where == where
    assert await world.history("ann") == []


async def test_no_events_are_no_failure(world: World) -> None:
    await world.store.append([])


async def test_a_profile_replaces_the_one_before(world: World) -> None:
    await world.store.load([UserRecord("ann", {"age": 30, "city": "Ulm", "tags": ["a", "b"]})])
    await world.store.load([UserRecord("ann", {"age": 31})])
    assert (await world.store.read("ann")).profile == {"age": 31}


async def test_overrides_come_for_the_items_that_have_them(world: World) -> None:
    await world.store.load([ItemRecord("7", {"price": 1.5})])
    many = [str(number) for number in range(1200)]
    assert (await world.store.read("ann", many)).items == {"7": {"price": 1.5}}


async def test_a_store_is_seeded_in_bulk(world: World) -> None:
    def record(user: int) -> UserRecord:
        ids = [world.item(user), world.item(user + 1)]
        return UserRecord(
            user=str(user),
            profile={"age": user},
            histories={"click": (ids, np.array([20, 10]))},
        )

    assert await world.store.load(record(user) for user in range(1203)) == 1203
    assert await world.history("1202") == [1203, 1202]
    assert (await world.store.read("0")).profile == {"age": 0}
    await world.store.append([world.event("3", 9, ts=15)])
    assert await world.history("3") == [4, 9, 3]


async def test_a_poisoned_history_is_absent_and_counted(world: World) -> None:
    await world.store.append([world.event("ann", 1, 1), world.event("ann", 5, 1, "buy")])
    key = history_key("ann", "click")
    good = world.raw(key)
    assert good is not None
    for poison, reason in (
        (b"", "length"),
        (good[:-3], "length"),
        (b"\x80pickle" + good, "magic"),
        (history_head(world.layout, history_key("bob", "click")) + good[8:], "owner"),
        (good + bytes(world.layout.width * MAX_EVENTS), "too_long"),
    ):
        world.spoil(key, poison)
        known = await world.store.read("ann")
        assert len(known.histories["click"]) == 0
        assert len(known.histories["buy"]) == 1
        assert world.corrupt.pop() == reason
        assert world.corrupt == []


async def test_poisoned_fields_are_absent_and_counted(world: World) -> None:
    await world.store.load([UserRecord("bob", {"age": 50})])
    strangers = world.raw(profile_key("bob"))
    assert strangers is not None
    world.spoil(profile_key("ann"), strangers)
    world.spoil(item_key("7"), b"TG")
    known = await world.store.read("ann", ["7"])
    assert (known.profile, known.items) == ({}, {})
    assert world.corrupt == ["owner", "length"]


async def test_an_append_heals_a_poisoned_history(world: World) -> None:
    key = history_key("ann", "click")
    head = history_head(world.layout, key)
    overlong = bytes(world.layout.width * (MAX_EVENTS + 1))
    for poison in (b"TG rubbish", head + b"x", head + overlong):
        world.spoil(key, poison)
        await world.store.append([world.event("ann", 1, 1)])
        assert await world.history("ann") == [1]


async def test_what_is_known_is_given_back_until_something_changes(world: World) -> None:
    await world.store.load([UserRecord("ann", {"age": 20.0})])
    await world.store.append([world.event("ann", 1, ts=1)])
    known = await world.store.read("ann")
    assert await world.store.read("ann", (), known) is known
    await world.other.append([world.event("ann", 2, ts=2)])
    newer = await world.store.read("ann", (), known)
    assert len(newer.histories["click"]) == 2
    await world.other.load([UserRecord("ann", {"age": 21.0})])
    assert (await world.store.read("ann", (), newer)).profile == {"age": 21.0}


async def test_what_is_known_must_be_what_was_read_last(world: World) -> None:
    """An older copy is found out, though nothing has changed since the last read."""
    await world.store.append([world.event("ann", 1, ts=1)])
    older = await world.store.read("ann")
    await world.other.append([world.event("ann", 2, ts=2)])
    newer = await world.store.read("ann")
    found = await world.store.read("ann", (), older)
    assert found.histories["click"].tolist() == newer.histories["click"].tolist()
    assert await world.store.read("ann", (), newer) == newer


async def test_overrides_are_read_also_for_a_user_who_is_known(world: World) -> None:
    await world.store.load([UserRecord("ann", {"age": 20.0})])
    known = await world.store.read("ann")
    known = await world.store.read("ann", (), known)
    await world.store.load([ItemRecord("7", {"price": 2.0})])
    assert (await world.store.read("ann", ["7"], known)).items == {"7": {"price": 2.0}}


async def test_a_poisoned_value_is_counted_at_every_read(world: World) -> None:
    await world.store.append([world.event("ann", 1, ts=1)])
    world.spoil(history_key("ann", "click"), b"poison")
    known = await world.store.read("ann")
    again = await world.store.read("ann", (), known)
    assert again is not known
    assert len(world.corrupt) == 2


async def test_what_is_read_cannot_be_written(world: World) -> None:
    """Nobody can spoil an array that another request may hold."""
    await world.store.append([world.event("ann", 1, 1)])
    ids = (await world.store.read("ann")).histories["click"]
    with pytest.raises(ValueError, match="read-only"):
        ids[0] = ids[0]


async def test_a_store_that_stands_answers_a_ping(world: World) -> None:
    await world.store.ping()

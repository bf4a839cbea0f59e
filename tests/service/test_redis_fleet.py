"""The Redis stores over a real cluster and under real sentinels, while masters fail."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from service.breaker import Breaker
from service.errors import StoreUnavailable
from service.feature_ladder import FeatureLadder
from service.features import Event, ItemRecord, UserRecord
from service.near_cache import NearCache, NearCacheOptions
from service.packing import Layout, history_key, item_key
from service.redis_store import RedisOptions, RedisStore
from service.redis_task_store import RedisTaskStore
from tests.redis_fleet import RedisCluster, RedisUnderSentinels

LAYOUT = Layout(("click", "buy", "like"), "int64", cap=100)
USERS = [str(number) for number in range(30)]  # over all masters
BUDGET_S = 0.2


def opened(url: str, read_s: float = 10.0, write_s: float = 10.0) -> RedisStore:
    options = RedisOptions(read_budget_s=read_s, write_budget_s=write_s)
    return RedisStore(url, LAYOUT, lambda _: None, options)


@pytest.fixture(scope="module")
def sentinels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisUnderSentinels]:
    with RedisUnderSentinels(tmp_path_factory.mktemp("sentinels")) as fleet:
        yield fleet


@pytest_asyncio.fixture
async def store(empty_cluster: RedisCluster) -> AsyncIterator[RedisStore]:
    made = opened(empty_cluster.url)
    yield made
    await made.close()


async def clicks(store: RedisStore, user: str) -> list[int]:
    ids: list[int] = (await store.read(user)).histories["click"].tolist()
    return ids


async def test_a_read_in_a_cluster_is_one_command_to_one_node(
    empty_cluster: RedisCluster, store: RedisStore
) -> None:
    await store.append([Event(user, 1, "click", 1) for user in USERS])
    before = empty_cluster.calls("mget"), empty_cluster.calls("get")
    for user in USERS:
        assert await clicks(store, user) == [1]
    after = empty_cluster.calls("mget"), empty_cluster.calls("get")
    assert (after[0] - before[0], after[1] - before[1]) == (len(USERS), 0)


async def test_overrides_come_from_whichever_node_has_them(store: RedisStore) -> None:
    await store.load([ItemRecord(user, {"price": int(user)}) for user in USERS])
    await store.load([UserRecord("ann", {"age": 3})])
    found = await store.read("ann", [*USERS, "none"])
    assert found.profile == {"age": 3}
    assert found.items == {user: {"price": int(user)} for user in USERS}


async def test_an_override_of_another_type_is_absent(
    empty_cluster: RedisCluster, store: RedisStore
) -> None:
    await store.load([ItemRecord("7", {"price": 1})])
    with empty_cluster.client() as client:
        client.lpush(item_key("8"), "x")
    assert (await store.read("ann", ["7", "8"])).items == {"7": {"price": 1}}


async def test_a_moved_slot_is_followed_at_once(
    empty_cluster: RedisCluster, store: RedisStore
) -> None:
    await store.append([Event(user, 1, "click", 1) for user in USERS])
    with empty_cluster.client() as client:
        slot = client.keyslot(history_key("mover", "click"))
        holder = client.nodes_manager.get_node_from_slot(slot).port
    taker = next(server for server in empty_cluster.masters[1:] if server.port != holder)
    with taker.client() as client:
        new = client.execute_command("CLUSTER MYID").decode()
    for server in empty_cluster.masters:
        with server.client() as client:
            client.execute_command("CLUSTER SETSLOT", slot, "NODE", new)
    await store.append([Event("mover", 5, "click", 1)])
    assert await clicks(store, "mover") == [5]


async def steps_of(ladder: FeatureLadder) -> Counter[str]:
    """Reads all users round by round, until the store answers for each of them."""
    steps: Counter[str] = Counter()
    while True:
        answers = [await ladder.read(user, (), 10.0) for user in USERS]
        assert all(features.histories["click"].tolist() == [1] for features, _ in answers)
        steps.update(step for _, step in answers)
        if {step for _, step in answers} == {"none"}:
            return steps


async def ladder_over(url: str) -> FeatureLadder:
    """A worker that has read every user once, and probes a failed store often."""
    store = opened(url, BUDGET_S, write_s=1.0)
    store.reads = Breaker(slow_s=BUDGET_S, rest_s=0.05)
    cache = NearCache(NearCacheOptions(limit_bytes=1 << 20, near_s=60.0, longest_read_s=60.0))
    ladder = FeatureLadder(store, cache)
    await ladder.append([Event(user, 1, "click", 1) for user in USERS])
    await steps_of(ladder)
    return ladder


async def stored(ladder: FeatureLadder) -> None:
    """Sends events as a caller does who was told 503."""
    while True:
        try:
            return await ladder.append([Event(user, 2, "buy", 2) for user in USERS])
        except StoreUnavailable:
            await asyncio.sleep(0.1)


async def test_a_master_that_hangs_is_replaced_under_reads_that_all_answer(
    empty_cluster: RedisCluster,
) -> None:
    ladder = await ladder_over(empty_cluster.url)
    hung = empty_cluster.masters[0]
    hung.pause()
    try:
        steps = await steps_of(ladder)
        await stored(ladder)
    finally:
        hung.resume()
        empty_cluster.await_whole()
    await ladder.close()
    assert steps["near_cache"] > 0
    assert steps.keys() <= {"none", "near_cache"}


async def test_sentinels_name_the_new_master_under_reads_that_all_answer(
    sentinels: RedisUnderSentinels,
) -> None:
    """With a sentinel that hangs as well: the others are asked within the same budget."""
    tasks = RedisTaskStore(sentinels.url)
    prompt = tasks.put_prompt(b"prompt")
    ladder = await ladder_over(sentinels.url)
    sentinels.sentinels[0].send_signal(signal.SIGSTOP)
    sentinels.master.pause()
    steps = await steps_of(ladder)
    await stored(ladder)
    await ladder.close()
    assert steps["near_cache"] > 0
    assert steps.keys() <= {"none", "near_cache"}
    while True:
        try:
            assert tasks.prompt(prompt) == b"prompt"
            break
        except StoreUnavailable:
            continue
    tasks.close()

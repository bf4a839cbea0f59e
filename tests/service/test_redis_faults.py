"""What a read and an append do when Redis hangs, dies, is spoilt or full, or the caller leaves."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio

from service.breaker import Breaker
from service.errors import ConfigError, StoreUnavailable
from service.features import Event, UserFeatures, UserRecord
from service.packing import Corruption, Layout, history_key, profile_key
from service.redis_store import RedisOptions, RedisStore
from tests.redis_server import RedisServer

LAYOUT = Layout(("click", "buy"), "int64", cap=100)
BUDGET_S = 0.5
OPTIONS = RedisOptions(read_budget_s=BUDGET_S, write_budget_s=BUDGET_S, connections=4)
EVENT = Event("ann", 1, "click", 1)


def tolerant(store: RedisStore) -> None:
    """A breaker that stays closed, for the tests of what is behind it."""
    store.reads = Breaker(slow_s=60.0, window=10**6)
    store.writes = Breaker(slow_s=60.0, window=10**6)


@pytest_asyncio.fixture
async def store(own_redis: RedisServer) -> AsyncIterator[RedisStore]:
    made = RedisStore(own_redis.url, LAYOUT, lambda _: None, OPTIONS)
    tolerant(made)
    await made.append([EVENT])
    await made.read("ann")
    yield made
    await made.close()


async def eventually(call: Callable[[], Awaitable[UserFeatures | None]]) -> None:
    """Polls until the store answers; the test's own time limit is the limit."""
    while True:
        try:
            await call()
        except StoreUnavailable:
            await asyncio.sleep(0.01)
        else:
            return


async def clicks(store: RedisStore, user: str = "ann") -> list[int]:
    ids: list[int] = (await store.read(user)).histories["click"].tolist()
    return ids


@pytest.mark.parametrize("action", ["read", "append", "ping"])
async def test_a_hung_server_costs_its_budget_and_no_more(
    own_redis: RedisServer, store: RedisStore, action: str
) -> None:
    """The bound of ten budgets is far above any scheduling, and far below the client's defaults."""
    calls: dict[str, Callable[[], Awaitable[UserFeatures | None]]] = {
        "read": lambda: store.read("ann"),
        "append": lambda: store.append([EVENT]),
        "ping": store.ping,
    }
    call = calls[action]
    own_redis.pause()
    with pytest.raises(StoreUnavailable):
        async with asyncio.timeout(10 * BUDGET_S):
            await call()
    own_redis.resume()
    await eventually(call)
    assert await clicks(store) == [1]


async def test_a_server_that_trickles_its_answer_costs_the_budget_and_no_more() -> None:
    """Each byte comes in time for the socket; the answer never does."""
    over, ended = asyncio.Event(), asyncio.Event()

    async def trickle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not over.is_set():
            writer.write(b"+")
            await asyncio.sleep(BUDGET_S / 10)
        writer.close()
        ended.set()

    server = await asyncio.start_server(trickle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    store = RedisStore(f"redis://127.0.0.1:{port}", LAYOUT, lambda _: None, OPTIONS)
    with pytest.raises(StoreUnavailable, match="in time"):
        async with asyncio.timeout(10 * BUDGET_S):
            await store.read("ann")
    await store.close()
    over.set()
    await ended.wait()
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize(
    "garbage", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0" * 64, b"*9999999\r\n"]
)
async def test_an_answer_that_is_none_is_unavailable(garbage: bytes) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(4096):
            writer.write(garbage)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    store = RedisStore(f"redis://127.0.0.1:{port}", LAYOUT, lambda _: None, OPTIONS)
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            async with asyncio.timeout(10 * BUDGET_S):
                await store.read("ann")
    await store.close()
    server.close()
    await server.wait_closed()


async def test_more_callers_than_connections_wait_no_longer_than_the_budget(
    own_redis: RedisServer, store: RedisStore
) -> None:
    own_redis.pause()
    async with asyncio.timeout(10 * BUDGET_S):
        results = await asyncio.gather(
            *(store.read("ann") for _ in range(50)), return_exceptions=True
        )
    assert {type(result) for result in results} == {StoreUnavailable}
    own_redis.resume()
    await eventually(lambda: store.read("ann"))


async def test_a_killed_server_is_found_again_on_its_port(
    own_redis: RedisServer, store: RedisStore
) -> None:
    """Also the script, which a new server does not know."""
    own_redis.stop()
    with pytest.raises(StoreUnavailable):
        await store.read("ann")
    with pytest.raises(StoreUnavailable):
        await store.append([EVENT])
    own_redis.start()
    await eventually(lambda: store.append([EVENT]))
    assert await clicks(store) == [1]


async def test_an_open_breaker_refuses_without_asking_and_closes_by_itself(
    own_redis: RedisServer, store: RedisStore
) -> None:
    store.reads = Breaker(slow_s=60.0, rest_s=0.1, window=4)
    own_redis.stop()
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="failed: ConnectionError"):
            await store.read("ann")
    with pytest.raises(StoreUnavailable, match="left alone"):
        await store.read("ann")
    own_redis.start()
    await eventually(lambda: store.read("ann"))
    assert store.reads.state == "closed"


async def test_failing_reads_do_not_stop_the_writes(store: RedisStore) -> None:
    store.reads = Breaker(slow_s=0.0, rest_s=60.0, window=2)
    await store.read("ann")
    assert store.reads.state == "open"
    await store.append([Event("ann", 2, "click", 2)])


async def test_a_key_of_another_type_is_absent_and_healed_by_an_append(
    own_redis: RedisServer, store: RedisStore
) -> None:
    """MGET shows such a key as a missing one; the append tells of it."""
    key = history_key("ann", "click")
    corrupt: list[Corruption] = []
    store._on_corrupt = corrupt.append
    with own_redis.client() as client:
        client.delete(key)
        client.lpush(key, "1", "2")
    assert await clicks(store) == []
    assert corrupt == []
    await store.append([EVENT])
    assert await clicks(store) == [1]
    await store.append([EVENT])
    assert corrupt == ["type"]


async def test_a_server_without_memory_refuses_appends_and_answers_reads(
    own_redis: RedisServer, store: RedisStore
) -> None:
    with own_redis.client() as client:
        client.config_set("maxmemory", "1")
    with pytest.raises(StoreUnavailable, match="failed: ResponseError"):
        await store.append([EVENT])
    assert await clicks(store) == [1]


async def test_a_replica_that_is_read_only_refuses_appends(
    own_redis: RedisServer, store: RedisStore
) -> None:
    with own_redis.client() as client:
        client.replicaof("127.0.0.1", "1")
    with pytest.raises(StoreUnavailable, match="failed: ResponseError"):
        await store.append([EVENT])


async def test_a_wrong_password_is_unavailable_and_not_shown(own_redis: RedisServer) -> None:
    url = f"redis://:hunter2@127.0.0.1:{own_redis.port}/0"
    store = RedisStore(url, LAYOUT, lambda _: None, OPTIONS)
    with pytest.raises(StoreUnavailable) as caught:
        await store.read("ann")
    await store.close()
    assert "hunter2" not in str(caught.value)
    assert str(own_redis.port) not in str(caught.value)


async def test_keys_expire_a_while_after_the_last_write(
    own_redis: RedisServer, store: RedisStore
) -> None:
    await store.load([UserRecord("ann", {"age": 1})])
    month = OPTIONS.ttl_s
    with own_redis.client() as client:
        for key in (history_key("ann", "click"), profile_key("ann")):
            assert 0.89 * month < client.ttl(key) < 1.11 * month


async def test_keys_never_expire_when_told_so(own_redis: RedisServer) -> None:
    store = RedisStore(own_redis.url, LAYOUT, lambda _: None, RedisOptions(ttl_s=0))
    await store.append([EVENT])
    await store.load([UserRecord("ann", {"age": 1})])
    await store.close()
    with own_redis.client() as client:
        assert client.ttl(history_key("ann", "click")) == -1
        assert client.ttl(profile_key("ann")) == -1


async def test_callers_who_leave_at_any_point_leave_nobody_anothers_data(
    own_redis: RedisServer,
) -> None:
    corrupt: list[Corruption] = []
    patient = RedisOptions(read_budget_s=30.0, write_budget_s=30.0, connections=4)
    store = RedisStore(own_redis.url, LAYOUT, corrupt.append, patient)
    users = [str(number) for number in range(40)]
    await store.append([Event(user, int(user), "click", 1) for user in users])
    rng = random.Random(3)
    ends: Counter[str] = Counter()

    async def one(user: str) -> None:
        read = asyncio.create_task(store.read(user))
        for _ in range(rng.randrange(12)):
            await asyncio.sleep(0)
        if rng.random() < 0.5:
            read.cancel()
        try:
            found = (await read).histories["click"].tolist()
        except asyncio.CancelledError:
            ends["left"] += 1
        else:
            ends["own" if found == [int(user)] else "strange"] += 1

    for _ in range(20):
        await asyncio.gather(*(one(user) for user in users))
    assert ends["left"] > 50
    assert ends["own"] > 50
    assert ends["strange"] == 0
    assert corrupt == []
    for user in users:
        assert await clicks(store, user) == [int(user)]
    await store.close()


@pytest.mark.parametrize(
    "url",
    ["http://localhost", "localhost:6379", "", "redis://h:port", "redis://h/0?socket_timeout=x"],
)
def test_a_url_that_is_none_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(ConfigError, match="expected redis://"):
        RedisStore(url, LAYOUT, lambda _: None, OPTIONS)

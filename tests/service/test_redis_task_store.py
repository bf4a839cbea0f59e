"""The task store in Redis: what only Redis can do to it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from redis import Redis

from service.errors import ConfigError, CorruptStore, PromptMissing, StoreUnavailable
from service.redis_task_store import RedisTaskStore
from service.task_changes import KEPT_VERSIONS, graft, remove
from service.task_store import DesiredState, StoredPrompt
from tests.redis_server import RedisServer

STATE = "{taskgraft}:state"


@pytest.fixture
def store(empty_redis: RedisServer) -> Iterator[RedisTaskStore]:
    found = RedisTaskStore(empty_redis.url)
    yield found
    found.close()


@pytest.fixture
def client(empty_redis: RedisServer) -> Iterator[Redis]:
    with empty_redis.client() as found:
        yield found


def step(store: RedisTaskStore, content: bytes) -> DesiredState:
    prompt = StoredPrompt(store.put_prompt(content), len(content), created_at=1.0)
    return store.update(lambda state: graft(state, "like", prompt, who="ann"))


def prompt_key(sha256: str) -> str:
    return "{taskgraft}:prompt:" + sha256


def test_a_prompt_expires_unless_a_state_names_it(store: RedisTaskStore, client: Redis) -> None:
    orphan = store.put_prompt(b"orphan")
    named = step(store, b"named").tasks["like"].versions[0].sha256
    store.put_prompt(b"named")
    assert 0 < client.ttl(prompt_key(orphan)) <= 3600
    assert client.ttl(prompt_key(named)) == -1
    store.update(lambda state: remove(state, "like", who="ann", at=2.0))
    assert 0 < client.ttl(prompt_key(named)) <= 3600


def test_versions_no_longer_kept_leave_redis(store: RedisTaskStore, client: Redis) -> None:
    for number in range(KEPT_VERSIONS + 2):
        step(store, bytes([number]))
    lasting = [key for key in client.scan_iter("{taskgraft}:prompt:*") if client.ttl(key) == -1]
    assert len(lasting) == KEPT_VERSIONS


def test_a_change_that_was_overtaken_is_made_again_on_the_newer_state(
    store: RedisTaskStore, empty_redis: RedisServer
) -> None:
    other = RedisTaskStore(empty_redis.url)
    calls: list[int] = []
    prompt = StoredPrompt(store.put_prompt(b"slow"), 4, created_at=1.0)

    def slow(state: DesiredState) -> DesiredState:
        if not calls:
            step(other, b"fast")
        calls.append(state.generation)
        return graft(state, "like", prompt, who="bob")

    assert store.update(slow).generation == 2
    assert calls == [0, 1]
    assert [change.who for change in store.history()] == ["ann", "bob"]
    other.close()


def flip(client: Redis) -> None:
    body: Any = client.hget(STATE, "body")
    client.hset(STATE, "body", body.replace(b"ann", b"bob", 1))


def cut(client: Redis) -> None:
    client.hdel(STATE, "body")


def another_generation(client: Redis) -> None:
    client.hset(STATE, "generation", "7")


def no_number(client: Redis) -> None:
    client.hset(STATE, "generation", "many")


def another_type(client: Redis) -> None:
    client.set(STATE, "x")


def richer(client: Redis) -> None:
    """As a newer program might write it that forgot to count its format up."""
    body: Any = client.hget(STATE, "body")
    body = body.replace(b'"routing":{', b'"routing":{"paused":true,')
    client.hset(STATE, mapping={"body": body, "sha256": hashlib.sha256(body).hexdigest()})


@pytest.mark.parametrize("damage", [flip, cut, another_generation, no_number, another_type, richer])
def test_a_damaged_state_is_named_and_never_taken_for_an_empty_one(
    store: RedisTaskStore, client: Redis, damage: Callable[[Redis], None]
) -> None:
    step(store, b"one")
    damage(client)
    fresh = RedisTaskStore(f"redis://127.0.0.1:{client.connection_pool.connection_kwargs['port']}")
    with pytest.raises(CorruptStore, match="the task store"):
        fresh.read()
    with pytest.raises(CorruptStore, match="the task store"):
        step(fresh, b"two")
    fresh.close()


def test_a_damaged_prompt_is_refused_and_mended_by_putting_it_again(
    store: RedisTaskStore, client: Redis
) -> None:
    digest = step(store, b"one").tasks["like"].versions[0].sha256
    client.set(prompt_key(digest), b"two")
    with pytest.raises(CorruptStore, match="graft the file again"):
        store.prompt(digest)
    store.put_prompt(b"one")
    assert store.prompt(digest) == b"one"


def test_a_lost_prompt_is_missing_and_cannot_be_named(store: RedisTaskStore, client: Redis) -> None:
    digest = step(store, b"one").tasks["like"].versions[0].sha256
    client.delete(prompt_key(digest))
    with pytest.raises(PromptMissing):
        store.prompt(digest)
    gone = StoredPrompt("0" * 64, 1, created_at=1.0)
    with pytest.raises(PromptMissing, match="put_prompt it first"):
        store.update(lambda state: graft(state, "like", gone, who="ann"))


def test_a_damaged_list_of_changes_refuses_the_history_and_nothing_else(
    store: RedisTaskStore, client: Redis
) -> None:
    step(store, b"one")
    client.rpush("{taskgraft}:changes", "x")
    with pytest.raises(CorruptStore, match="list of changes"):
        store.history()
    assert step(store, b"two").generation == 2


def test_redis_away_is_unavailable_and_works_again_once_it_is_back(own_redis: RedisServer) -> None:
    store = RedisTaskStore(own_redis.url)
    step(store, b"one")
    own_redis.stop()
    calls: list[Callable[[], object]] = [
        store.read, store.generation, store.history, store.acknowledgements,
        lambda: store.put_prompt(b"two"),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(StoreUnavailable):
            call()
    own_redis.start()  # without persistence: all is gone, which is for whoever asks to judge
    assert store.generation() == 0
    assert replace(step(store, b"one"), changes=()).generation == 1
    store.close()


def test_redis_without_memory_is_unavailable_and_keeps_its_state(own_redis: RedisServer) -> None:
    store = RedisTaskStore(own_redis.url)
    step(store, b"one")
    with own_redis.client() as client:
        client.config_set("maxmemory", "1")
        with pytest.raises(StoreUnavailable):
            step(store, b"two")
        assert store.generation() == 1
        client.config_set("maxmemory", "0")
    assert step(store, b"two").generation == 2
    store.close()


@pytest.mark.parametrize("url", ["http://localhost", "redis://localhost:port", "redis://h?db=x"])
def test_an_address_that_is_none_is_refused_with_a_sentence(url: str) -> None:
    with pytest.raises(ConfigError, match="redis://"):
        RedisTaskStore(url)

"""The feature store of a fleet: packed values in Redis (or Valkey), shared by all replicas.

    read   --breaker--> one MGET within the read budget --> UserFeatures
    append --breaker--> one pipeline, one script per (user, behaviour)
             └--> StoreUnavailable   hung, away, out of memory, loading, or the breaker is open

Reads and writes have a pool and a breaker each: a write may take longer than a read ever should,
and must not use up its connections. Nothing is retried here; the next request is the retry.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from service.breaker import Breaker
from service.errors import StoreUnavailable
from service.features import (
    Event,
    OnCorrupt,
    UserFeatures,
    UserRecord,
    assemble,
    chunks,
    pack_events,
    pack_record,
    read_keys,
)
from service.packing import (
    MAX_EVENTS,
    Fields,
    Items,
    Layout,
    history_head,
    item_key,
    pack_fields,
    profile_key,
)
from service.redis_url import pool_settings, sound_url

_LOAD_CHUNK = 100
_TTL_JITTER = 0.1  # what was seeded in one minute must not expire in one minute

# packing.merge, inside Redis. The time is the last 8 bytes of an item; it is compared in halves,
# since a Lua number is a double and would round nanoseconds.
_APPEND = """
local head, new, width = ARGV[1], ARGV[2], tonumber(ARGV[3])
local cap, longest, ttl = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local body, old = '', redis.pcall('GET', KEYS[1])
if type(old) == 'string' and string.sub(old, 1, #head) == head
   and (#old - #head) % width == 0 and #old - #head <= longest * width then
  body = string.sub(old, #head + 1)
end
for first = 1, #new, width do
  local item = string.sub(new, first, first + width - 1)
  local low, high = struct.unpack('<I4i4', item, width - 7)
  local at, place, known = #body, nil, false
  while at > 0 and not known do
    local l, h = struct.unpack('<I4i4', body, at - 7)
    if h < high or (h == high and l < low) then break end
    if h == high and l == low then
      place = place or at
      known = string.sub(body, at - width + 1, at) == item
    end
    at = at - width
  end
  if not known then
    place = place or at
    body = string.sub(body, 1, place) .. item .. string.sub(body, place + 1)
  end
end
if #body > cap * width then body = string.sub(body, #body - cap * width + 1) end
if ttl > 0 then
  redis.call('SET', KEYS[1], head .. body, 'EX', ttl)
else
  redis.call('SET', KEYS[1], head .. body)
end
return #body / width
"""
_APPEND_SHA = hashlib.sha1(_APPEND.encode(), usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True)
class RedisOptions:
    """How long Redis may take, and how much of it is used.

    Args:
        read_budget_s: for the whole read, waiting for a connection and connecting included. A read
            that takes more than half of it is slow in the eyes of the breaker.
        write_budget_s: the same for an append, or a hundred seeded users.
        connections: the most connections of one worker process, for reads and for writes each.
        ttl_s: how long a key lives after its last write, give or take a tenth; 0 means for ever.
    """

    read_budget_s: float = 0.02
    write_budget_s: float = 1.0
    connections: int = 16
    ttl_s: int = 30 * 24 * 3600


class RedisStore:
    """A FeatureStore over one Redis server; connects at the first call, and again when it must.

    Raises:
        ConfigError: the URL is none of redis:// or rediss://.
    """

    def __init__(
        self, url: str, layout: Layout, on_corrupt: OnCorrupt, options: RedisOptions
    ) -> None:
        self._layout = layout
        self._on_corrupt = on_corrupt
        self._options = options
        self._reader = _client(url, options.read_budget_s, options.connections)
        self._writer = _client(url, options.write_budget_s, options.connections)
        self.reads = Breaker(slow_s=options.read_budget_s / 2)
        self.writes = Breaker(slow_s=options.write_budget_s / 2)

    async def read(self, user: str, items: Sequence[str] = ()) -> UserFeatures:
        keys = read_keys(self._layout, user, items)
        with self.reads.guard(), _failures():
            async with asyncio.timeout(self._options.read_budget_s):
                values: list[Any] = await self._reader.mget(keys)
        return assemble(self._layout, keys, items, values, self._on_corrupt)

    async def append(self, events: Sequence[Event]) -> None:
        packed = list(pack_events(self._layout, events).items())
        if not packed:
            return
        with self.writes.guard(), _failures():
            async with asyncio.timeout(self._options.write_budget_s):
                replies = await self._run_script(packed)
                # Redis forgets its scripts when it restarts. Events may stand already: no matter,
                # a repeat changes nothing.
                if any(isinstance(reply, NoScriptError) for reply in replies):
                    await self._writer.script_load(_APPEND)
                    replies = await self._run_script(packed)
                for reply in replies:
                    if isinstance(reply, Exception):
                        raise reply

    async def put_profile(self, user: str, fields: Fields) -> None:
        key = profile_key(user)
        await self._put([(key, pack_fields(key, fields, "profile"))])

    async def put_item(self, item: str, fields: Fields) -> None:
        key = item_key(item)
        await self._put([(key, pack_fields(key, fields, "item"))])

    async def load(self, records: Iterable[UserRecord]) -> int:
        users = 0
        for chunk in chunks(records, _LOAD_CHUNK):
            await self._put(
                [pair for record in chunk for pair in pack_record(self._layout, record)]
            )
            users += len(chunk)
        return users

    async def ping(self) -> None:
        with _failures():
            async with asyncio.timeout(self._options.read_budget_s):
                await self._reader.ping()

    async def close(self) -> None:
        await self._reader.aclose()
        await self._writer.aclose()

    async def _run_script(self, packed: list[tuple[bytes, Items]]) -> list[Any]:
        pipeline = self._writer.pipeline(transaction=False)
        for key, items in packed:
            width, cap = self._layout.width, self._layout.cap
            args = (history_head(self._layout, key), items.tobytes(), width, cap, MAX_EVENTS)
            pipeline.evalsha(_APPEND_SHA, 1, key, *args, self._ttl())
        return await pipeline.execute(raise_on_error=False)

    async def _put(self, pairs: list[tuple[bytes, bytes]]) -> None:
        pipeline = self._writer.pipeline(transaction=False)
        for key, value in pairs:
            pipeline.set(key, value, ex=self._ttl() or None)
        with self.writes.guard(), _failures():
            async with asyncio.timeout(self._options.write_budget_s):
                await pipeline.execute()

    def _ttl(self) -> int:
        spread = random.uniform(1 - _TTL_JITTER, 1 + _TTL_JITTER)
        return math.ceil(self._options.ttl_s * spread)


def _client(url: str, timeout_s: float, connections: int) -> Redis:
    with sound_url(url):
        settings = pool_settings(timeout_s, connections, "taskgraft")
        # The client's own ten retries would outlast any budget.
        pool = BlockingConnectionPool.from_url(url, retry=Retry(NoBackoff(), 0), **settings)
    pool.connection_kwargs["decode_responses"] = False  # whatever the URL asks for
    return Redis.from_pool(pool)


@contextmanager
def _failures() -> Iterator[None]:
    """Whatever Redis or the network does. The message names no address: it may reach a client."""
    try:
        yield
    except TimeoutError as err:
        raise StoreUnavailable("the feature store did not answer in time") from err
    except (RedisError, OSError) as err:
        raise StoreUnavailable(f"the feature store failed: {type(err).__name__}") from err

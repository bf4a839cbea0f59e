"""The feature store of a fleet: packed values in Redis (or Valkey), shared by all replicas.

    read   --breaker--> one MGET within the read budget --> UserFeatures
    append --breaker--> one pipeline, one script per (user, behaviour)
             └--> StoreUnavailable   hung, away, out of memory, loading, or the breaker is open

Reads and writes have connections and a breaker each: a write may take longer than a read ever
should, and must not use up its connections. Nothing is retried; the next request is the retry.
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

from redis.exceptions import NoScriptError, RedisError

from service.breaker import Breaker
from service.errors import StoreUnavailable
from service.features import (
    Event,
    OnCorrupt,
    Record,
    UserFeatures,
    assemble,
    chunks,
    pack_events,
    pack_record,
)
from service.packing import MAX_EVENTS, Items, Layout, history_head, item_key
from service.redis_link import open_link
from service.redis_url import read_redis_url

_LOAD_CHUNK = 100
_SLOW = 0.8  # of the budget; a machine that is busy for a moment must not open the breaker
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
return type(old) == 'table' and -1 or #body / width
"""
# MGET shows such a key as a missing one, so it is noticed when an append replaces it.
_WAS_OF_ANOTHER_TYPE = -1
_APPEND_SHA = hashlib.sha1(_APPEND.encode(), usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True)
class RedisOptions:
    """How long Redis may take, and how much of it is used.

    Args:
        read_budget_s: for the whole read, waiting for a connection and connecting included. A read
            that takes nearly all of it is slow in the eyes of the breaker.
        write_budget_s: the same for an append, or a hundred seeded users.
        connections: the most connections of one worker process, for reads and for writes each.
        ttl_s: how long a key lives after its last write, give or take a tenth; 0 means for ever.
    """

    read_budget_s: float = 0.02
    write_budget_s: float = 1.0
    connections: int = 16
    ttl_s: int = 30 * 24 * 3600


class RedisStore:
    """A FeatureStore over Redis; connects at the first call, and again when it must.

    Raises:
        ConfigError: the URL is none of redis_url.py.
    """

    def __init__(
        self, url: str, layout: Layout, on_corrupt: OnCorrupt, options: RedisOptions
    ) -> None:
        self._layout = layout
        self._on_corrupt = on_corrupt
        self._options = options
        place = read_redis_url(url)
        self._reader = open_link(place, options.read_budget_s, options.connections)
        self._writer = open_link(place, options.write_budget_s, options.connections)
        # Whoever finds no connection free waits its turn, within its budget.
        self._readers = asyncio.Semaphore(options.connections)
        self._writers = asyncio.Semaphore(options.connections)
        self.reads = Breaker(slow_s=options.read_budget_s * _SLOW)
        self.writes = Breaker(slow_s=options.write_budget_s * _SLOW)

    async def read(
        self, user: str, items: Sequence[str] = (), known: UserFeatures | None = None
    ) -> UserFeatures:
        near, others = self._layout.keys(user), [item_key(item) for item in items]
        with self.reads.guard(), _failures():
            async with asyncio.timeout(self._options.read_budget_s), self._readers:
                values = await self._reader.read(near, others)
        return assemble(self._layout, near + others, items, values, self._on_corrupt, known)

    async def append(self, events: Sequence[Event]) -> None:
        packed = list(pack_events(self._layout, events).items())
        if not packed:
            return
        with self.writes.guard(), _failures():
            async with asyncio.timeout(self._options.write_budget_s), self._writers:
                replies = await self._run_script(packed)
                # Redis forgets its scripts when it restarts. Events may stand already: no matter,
                # a repeat changes nothing.
                if any(isinstance(reply, NoScriptError) for reply in replies):
                    await self._writer.load_script(_APPEND)
                    replies = await self._run_script(packed)
                _raise_first(replies)
        for _ in range(replies.count(_WAS_OF_ANOTHER_TYPE)):
            self._on_corrupt("type")

    async def load(self, records: Iterable[Record]) -> int:
        count = 0
        for chunk in chunks(records, _LOAD_CHUNK):
            await self._put(
                [pair for record in chunk for pair in pack_record(self._layout, record)]
            )
            count += len(chunk)
        return count

    async def ping(self) -> None:
        with _failures():
            async with asyncio.timeout(self._options.read_budget_s), self._readers:
                await self._reader.ping()

    async def close(self) -> None:
        await self._reader.close()
        await self._writer.close()

    async def _run_script(self, packed: list[tuple[bytes, Items]]) -> list[Any]:
        limits = (self._layout.width, self._layout.cap, MAX_EVENTS)
        commands = []
        for key, items in packed:
            args = (history_head(self._layout, key), items.tobytes(), *limits, self._ttl())
            commands.append(("EVALSHA", _APPEND_SHA, 1, key, *args))
        return await self._writer.run(commands)

    async def _put(self, pairs: list[tuple[bytes, bytes]]) -> None:
        commands = [
            ("SET", key, value, *(("EX", self._ttl()) if self._options.ttl_s else ()))
            for key, value in pairs
        ]
        with self.writes.guard(), _failures():
            async with asyncio.timeout(self._options.write_budget_s), self._writers:
                _raise_first(await self._writer.run(commands))

    def _ttl(self) -> int:
        spread = random.uniform(1 - _TTL_JITTER, 1 + _TTL_JITTER)
        return math.ceil(self._options.ttl_s * spread)


def _raise_first(replies: list[Any]) -> None:
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply


@contextmanager
def _failures() -> Iterator[None]:
    """Whatever Redis or the network does. The message names no address: it may reach a client."""
    try:
        yield
    except TimeoutError as err:
        raise StoreUnavailable("the feature store did not answer in time") from err
    except (RedisError, OSError) as err:
        raise StoreUnavailable(f"the feature store failed: {type(err).__name__}") from err

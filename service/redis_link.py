"""The asyncio clients behind the feature store: one server, a sentinel's master, or a cluster.

    keys --read--> values          commands --run--> a reply or an error each
                      └────────────────┴--> RedisError, OSError, TimeoutError: as redis-py raises

All of it takes one round trip, whatever the number of keys and commands; in a cluster one to each
node concerned, all at once. Nothing is retried, and no wait here is without an end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Protocol

from redis.asyncio import ConnectionPool, Redis, RedisCluster, SSLConnection
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import Connection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from service.redis_url import RedisPlace, waits

Command = tuple[Any, ...]
_NAME = "taskgraft"
# Finding a cluster's nodes goes on beside the calls that need it, or one hung node, asked first by
# each of them, would eat every call's budget.
_SEARCH_S = 2.0


class RedisLink(Protocol):
    """Calls to Redis, wherever it is."""

    async def read(self, near: Sequence[bytes], others: Sequence[bytes]) -> list[bytes | None]:
        """The values of all keys; the near ones share a hash tag."""

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        """Each command names its key second, a script's third."""

    async def load_script(self, script: str) -> None: ...
    async def ping(self) -> None: ...
    async def close(self) -> None: ...


def open_link(place: RedisPlace, timeout_s: float, connections: int) -> RedisLink:
    """A client that connects when first called."""
    if place.kind == "cluster":
        return ClusterLink(place, timeout_s, connections)
    return ServerLink(place, timeout_s, connections)


class ServerLink:
    """One server, or whichever server the sentinels call master."""

    def __init__(self, place: RedisPlace, timeout_s: float, connections: int) -> None:
        given = {**place.login, **waits(timeout_s, _NAME), "max_connections": connections}
        given["retry"] = Retry(NoBackoff(), 0)
        self._sentinels: list[Redis] = []
        if place.kind == "sentinel":
            # Asked in turn at every connection: the last must still have its share of the time.
            patience_s = timeout_s / (len(place.nodes) + 1)
            asking = {**place.sentinel_login, **waits(patience_s, _NAME), "ssl": place.tls}
            asking["retry"] = given["retry"]
            found = Sentinel(place.nodes, sentinel_kwargs=asking)
            self._sentinels = found.sentinels
            self._redis: Redis = found.master_for(place.service, ssl=place.tls, **given)
        else:
            host, port = place.nodes[0]
            kind = SSLConnection if place.tls else Connection
            pool = ConnectionPool(kind, host=host, port=port, **given)
            self._redis = Redis.from_pool(pool)

    async def read(self, near: Sequence[bytes], others: Sequence[bytes]) -> list[bytes | None]:
        values: list[Any] = await self._redis.mget([*near, *others])
        return values

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        pipeline = self._redis.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        return await pipeline.execute(raise_on_error=False)

    async def load_script(self, script: str) -> None:
        await self._redis.script_load(script)

    async def ping(self) -> None:
        await self._redis.ping()

    async def close(self) -> None:
        await self._redis.aclose()
        for sentinel in self._sentinels:
            await sentinel.aclose()


class ClusterLink:
    """The masters of a cluster. Which of them holds a key is looked up anew after a failure."""

    def __init__(self, place: RedisPlace, timeout_s: float, connections: int) -> None:
        self._cluster = RedisCluster(
            startup_nodes=[ClusterNode(host, port) for host, port in place.nodes],
            ssl=place.tls,
            max_connections=connections,
            retry=Retry(NoBackoff(), 0),
            reinitialize_steps=0,
            **place.login,
            **waits(timeout_s, _NAME),
        )
        self._known = False
        self._search: asyncio.Task[None] | None = None

    async def read(self, near: Sequence[bytes], others: Sequence[bytes]) -> list[bytes | None]:
        replies = await self.run([("MGET", *near), *(("GET", key) for key in others)])
        if isinstance(replies[0], Exception):
            raise replies[0]
        # MGET gives nothing for a key of another type; a GET that fails for it shall do the same.
        found = (None if isinstance(reply, Exception) else reply for reply in replies[1:])
        return [*replies[0], *found]

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        if not self._known:
            await asyncio.shield(self._searching())
            if not self._known:
                raise ConnectionError("no node of the cluster says who holds what")
        pipeline = self._cluster.pipeline()
        for command in commands:
            pipeline.execute_command(*command)
        replies: list[Any] = []
        try:
            replies = await pipeline.execute(raise_on_error=False)
        finally:
            if not replies or any(isinstance(reply, (RedisError, OSError)) for reply in replies):
                self._searching()
        return replies

    async def load_script(self, script: str) -> None:
        await self._cluster.script_load(script)

    async def ping(self) -> None:
        await self.run([("GET", b"v1:ping")])

    async def close(self) -> None:
        if self._search is not None:
            self._search.cancel()
            with suppress(asyncio.CancelledError):
                await self._search
        await self._cluster.aclose()

    def _searching(self) -> asyncio.Task[None]:
        """One search at a time; calls go on by what is known meanwhile."""
        if self._search is None or self._search.done():
            self._search = asyncio.create_task(self._look_up())
        return self._search

    async def _look_up(self) -> None:
        with suppress(RedisError, OSError, TimeoutError):
            async with asyncio.timeout(_SEARCH_S):
                await self._cluster.initialize()
                if self._known:
                    await self._cluster.nodes_manager.initialize()
                self._known = True

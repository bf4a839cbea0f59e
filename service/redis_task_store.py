"""A task store in Redis (or Valkey), shared by the replicas of several hosts.

{taskgraft}:state          hash: generation, sha256, body; written by one script, so never half
{taskgraft}:changes        list: the changes of each generation, oldest first
{taskgraft}:prompt:SHA256  prompt files; one that no state names expires within the hour
{taskgraft}:workers        hash: how far each worker has come, and until when it counts as alive

    update: read -> change -> script, if the state is still the one that was read; else once more
      ├--> CorruptStore      a state or prompt whose digest does not fit, or of another type
      └--> StoreUnavailable  Redis is away, hung, out of memory, read-only

One hash tag holds all keys in one slot of a cluster. How much a crash of Redis can lose is for its
own persistence to say: appendonly, and noeviction.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from msgspec import Struct
from redis import BlockingConnectionPool, Connection, Redis, RedisCluster, SSLConnection
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeout
from redis.retry import Retry
from redis.sentinel import Sentinel

from service.errors import CorruptStore, PromptMissing, StoreUnavailable
from service.news import News, Pause
from service.redis_url import read_redis_url, waits
from service.stored_json import StoredJson
from service.task_store import (
    FORMAT_VERSION,
    Acknowledgement,
    Change,
    DesiredState,
    FormatVersion,
)

_PREFIX = "{taskgraft}:"
_STATE, _CHANGES, _WORKERS = _PREFIX + "state", _PREFIX + "changes", _PREFIX + "workers"
_DIGEST = re.compile(r"[0-9a-f]{64}")
_TIMEOUT_S = 2.0
_PAUSE_S, _SHORT_PAUSE_S = 0.02, 0.004  # between looks at what may have moved
_NAME = "taskgraft-tasks"
_CONNECTIONS = 8
_GRACE_S = 3600
_MOST_TRIES = 100

# KEYS: state, changes, then the prompts named anew, then those named no more.
_COMMIT = """
if (redis.call('HGET', KEYS[1], 'sha256') or '') ~= ARGV[1] then return 0 end
local added = tonumber(ARGV[6])
for at = 3, 2 + added do
  if redis.call('EXISTS', KEYS[at]) == 0 then return -(at - 2) end
end
redis.call('HSET', KEYS[1], 'generation', ARGV[2], 'sha256', ARGV[3], 'body', ARGV[4])
redis.call('RPUSH', KEYS[2], ARGV[5])
for at = 3, 2 + added do redis.call('PERSIST', KEYS[at]) end
for at = 3 + added, #KEYS do redis.call('EXPIRE', KEYS[at], ARGV[7]) end
return 1
"""
# A prompt that a state names has no expiry, and must not get one by being put again.
_PUT = """
local left = redis.call('TTL', KEYS[1])
redis.call('SET', KEYS[1], ARGV[1])
if left ~= -1 then redis.call('EXPIRE', KEYS[1], ARGV[2]) end
return 1
"""
_NOW = "local t = redis.call('TIME') local now = t[1] * 1000 + math.floor(t[2] / 1000) "
_TELL = _NOW + "return redis.call('HSET', KEYS[1], ARGV[1], (now + ARGV[2]) .. ' ' .. ARGV[3])"
_ALIVE = (
    _NOW
    + """
local told, alive = redis.call('HGETALL', KEYS[1]), {}
for at = 2, #told, 2 do
  local ends, text = string.match(told[at], '^(%d+) (.*)$')
  if ends and tonumber(ends) > now then
    table.insert(alive, text)
  else
    redis.call('HDEL', KEYS[1], told[at - 1])
  end
end
return alive
"""
)


class _Body(Struct, frozen=True, forbid_unknown_fields=True):
    format_version: FormatVersion
    state: DesiredState


_BODY = StoredJson[_Body](_Body)
_CHANGE_LIST = StoredJson[tuple[Change, ...]](tuple[Change, ...])
_ACKNOWLEDGEMENT = StoredJson[Acknowledgement](Acknowledgement)
_Reply = Any  # what a script returns; redis-py does not know it either


class RedisTaskStore:
    """A TaskStore. Connects at the first call, and again when it must; nothing is retried here.

    Raises:
        ConfigError: the URL is none of redis_url.py.
        StoreUnavailable: a cluster of which no node answers.
    """

    def __init__(self, url: str) -> None:
        self._redis, self._sentinels = _client(url)
        self._commit, self._put, self._tell, self._alive = (
            self._redis.register_script(script) for script in (_COMMIT, _PUT, _TELL, _ALIVE)
        )
        self._seen: tuple[bytes, DesiredState] | None = None

    def read(self) -> DesiredState:
        return self._read()[1]

    def generation(self) -> int:
        with _failures():
            found: Any = self._redis.hget(_STATE, "generation")
        if found is None:
            return 0
        if not found.isdigit():
            raise CorruptStore(f"the task store's generation is {found[:20]!r}; restore a copy")
        return int(found)

    def history(self) -> tuple[Change, ...]:
        with _failures():
            told: Any = self._redis.lrange(_CHANGES, 0, -1)
        try:
            return tuple(c for line in told for c in _CHANGE_LIST.load(line))
        except ValueError as err:
            raise CorruptStore("the task store's list of changes is damaged; restore it") from err

    def prompt(self, sha256: str) -> bytes:
        with _failures():
            content: Any = self._redis.get(_prompt_key(sha256))
        if content is None:
            raise PromptMissing(f"the task store holds no prompt {sha256}")
        if hashlib.sha256(content).hexdigest() != sha256:
            raise CorruptStore(f"the stored prompt {sha256} is damaged; graft the file again")
        return bytes(content)

    def put_prompt(self, content: bytes) -> str:
        sha256 = hashlib.sha256(content).hexdigest()
        with _failures():
            self._put(keys=[_prompt_key(sha256)], args=[content, _GRACE_S])
        return sha256

    def update(self, change: Callable[[DesiredState], DesiredState]) -> DesiredState:
        for _ in range(_MOST_TRIES):
            digest, before = self._read()
            wanted = change(replace(before, changes=()))
            if replace(wanted, changes=before.changes) == before:
                return before
            generation = before.generation + 1
            changes = tuple(replace(c, generation=generation) for c in wanted.changes)
            after = replace(wanted, generation=generation, changes=changes)
            if self._committed(digest, before, after):
                return after
        raise StoreUnavailable("the task store is being changed by too many at once; try again")

    def acknowledge(self, told: Acknowledgement, lease_s: float) -> None:
        text = _ACKNOWLEDGEMENT.dump(told)
        with _failures():
            self._tell(keys=[_WORKERS], args=[told.worker, int(lease_s * 1000), text])

    def acknowledgements(self) -> tuple[Acknowledgement, ...]:
        with _failures():
            told: _Reply = self._alive(keys=[_WORKERS])
        alive = []
        for text in told:
            try:
                alive.append(_ACKNOWLEDGEMENT.load(text))
            except ValueError:
                continue  # of another form: whoever wrote it writes again within a second
        return tuple(sorted(alive, key=lambda told: told.worker))

    def news(self) -> News:
        return Pause(_PAUSE_S, _SHORT_PAUSE_S)

    def worker_news(self) -> News:
        return Pause(_SHORT_PAUSE_S, _SHORT_PAUSE_S)

    def forget(self, worker: str) -> None:
        with _failures():
            self._redis.hdel(_WORKERS, worker)

    def close(self) -> None:
        for client in (self._redis, *self._sentinels):
            client.close()

    def _read(self) -> tuple[bytes, DesiredState]:
        """The digest of the state, empty before the first update, and the state."""
        with _failures():
            found: Any = self._redis.hmget(_STATE, "generation", "sha256", "body")
        generation, digest, body = found
        if (generation, digest, body) == (None, None, None):
            return b"", DesiredState()
        if (
            self._seen is not None
            and self._seen[0] == digest
            and generation == b"%d" % (self._seen[1].generation)
        ):
            return self._seen
        if None in found or hashlib.sha256(body).hexdigest().encode() != digest:
            raise CorruptStore(
                "the task store's state is damaged: its digest does not fit; restore a copy"
            )
        self._seen = digest, _parse(body, generation)
        return self._seen

    def _committed(self, digest: bytes, before: DesiredState, after: DesiredState) -> bool:
        """Whether it was written; not if the state of this digest was replaced meanwhile."""
        added = sorted(after.prompts() - before.prompts())
        dropped = sorted(before.prompts() - after.prompts())
        body = _BODY.dump(_Body(FORMAT_VERSION, after))
        sha256 = hashlib.sha256(body).hexdigest()
        changes = _CHANGE_LIST.dump(after.changes)
        keys = [_STATE, _CHANGES, *(_prompt_key(name) for name in (*added, *dropped))]
        args: list[Any] = [digest, after.generation, sha256, body, changes, len(added), _GRACE_S]
        with _failures():
            reply: _Reply = self._commit(keys=keys, args=args)
        if reply < 0:
            raise PromptMissing(f"prompt {added[-reply - 1]} is not stored; put_prompt it first")
        return bool(reply)


def _client(url: str) -> tuple[Redis | RedisCluster, list[Redis]]:
    """The client, and the sentinels that it asks where the master is."""
    place = read_redis_url(url)
    given = {**place.login, **waits(_TIMEOUT_S, _NAME), "retry": Retry(NoBackoff(), 0)}
    if place.kind == "cluster":
        nodes = [ClusterNode(host, port) for host, port in place.nodes]
        with _failures():  # the client looks for its nodes when it is made
            return RedisCluster(startup_nodes=nodes, ssl=place.tls, **given), []
    if place.kind == "sentinel":
        asking = {**place.sentinel_login, **waits(_TIMEOUT_S, _NAME), "ssl": place.tls}
        sentinel = Sentinel(place.nodes, sentinel_kwargs=asking | {"retry": given["retry"]})
        master: Redis = sentinel.master_for(place.service, ssl=place.tls, **given)
        return master, sentinel.sentinels
    host, port = place.nodes[0]
    pool = BlockingConnectionPool(
        max_connections=_CONNECTIONS,
        timeout=_TIMEOUT_S,
        connection_class=SSLConnection if place.tls else Connection,
        host=host,
        port=port,
        **given,
    )
    return Redis.from_pool(pool), []


def _prompt_key(sha256: str) -> str:
    if not _DIGEST.fullmatch(sha256):
        raise PromptMissing(f"{sha256!r} is no sha256; expected 64 hexadecimal digits")
    return f"{_PREFIX}prompt:{sha256}"


def _parse(body: bytes, generation: bytes) -> DesiredState:
    try:
        state = _BODY.load_whole(body).state
    except ValueError as err:
        raise CorruptStore(
            f"the task store's state is of a form unknown here ({err}); "
            "use the program that wrote it"
        ) from err
    if b"%d" % state.generation != generation:
        raise CorruptStore(
            f"the task store's state holds generation {state.generation}, not {generation!r}"
        )
    return state


@contextmanager
def _failures() -> Iterator[None]:
    """Whatever Redis or the network does. The message names no address: it may reach a client."""
    try:
        yield
    except ResponseError as err:
        if "WRONGTYPE" in str(err):
            raise CorruptStore(
                "a key of the task store holds another type; restore it, or use another database"
            ) from err
        raise StoreUnavailable(f"the task store refused: {type(err).__name__}") from err
    except (RedisTimeout, TimeoutError) as err:
        raise StoreUnavailable("the task store did not answer in time") from err
    except (RedisError, OSError) as err:
        raise StoreUnavailable(f"the task store failed: {type(err).__name__}") from err

"""Real servers and stores for the service's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.redis_fleet import RedisCluster
from tests.redis_server import RedisServer, valkey_binary


@pytest.fixture(scope="session")
def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One server for all tests that leave it whole."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def empty_redis(shared_redis: RedisServer) -> RedisServer:
    """The shared server, emptied."""
    with shared_redis.client() as client:
        client.flushall()
    return shared_redis


@pytest.fixture
def own_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server that the test may pause and kill."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def shared_valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One Valkey server for all tests that leave it whole."""
    server = RedisServer(tmp_path_factory.mktemp("valkey"), binary=valkey_binary())
    server.start()
    yield server
    server.stop()


@pytest.fixture
def empty_valkey(shared_valkey: RedisServer) -> RedisServer:
    """The shared Valkey server, emptied."""
    with shared_valkey.client() as client:
        client.flushall()
    return shared_valkey


@pytest.fixture(scope="session")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    """Three masters and a replica of the first, for all tests that leave them whole."""
    with RedisCluster(tmp_path_factory.mktemp("cluster"), replica=True) as cluster:
        yield cluster


@pytest.fixture
def empty_cluster(shared_cluster: RedisCluster) -> RedisCluster:
    """The shared cluster, emptied."""
    shared_cluster.flush()
    return shared_cluster

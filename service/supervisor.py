"""Several worker processes over the same two sockets, and what keeps them alive.

    sockets --Supervisor--> the first worker --ready--> all others --all ready--> traffic is wanted
                 |                                           └--died--> another in its place
                 └--> ConfigError, WorkerFailed: a worker cannot start at all; its own sentence

The first worker starts alone, so a service that cannot start says so once. SIGTERM and SIGINT are
passed on as orders and nobody is replaced after them. This process serves nothing itself, so that
little can go wrong in it.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import socket
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import structlog
from pydantic import ValidationError

from service.birth import BIRTH, DRAIN, NEWS, OPEN, STOP, Birth, News
from service.errors import ConfigError, WorkerFailed
from service.settings import Settings

_ROOT = Path(__file__).parents[1]
# Not -m: that would let a folder of the same name in the working directory go first.
_PROGRAM = "import sys; sys.path.insert(0, {root!r}); from service.worker import main; main()"
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 10.0
_SOUND_LIFE_S = 60.0
_MOST_STILLBORN = 5
_LAST_GRACE_S = 10.0
_log = structlog.get_logger()


class Supervisor:
    """Starts, watches and ends the workers of one service. Event loop only."""

    def __init__(self, settings: Settings, public: socket.socket, admin: socket.socket) -> None:
        self._settings = settings
        self._public, self._admin = public, admin
        self._folder = tempfile.mkdtemp(prefix="taskgraft-")
        self._running: dict[int, asyncio.subprocess.Process] = {}
        self._channels: dict[int, asyncio.StreamWriter] = {}
        self._first = asyncio.Event()
        self._ready = set[int]()  # slots whose worker was ready once
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Serve until told to stop and all workers have ended.

        Raises:
            ConfigError, WorkerFailed: a worker cannot start.
        """
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._stop, DRAIN)
        loop.add_signal_handler(signal.SIGINT, self._stop, STOP)
        keepers = {asyncio.create_task(self._keep(0))}
        started = asyncio.create_task(self._first.wait())
        try:
            await asyncio.wait({*keepers, started}, return_when=asyncio.FIRST_COMPLETED)
            if started.done():
                others = range(1, self._settings.workers)
                keepers |= {asyncio.create_task(self._keep(slot)) for slot in others}
            await asyncio.wait(keepers, return_when=asyncio.FIRST_EXCEPTION)
            failure = next((k.exception() for k in keepers if k.done() and k.exception()), None)
            if failure is not None:
                self._stop(STOP)
                await asyncio.wait(keepers)
                raise failure
        finally:
            started.cancel()
            shutil.rmtree(self._folder, ignore_errors=True)
            _log.info("workers_stopped")

    def _admit(self, slot: int) -> None:
        """Nobody serves before all could; from then on, each does as soon as it can."""
        self._ready.add(slot)
        if len(self._ready) == self._settings.workers:
            for channel in self._channels.values():
                channel.write(OPEN)

    def _stop(self, order: bytes) -> None:
        self._stopping.set()
        for channel in self._channels.values():
            channel.write(order)
        patience_s = self._settings.drain_s + self._settings.shutdown_s + _LAST_GRACE_S
        asyncio.get_running_loop().call_later(patience_s, self._kill)

    def _kill(self) -> None:
        for process in self._running.values():
            with suppress(ProcessLookupError):
                process.kill()

    async def _keep(self, slot: int) -> None:
        """A worker in this slot, again and again; raises if there never was one."""
        bad = 0
        proven = False
        while not self._stopping.is_set():
            since = time.monotonic()
            news, code = await self._live(slot, early=slot == 0 and not proven)
            if self._stopping.is_set():
                return
            proven = proven or news == News()
            if not proven:
                self._give_up(slot, news, code, bad)
            bad = 1 if time.monotonic() - since > _SOUND_LIFE_S else bad + 1
            reason = news.failed if news else ""
            _log.warning("worker_ended", worker=slot, exit_code=code, reason=reason)
            pause_s = min(_FIRST_PAUSE_S * 2 ** (bad - 1), _LONGEST_PAUSE_S)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause_s)

    def _give_up(self, slot: int, news: News | None, code: int, bad: int) -> None:
        """Raises for a worker that told why it cannot start, or died too often before it could."""
        if news is not None:
            raise (ConfigError if news.misuse else WorkerFailed)(news.failed)
        if bad + 1 >= _MOST_STILLBORN:
            raise WorkerFailed(
                f"worker {slot} ended {_MOST_STILLBORN} times before it was ready, the last time "
                f"with exit code {code}; its own lines say more"
            )

    async def _live(self, slot: int, *, early: bool) -> tuple[News | None, int]:
        """One worker's life: the last it told, and its exit code."""
        ours, theirs = socket.socketpair()
        sockets = self._public.fileno(), self._admin.fileno()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",
                "-c",
                _PROGRAM.format(root=str(_ROOT)),
                str(theirs.fileno()),
                f"worker-{slot}",
                pass_fds=(theirs.fileno(), *sockets),
                # Ctrl-C in a terminal goes to the whole group: ours alone shall pass it on.
                start_new_session=True,
            )
        self._running[slot] = process
        reader, writer = await asyncio.open_connection(sock=ours)
        try:
            birth = Birth(*sockets, slot, self._folder, early, self._settings)
            writer.write(BIRTH.dump_json(birth) + b"\n")
            self._channels[slot] = writer
            if self._stopping.is_set():  # whoever told all channels did not know this one
                process.kill()
            news = await self._listen(slot, process, reader)
            return news, await process.wait()
        finally:
            del self._running[slot]
            self._channels.pop(slot, None)
            writer.close()

    async def _listen(
        self, slot: int, process: asyncio.subprocess.Process, reader: asyncio.StreamReader
    ) -> News | None:
        last = None
        with suppress(ConnectionError, ValidationError):
            async for line in reader:
                last = NEWS.validate_json(line)
                if not last.failed:
                    self._first.set()
                    self._admit(slot)
                    _log.info("worker_ready", worker=slot, pid=process.pid)
        return last

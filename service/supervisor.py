"""Several worker processes over the same two sockets, and what keeps them alive.

    sockets --Supervisor--> the first worker --ready--> all others --all ready--> traffic is wanted
                 |                                           └--died--> another in its place
                 └--> ConfigError, WorkerFailed: a worker cannot start at all; its own sentence

The first worker starts alone, so a service that cannot start says so once. SIGTERM and SIGINT are
passed on as orders and nobody is replaced after them. This process serves nothing itself, so that
little can go wrong in it, and has one thread and no event loop, so that it can fork at any time.
"""

from __future__ import annotations

import math
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import wait

import structlog

from service.birth import DRAIN, OPEN, STOP, Birth, Life, News, Sockets
from service.errors import ConfigError, WorkerFailed
from service.settings import Settings
from service.worker_process import SIGNALS, WorkerProcess

_ORDERS = {signal.SIGTERM: DRAIN, signal.SIGINT: STOP}
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 10.0
_SOUND_LIFE_S = 60.0
_MOST_STILLBORN = 5
_LAST_GRACE_S = 10.0
_log = structlog.get_logger()


@dataclass(slots=True, eq=False)
class _Slot:
    """A place for a worker.

    Attributes:
        due: when the next one is born, on the monotonic clock.
        proven: whether one was ready here.
        bad: how many in a row did not live long.
    """

    number: int
    due: float = math.inf
    worker: WorkerProcess | None = None
    proven: bool = False
    bad: int = 0


class Supervisor:
    """Starts, watches and ends the workers of one service. Main thread only.

    Args:
        settings: of the service.
        sockets: listening; the caller closes them.
        life: what each worker does.
    """

    def __init__(self, settings: Settings, sockets: Sockets, life: Life) -> None:
        self._settings = settings
        self._sockets = sockets
        self._life = life
        self._folder = tempfile.mkdtemp(prefix="taskgraft-")
        self._slots = [_Slot(number) for number in range(settings.workers)]
        self._stopping = False
        self._failure: ConfigError | WorkerFailed | None = None
        self._killing = math.inf  # when patience ends, on the monotonic clock

    def run(self) -> None:
        """Serve until told to stop and all workers have ended.

        Raises:
            ConfigError, WorkerFailed: a worker cannot start.
        """
        self._slots[0].due = 0.0
        try:
            with _caught() as signals:
                while self._living() or not self._stopping:
                    self._bear(signals)
                    self._look(signals)
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)
            _log.info("workers_stopped")
        if self._failure is not None:
            raise self._failure

    def _living(self) -> list[tuple[_Slot, WorkerProcess]]:
        return [(slot, slot.worker) for slot in self._slots if slot.worker is not None]

    def _empty(self) -> list[_Slot]:
        """Where another worker is wanted."""
        return [slot for slot in self._slots if slot.worker is None and not self._stopping]

    def _bear(self, signals: socket.socket) -> None:
        """A worker for each slot whose time has come."""
        for slot in self._empty():
            if slot.due <= time.monotonic():
                birth = Birth(
                    self._settings,
                    self._sockets,
                    slot.number,
                    self._folder,
                    early=slot.number == 0 and not slot.proven,
                    replaces=slot.proven,
                )
                strange = [signals, *(worker.channel for _, worker in self._living())]
                slot.worker = WorkerProcess.fork(self._life, birth, strange)

    def _look(self, signals: socket.socket) -> None:
        """Wait until something happens, and see to it."""
        living = self._living()
        awaited: list[socket.socket | int] = [signals]
        awaited += [worker.channel for _, worker in living if not worker.silent]
        awaited += [worker.process.sentinel for _, worker in living]
        until = min([self._killing, *(slot.due for slot in self._empty())])
        happened = wait(awaited, None if math.isinf(until) else max(0.0, until - time.monotonic()))
        if time.monotonic() >= self._killing:
            for _, worker in living:
                worker.process.kill()
            self._killing = math.inf
        if signals in happened:
            for number in signals.recv(64):
                self._stop(_ORDERS[signal.Signals(number)])
        for slot, worker in living:
            died = worker.process.sentinel in happened
            if died or worker.channel in happened:
                self._hear(slot, worker)
            if died:
                self._bury(slot, worker)

    def _hear(self, slot: _Slot, worker: WorkerProcess) -> None:
        for news in worker.heard():
            if not news.failed:
                self._admit(slot)
                _log.info("worker_ready", worker=slot.number, pid=worker.process.pid)

    def _admit(self, slot: _Slot) -> None:
        """Nobody serves before all could; from then on, each does as soon as it can."""
        slot.proven = True
        for other in self._slots:
            if math.isinf(other.due):  # the first one can start, so can all
                other.due = 0.0
        if all(other.proven for other in self._slots):
            self._tell(OPEN)

    def _bury(self, slot: _Slot, worker: WorkerProcess) -> None:
        """Another comes after a pause, unless there never was one."""
        code = worker.ended()
        slot.worker = None
        if self._stopping:
            return
        if not slot.proven and (failure := _stillborn(slot, worker.told, code)) is not None:
            self._failure = failure
            self._stop(STOP)
            return
        sound = time.monotonic() - worker.since > _SOUND_LIFE_S
        slot.bad = 1 if sound else slot.bad + 1
        reason = worker.told.failed if worker.told is not None else ""
        _log.warning("worker_ended", worker=slot.number, exit_code=code, reason=reason)
        pause_s = min(_FIRST_PAUSE_S * 2 ** (slot.bad - 1), _LONGEST_PAUSE_S)
        slot.due = time.monotonic() + pause_s

    def _stop(self, order: bytes) -> None:
        self._stopping = True
        self._tell(order)
        patience_s = self._settings.drain_s + self._settings.shutdown_s + _LAST_GRACE_S
        self._killing = min(self._killing, time.monotonic() + patience_s)

    def _tell(self, order: bytes) -> None:
        for _, worker in self._living():
            worker.tell(order)


def _stillborn(slot: _Slot, told: News | None, code: int) -> ConfigError | WorkerFailed | None:
    """Why to give up: a worker told why it cannot start, or too many died before they could."""
    if told is not None:
        return (ConfigError if told.misuse else WorkerFailed)(told.failed)
    if slot.bad + 1 >= _MOST_STILLBORN:
        return WorkerFailed(
            f"worker {slot.number} ended {_MOST_STILLBORN} times before it was ready, the last "
            f"time with exit code {code}; its own lines say more"
        )
    return None


@contextmanager
def _caught() -> Iterator[socket.socket]:
    """Where the numbers of the signals come out that ask this process to end."""
    heard, written = socket.socketpair()
    written.settimeout(0)
    with heard, written:
        signal.set_wakeup_fd(written.fileno())
        before = {number: signal.signal(number, _heed) for number in SIGNALS}
        try:
            yield heard
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(-1)


def _heed(*_: object) -> None:
    """That there is a handler keeps the signal from ending the process."""

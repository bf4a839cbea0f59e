"""A worker process as its supervisor holds it.

Birth, Life --fork--> WorkerProcess --heard--> News          --tell--> orders
                            └--ended--> exit code, all of it given back
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.context import ForkProcess
from typing import Self

from pydantic import ValidationError

from service.birth import NEWS, Birth, Life, News

SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT})
_READ_BYTES = 65_536


@dataclass(slots=True, eq=False)
class WorkerProcess:
    """One worker, from its birth until it is buried.

    Attributes:
        since: when it was born, on the monotonic clock.
        told: the last it told.
        silent: whether it has closed its end of the channel.
    """

    process: ForkProcess
    channel: socket.socket
    since: float = field(default_factory=time.monotonic)
    told: News | None = None
    silent: bool = False
    _unread: bytes = b""

    @classmethod
    def fork(cls, life: Life, birth: Birth, strange: Collection[socket.socket]) -> Self:
        """Only from a process with one thread.

        Args:
            life: what it does.
            birth: what it is.
            strange: open here, and none of its business.
        """
        ours, theirs = socket.socketpair()
        ours.settimeout(0)
        process = multiprocessing.get_context("fork").Process(
            target=_live, args=(life, birth, theirs, [ours, *strange])
        )
        # Until it has let go of our handlers, a signal of its own would look like one of ours.
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            theirs.close()
        return cls(process, ours)

    def heard(self) -> list[News]:
        """What it has told since the last time. Never waits."""
        lines: list[bytes] = []
        with suppress(BlockingIOError):
            while read := self._read():
                *more, self._unread = (self._unread + read).split(b"\n")
                lines += more
            self.silent = True
        news = []
        for line in lines:
            with suppress(ValidationError):
                news.append(NEWS.validate_json(line))
        self.told = news[-1] if news else self.told
        return news

    def _read(self) -> bytes:
        """Nothing from one that has closed its end; raises BlockingIOError for nothing yet."""
        try:
            return self.channel.recv(_READ_BYTES)
        except ConnectionError:
            return b""

    def tell(self, order: bytes) -> None:
        with suppress(OSError):  # it has just died
            self.channel.send(order)

    def ended(self) -> int:
        """The exit code, negative for a signal; only of one whose sentinel fired."""
        self.process.join()
        code = self.process.exitcode
        self.process.close()
        self.channel.close()
        return 0 if code is None else code


def _live(
    life: Life, birth: Birth, channel: socket.socket, strange: Collection[socket.socket]
) -> None:
    os.setsid()  # Ctrl-C in a terminal goes to the whole group: the supervisor alone passes it on
    signal.set_wakeup_fd(-1)
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    for sock in strange:  # while a sibling held them, nobody would learn that the supervisor died
        sock.close()
    life(birth, channel)

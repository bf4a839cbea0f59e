"""What the workers of one service have proved, and whose turn it is to prove.

    a grafted prompt --turn--> one worker at a time checks it: the other cores answer requests
                     --has---> what a sibling replayed on this bundle is not replayed again

Workers are forks of one process: the same code, bundle and provider on the same host score a
prompt's golden rows alike. A file holds what they know of each other, for as long as the service
runs. Both are a courtesy and no promise: what is forgotten is proved once more, and whoever waits
too long for a turn goes on without turns for a while, for the worker that has it may hang.
"""

from __future__ import annotations

import fcntl
import hashlib
import math
import mmap
import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from service.backbone import BundleRef

_KEY_BYTES = 32
_MOST = 4096
_BYTES = (1 + _MOST) * _KEY_BYTES  # the first place holds how many there ever were
_PATIENCE_S = 0.25
_LOOK_EVERY_S = 0.001
# Between two turns of one process, or those who look would never see one.
_REST_S = 2 * _LOOK_EVERY_S
_WITHOUT_S = 5.0  # turns are not waited for again, once one was waited for in vain


class Where(NamedTuple):
    """What a prompt is proved on: graphs, and what runs them."""

    bundle: BundleRef
    provider: str


class Proofs:
    """Any thread.

    Args:
        path: of the file that the workers share; a process that is alone needs none.
    """

    def __init__(self, path: Path | None = None) -> None:
        # Open, and so locked if it was, for as long as the process lives.
        self._file = None if path is None else os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        self._places = _mapped(self._file)
        self._turn = threading.Lock()  # among threads; the file's lock is among processes
        self._ended_at = self._in_vain_at = -math.inf

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for the turn, but not long; it ends with the block, or with the process."""
        with ExitStack() as held:
            if time.monotonic() > self._in_vain_at + _WITHOUT_S:
                self._wait(held)
            yield

    def has(self, where: Where, sha256: str) -> bool:
        """Whether a prompt was proved there."""
        return self._places.find(_key(where, sha256), _KEY_BYTES) >= 0

    def add(self, where: Where, sha256: str) -> None:
        """The oldest are forgotten. Of two at once without a turn one may be, too."""
        if self.has(where, sha256):
            return
        count = int.from_bytes(self._places[:_KEY_BYTES], "little")
        place = (1 + count % _MOST) * _KEY_BYTES
        self._places[place : place + _KEY_BYTES] = _key(where, sha256)
        self._places[:_KEY_BYTES] = (count + 1).to_bytes(_KEY_BYTES, "little")

    def _wait(self, held: ExitStack) -> None:
        end = time.monotonic() + _PATIENCE_S
        if not self._turn.acquire(timeout=_PATIENCE_S):
            self._in_vain_at = time.monotonic()
            return
        held.callback(self._turn.release)
        if self._file is None:
            return
        time.sleep(max(self._ended_at + _REST_S - time.monotonic(), 0.0))
        if _locked(self._file, end):
            held.callback(self._end, self._file)
        else:
            self._in_vain_at = time.monotonic()

    def _end(self, file: int) -> None:
        fcntl.lockf(file, fcntl.LOCK_UN)
        self._ended_at = time.monotonic()


def _locked(file: int, end: float) -> bool:
    """Looks again and again: waiting in the kernel has no time limit."""
    while time.monotonic() < end:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            time.sleep(_LOOK_EVERY_S)
        else:
            return True
    return False


def _mapped(file: int | None) -> mmap.mmap:
    """Memory of this process alone, where a full disk has no room for what is shared."""
    if file is not None:
        with suppress(OSError):
            os.posix_fallocate(file, 0, _BYTES)  # a page without a block would end the process
            return mmap.mmap(file, _BYTES)
    return mmap.mmap(-1, _BYTES)


def _key(where: Where, sha256: str) -> bytes:
    return hashlib.sha256(f"{where.bundle.manifest} {where.provider} {sha256}".encode()).digest()

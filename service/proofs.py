"""What the workers of one service have proved, and whose turn it is to prove.

    a grafted prompt --turn--> one worker at a time checks it: the other cores answer requests
                     --has---> what a sibling replayed on this bundle is not replayed again

Workers are forks of one process: the same code, bundle and settings on the same host score a
prompt's golden rows alike. A file holds what they know of each other, for as long as the service
runs. Both are a courtesy and no promise: what is forgotten is proved once more, and whoever waits
too long for a turn goes on without it, for the worker that has it may hang.
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from service.backbone import BundleRef

_KEY_BYTES = 32
_MOST = 4096
_BYTES = (1 + _MOST) * _KEY_BYTES  # the first place holds how many there ever were
_PATIENCE_S = 0.25
_LOOK_EVERY_S = 0.001


class Proofs:
    """Any thread.

    Args:
        path: of the file that the workers share; a process that is alone needs none.
    """

    def __init__(self, path: Path | None = None) -> None:
        # Open, and so locked if it was, for as long as the process lives.
        self._file = None if path is None else os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        if self._file is None:
            self._places = mmap.mmap(-1, _BYTES)
        else:
            os.truncate(self._file, _BYTES)
            self._places = mmap.mmap(self._file, _BYTES)
        self._turn = threading.Lock()  # among threads; the file's lock is among processes

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for the turn, but not long; it ends with the block, or with the process."""
        end = time.monotonic() + _PATIENCE_S
        with ExitStack() as held:
            if self._turn.acquire(timeout=_PATIENCE_S):
                held.callback(self._turn.release)
                if self._file is not None and _locked(self._file, end):
                    held.callback(fcntl.lockf, self._file, fcntl.LOCK_UN)
            yield

    def has(self, bundle: BundleRef, sha256: str) -> bool:
        """Whether a prompt was proved on this bundle."""
        return self._places.find(_key(bundle, sha256), _KEY_BYTES) >= 0

    def add(self, bundle: BundleRef, sha256: str) -> None:
        """The oldest are forgotten. Of two at once without a turn one may be, too."""
        if self.has(bundle, sha256):
            return
        count = int.from_bytes(self._places[:_KEY_BYTES], "little")
        place = (1 + count % _MOST) * _KEY_BYTES
        self._places[place : place + _KEY_BYTES] = _key(bundle, sha256)
        self._places[:_KEY_BYTES] = (count + 1).to_bytes(_KEY_BYTES, "little")


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


def _key(bundle: BundleRef, sha256: str) -> bytes:
    return hashlib.sha256(f"{bundle.manifest} {sha256}".encode()).digest()

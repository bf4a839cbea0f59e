"""Acknowledgements in a directory: one small file per worker, written in place.

    Acknowledgement + lease --write--> workers/DIGEST-OF-ID --read--> those whose lease still runs

Nothing here is durable: whoever is alive writes again within a second. A rename would wait for the
disk where somebody makes other files durable beside it; instead each file begins with the length
and check sum of what follows, and whoever meets it half written looks again. A young file that
stays unreadable may be of a worker alive, so nobody counts without it; an old one, and one long
past its lease, is removed by whoever meets it. Leases are in the host's monotonic clock, which all
its processes share and nobody sets; a lease that ends too far ahead is from before the host was
started.
"""

from __future__ import annotations

import hashlib
import os
import struct
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

from service.errors import StoreUnavailable
from service.stored_json import StoredJson
from service.task_store import Acknowledgement

_LITTER_S = 60.0
_LONGEST_LEASE_S = 600.0
_HEAD = struct.Struct("<II")  # bytes that follow, and their check sum
_LOOKS, _PAUSE_S = 5, 0.0005
_YOUNG_S = 5.0  # longer than any worker alive is silent


@dataclass(frozen=True, slots=True)
class _Lease:
    until: float  # seconds of the monotonic clock
    told: Acknowledgement


_LEASE = StoredJson[_Lease](_Lease)


class WorkerDirectory:
    """What the workers of one task directory told last."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._paths: dict[str, Path] = {}  # of the workers that tell through this object

    def write(self, told: Acknowledgement, lease_s: float) -> None:
        content = _LEASE.dump(_Lease(time.monotonic() + lease_s, told))
        try:
            handle = os.open(self._path(told.worker), os.O_WRONLY | os.O_CREAT, 0o644)
            try:
                whole = _HEAD.pack(len(content), crc32(content)) + content
                written = os.write(handle, whole)
            finally:
                os.close(handle)
        except OSError as err:
            raise StoreUnavailable(f"the task store cannot be written: {err.strerror}") from err
        if written < len(whole):
            raise StoreUnavailable("the task store cannot be written: no room for it")

    def read(self) -> tuple[Acknowledgement, ...]:
        now, alive = time.monotonic(), []
        try:
            for name in os.listdir(self._folder):
                path = f"{self._folder}/{name}"
                with suppress(FileNotFoundError):  # its worker left
                    lease = _lease(path)
                    if lease is not None and now < lease.until <= now + _LONGEST_LEASE_S:
                        alive.append(lease.told)
                    elif lease is None or not now - _LITTER_S < lease.until <= now:
                        os.unlink(path)
        except OSError as err:
            raise StoreUnavailable(f"the task store cannot be read: {err.strerror}") from err
        return tuple(sorted(alive, key=lambda told: told.worker))

    def remove(self, worker: str) -> None:
        with suppress(OSError):
            self._path(worker).unlink()

    def _path(self, worker: str) -> Path:
        if worker not in self._paths:
            name = f"{hashlib.sha256(worker.encode()).hexdigest()[:32]}.json"
            self._paths[worker] = self._folder / name
        return self._paths[worker]


def _lease(path: str) -> _Lease | None:
    """What a worker told last; None for what no living worker wrote.

    Raises:
        StoreUnavailable: it cannot be read and is young: its worker may well be alive.
    """
    for _ in range(_LOOKS):
        content = _content(path)
        if len(content) >= _HEAD.size:
            length, checked = _HEAD.unpack_from(content)
            told = content[_HEAD.size : _HEAD.size + length]  # a longer one may have been there
            if len(told) == length and crc32(told) == checked:
                with suppress(ValueError):
                    return _LEASE.load(told)
        time.sleep(_PAUSE_S)
    if abs(time.time() - os.stat(path).st_mtime) < _YOUNG_S:
        raise StoreUnavailable("what a worker told cannot be read; it tells again in a moment")
    return None


def _content(path: str) -> bytes:
    """All workers' files are read at each step of a change: without objects on the way."""
    handle = os.open(path, os.O_RDONLY)
    try:
        return os.read(handle, os.fstat(handle).st_size)
    finally:
        os.close(handle)

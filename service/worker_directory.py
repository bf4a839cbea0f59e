"""Acknowledgements in a directory: one small file per worker, renamed into place.

    Acknowledgement + lease --write--> workers/DIGEST-OF-ID --read--> those whose lease still runs

Nothing here is durable: whoever is alive writes again within a second. A file that cannot be read
is no acknowledgement, and one long past its lease is removed by whoever meets it. Leases are in the
host's monotonic clock, which all its processes share and nobody sets; a lease that ends too far
ahead is from before the host was started.
"""

from __future__ import annotations

import hashlib
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from service.errors import StoreUnavailable
from service.task_store import Acknowledgement

_LITTER_S = 60.0
_LONGEST_LEASE_S = 600.0


@dataclass(frozen=True, slots=True)
class _Lease:
    until: float  # seconds of the monotonic clock
    told: Acknowledgement


_LEASE = TypeAdapter(_Lease)


class WorkerDirectory:
    """What the workers of one task directory told last."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, told: Acknowledgement, lease_s: float) -> None:
        path = self._path(told.worker)
        aside = path.with_suffix(".writing")
        try:
            aside.write_bytes(_LEASE.dump_json(_Lease(time.monotonic() + lease_s, told)))
            aside.replace(path)
        except OSError as err:
            raise StoreUnavailable(f"the task store cannot be written: {err.strerror}") from err

    def read(self) -> tuple[Acknowledgement, ...]:
        now, alive = time.monotonic(), []
        try:
            paths = list(self._folder.iterdir())
        except OSError as err:
            raise StoreUnavailable(f"the task store cannot be read: {err.strerror}") from err
        for path in paths:
            with suppress(OSError, ValidationError):
                lease = _LEASE.validate_json(path.read_bytes())
                if now < lease.until <= now + _LONGEST_LEASE_S:
                    alive.append(lease.told)
                elif not now - _LITTER_S < lease.until <= now:
                    path.unlink()
        return tuple(sorted(alive, key=lambda told: told.worker))

    def remove(self, worker: str) -> None:
        with suppress(OSError):
            self._path(worker).unlink()

    def _path(self, worker: str) -> Path:
        return self._folder / f"{hashlib.sha256(worker.encode()).hexdigest()[:32]}.json"

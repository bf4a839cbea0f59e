"""Digests of a bundle's files, taken while something else goes on.

    folder --Digests.begin--> a thread that hashes --taken--> {name: (sha256, size)} --> open_bundle

Hashing a gigabyte takes most of a second, and so does importing a service; neither keeps the other
from a second core. What a thread cannot read it leaves out: whoever opens the file says why.
"""

from __future__ import annotations

import hashlib
import mmap
import threading
from contextlib import suppress
from pathlib import Path
from typing import Self

Taken = dict[str, tuple[str, int]]  # by the path inside the folder: SHA-256 in hex, size in bytes


def take_digest(path: Path) -> tuple[str, int]:
    """A file's digest and its size.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        size = path.stat().st_size
        if size == 0:  # cannot be mapped
            return hashlib.sha256().hexdigest(), 0
        # In one call: a thread that reads in pieces would wait for the interpreter at each of them.
        with mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) as mapped:
            return hashlib.sha256(mapped).hexdigest(), size


class Digests:
    """Those of one folder, as its files are from the begin on."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._taken: Taken = {}
        self._thread = threading.Thread(target=self._take, name="digests", daemon=True)

    @classmethod
    def begin(cls, folder: Path) -> Self:
        digests = cls(folder)
        digests._thread.start()
        return digests

    def taken(self) -> Taken:
        """All of them; waits for the thread, which is gone afterwards."""
        self._thread.join()
        return self._taken

    def _take(self) -> None:
        with suppress(OSError):
            for path in self._folder.rglob("*"):
                if path.is_file() and not path.is_symlink():
                    name = path.relative_to(self._folder).as_posix()
                    with suppress(OSError):
                        self._taken[name] = take_digest(path)

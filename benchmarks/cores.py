"""Who runs where: what serves on one core, who asks on the other.

    Cores.here() --asking--> this process moves to the last core
                 --serving-> processes started in the block inherit the first

Fewer than two cores are a SystemExit: asking would slow what is measured.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

_LEAST = 2


@dataclass(frozen=True, slots=True)
class Cores:
    """Numbers of two cores, and of all."""

    serve: int
    ask: int
    all: tuple[int, ...]

    @classmethod
    def here(cls) -> Self:
        """The first and the last that this process may use."""
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) < _LEAST:
            raise SystemExit("two cores are needed: one serves, the other asks")
        return cls(cores[0], cores[-1], tuple(cores))

    def asking(self) -> None:
        os.sched_setaffinity(0, [self.ask])

    def free(self) -> None:
        os.sched_setaffinity(0, self.all)

    @contextmanager
    def serving(self) -> Iterator[None]:
        os.sched_setaffinity(0, [self.serve])
        try:
            yield
        finally:
            self.asking()

"""How the scores of each live version are spread, seen on a few requests a second.

    columns of one request --ScoreSpread.observe--> rows per bin --told--> GET /v1/live

Time decides which requests are looked at: 20 a second at most, and fewer where looking takes
longer. So it takes a five-hundredth of the time with any number of tasks, however high the traffic,
and a service with few requests shows each of them. Bins are even in log-odds, as in drift.py: rare
events are seen as finely as others.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

LOOK_EVERY_S = 0.05
_REST = 500  # times what the last look took
_MOST_ROWS = 64  # of one request
_MOST_VERSIONS = 4  # of one task: the newest that were seen
BOUNDS = 1 / (1 + np.exp(-np.arange(-6.0, 6.0 + 1e-9, 0.5)))
BINS = len(BOUNDS) + 1
Spread = Mapping[str, Mapping[str, list[int]]]  # task -> version -> rows per bin


class ScoreSpread:
    """What this process has seen since it started. Event loop only."""

    def __init__(self) -> None:
        self._next = 0.0
        self._rows: dict[str, dict[int, NDArray[np.int64]]] = {}
        self._live: frozenset[str] | None = None  # all, until somebody tells

    def due(self) -> bool:
        """Whether the request at hand should be looked at; the next ones need not for a while."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + LOOK_EVERY_S
        return True

    def observe(self, columns: Mapping[tuple[str, int], NDArray[np.float32]]) -> None:
        """One request.

        Args:
            columns: task and version -> (N,) probabilities.
        """
        if not columns:
            return
        since = time.monotonic()
        rows = len(next(iter(columns.values())))
        step = -(-rows // _MOST_ROWS)
        scores = np.stack([column[::step] for column in columns.values()])
        bins = np.searchsorted(BOUNDS, scores) + BINS * np.arange(len(columns))[:, None]
        found = np.bincount(bins.ravel(), minlength=BINS * len(columns)).reshape(-1, BINS)
        for (task, version), counts in zip(columns, found, strict=True):
            if self._live is not None and task not in self._live:
                continue  # it was removed while the request ran
            versions = self._rows.setdefault(task, {})
            versions[version] = versions.get(version, 0) + counts
            if len(versions) > _MOST_VERSIONS:
                del versions[next(iter(versions))]
        until = time.monotonic()
        self._next = max(self._next, until + _REST * (until - since))

    def keep(self, names: Collection[str]) -> None:
        """These tasks are live now; what was seen of any other is dropped. From any thread."""
        self._live = frozenset(names)
        for gone in self._rows.keys() - self._live:
            del self._rows[gone]

    def told(self) -> Spread:
        return {
            task: {str(version): counts.tolist() for version, counts in versions.items()}
            for task, versions in [*self._rows.items()]
        }


def add_spreads(spreads: Iterable[Spread]) -> Spread:
    """What several workers have seen, as one."""
    total: dict[str, dict[str, list[int]]] = {}
    for spread in spreads:
        for task, versions in spread.items():
            known = total.setdefault(task, {})
            for version, counts in versions.items():
                before = known.get(version, [0] * BINS)
                known[version] = [a + b for a, b in zip(before, counts, strict=True)]
    return total

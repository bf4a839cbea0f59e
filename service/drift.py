"""How far another version's scores are from the stable one's, on the same rows.

    columns of one request --Drift.observe--> Tally per pair --told to all workers--> pool
                                                                     Figures: psi, overlap <--┘

psi is the population stability index over the stable version's deciles (Siddiqi, Credit Risk
Scorecards, 2006): under 0.1 the scores are spread alike, over 0.25 they are not. overlap is the
share of a request's best items that both versions agree on. Histograms have fixed bins, even in
log-odds, so that those of several workers add up, and rare events are seen as finely as others.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

TOP_K = 10
_DECILES = 10
_LOG_ODDS = np.arange(-10.0, 10.0 + 1e-9, 0.25)
_EDGES = (1 / (1 + np.exp(-_LOG_ODDS))).astype(np.float32)
BINS = len(_EDGES) + 1
Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Pair:
    """A version against its task's stable one, since both were routed."""

    task: str
    version: int
    since: float


@dataclass(frozen=True, slots=True)
class Compared:
    """The columns of a pair in one request's scores."""

    pair: Pair
    stable: int
    other: int


@dataclass(frozen=True, slots=True)
class Tally:
    """What one worker has counted of a pair.

    Attributes:
        ranked: requests with two items or more.
        overlap: summed over them.
        stable, other: rows per bin.
    """

    pair: Pair
    requests: int
    ranked: int
    overlap: float
    stable: tuple[int, ...]
    other: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Figures:
    """What all workers have counted of a pair; None where nothing was counted."""

    requests: int
    rows: int
    psi: float | None
    overlap: float | None


NOTHING = Figures(requests=0, rows=0, psi=None, overlap=None)


@dataclass(slots=True)
class _Counter:
    requests: int = 0
    ranked: int = 0
    overlap: float = 0.0
    stable: Counts = field(default_factory=lambda: np.zeros(BINS, dtype=np.int64))
    other: Counts = field(default_factory=lambda: np.zeros(BINS, dtype=np.int64))


class Drift:
    """What this process counts. Event loop only."""

    def __init__(self) -> None:
        self._counters: dict[Pair, _Counter] = {}

    def observe(self, compared: Sequence[Compared], scores: NDArray[np.float32]) -> None:
        """One request.

        Args:
            compared: which columns.
            scores: (N, P).
        """
        for one in compared:
            counter = self._counters.setdefault(one.pair, _Counter())
            stable, other = scores[:, one.stable], scores[:, one.other]
            counter.requests += 1
            counter.stable += _histogram(stable)
            counter.other += _histogram(other)
            if len(scores) > 1:
                counter.ranked += 1
                counter.overlap += overlap(stable, other)

    def keep(self, pairs: Collection[Pair]) -> None:
        """Forget all others: they are routed no more."""
        for gone in self._counters.keys() - set(pairs):
            del self._counters[gone]

    def tallies(self) -> tuple[Tally, ...]:
        """What was counted so far. From any thread: a request may be half counted."""
        return tuple(
            Tally(
                pair,
                c.requests,
                c.ranked,
                c.overlap,
                tuple(c.stable.tolist()),
                tuple(c.other.tolist()),
            )
            for pair, c in [*self._counters.items()]
        )


def pool(tallies: Iterable[Tally]) -> dict[Pair, Figures]:
    """The figures of each pair over all workers."""
    counters: dict[Pair, _Counter] = {}
    for tally in tallies:
        if (len(tally.stable), len(tally.other)) != (BINS, BINS):
            continue  # of a worker that counts otherwise
        counter = counters.setdefault(tally.pair, _Counter())
        counter.requests += tally.requests
        counter.ranked += tally.ranked
        counter.overlap += tally.overlap
        counter.stable += np.asarray(tally.stable, dtype=np.int64)
        counter.other += np.asarray(tally.other, dtype=np.int64)
    return {pair: _figures(counter) for pair, counter in counters.items()}


def psi(stable: Counts, other: Counts) -> float:
    """Population stability index of two histograms over the first one's deciles.

    Half a row is added to each decile: an empty one would make it infinite.
    """
    # A bin belongs to the decile of its middle row: one that holds all rows has both sides free.
    middle = 2 * np.cumsum(stable) - stable
    decile = np.minimum(middle * _DECILES // max(2 * int(stable.sum()), 1), _DECILES - 1)
    expected = np.bincount(decile, stable, _DECILES)
    actual = np.bincount(decile, other, _DECILES)
    used = expected + actual > 0
    p = (expected[used] + 0.5) / (expected[used] + 0.5).sum()
    q = (actual[used] + 0.5) / (actual[used] + 0.5).sum()
    return float(((q - p) * np.log(q / p)).sum())


def overlap(stable: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """The share of the best items that both versions agree on: of TOP_K, or of the better half."""
    k = min(TOP_K, (len(stable) + 1) // 2)
    best = np.argsort(-stable, kind="stable")[:k]
    others = np.argsort(-other, kind="stable")[:k]
    return len(np.intersect1d(best, others, assume_unique=True)) / k


def _histogram(scores: NDArray[np.float32]) -> Counts:
    """Rows per bin; what is no number falls into the last."""
    return np.bincount(np.searchsorted(_EDGES, scores), minlength=BINS)


def _figures(counter: _Counter) -> Figures:
    rows = int(counter.stable.sum())
    return Figures(
        requests=counter.requests,
        rows=rows,
        psi=psi(counter.stable, counter.other) if rows else None,
        overlap=counter.overlap / counter.ranked if counter.ranked else None,
    )

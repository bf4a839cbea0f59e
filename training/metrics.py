"""How good the scores of one task are.

labels, probabilities, mask, users (all of R rows) --measure--> TaskMetrics

Rows without a label are left out. Where a figure has no meaning (one class only, no row) it is None
and `reason` says why; NaN never leaves this file.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BINS = 20  # of a calibration error
_CLIP = 1e-7
_NORMAL_95 = 1.959964
_CHUNK_CELLS = 4_000_000  # resamples x rows held at once by the bootstrap: 32 MB


@dataclass(frozen=True, slots=True)
class Resampling:
    """A percentile bootstrap: how often, at which level, from which seed."""

    resamples: int = 500
    level: float = 0.95
    seed: int = 0


@dataclass(frozen=True, slots=True)
class TaskMetrics:
    """The figures of one task on one split.

    Attributes:
        rows, positives: those with a label.
        auc: ties count by mid-rank.
        auc_interval: bootstrap over users where rows have users, else over rows.
        gauc: AUC of each user's own rows, weighted by rows; users of one class are skipped.
        calibration_error: mean |predicted - observed| over equally filled bins of the prediction.
        reason: why a figure is None.
    """

    rows: int
    positives: int
    auc: float | None = None
    auc_interval: tuple[float, float] | None = None
    gauc: float | None = None
    logloss: float | None = None
    calibration_error: float | None = None
    mean_prediction: float | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Bin:
    """Rows of like predictions: how many, their mean prediction, the share that came true.

    interval: Wilson's, 95 %, of that share.
    """

    rows: int
    predicted: float
    observed: float
    interval: tuple[float, float]


def measure(
    labels: NDArray[np.generic],
    probabilities: NDArray[np.generic],
    mask: NDArray[np.bool_] | None = None,
    users: NDArray[np.generic] | None = None,
    resampling: Resampling | None = None,
) -> TaskMetrics:
    """All figures of one task; the interval only when a resampling is given."""
    keep = np.ones(len(labels), dtype=np.bool_) if mask is None else mask
    y = labels[keep].astype(np.float64)
    p = probabilities[keep].astype(np.float64)
    owner = None if users is None else users[keep]
    positives = int(y.sum())
    if not len(y):
        return TaskMetrics(rows=0, positives=0, reason="no row has a label")
    interval = None
    if resampling is not None:
        interval = auc_interval(y, p, owner, resampling)
    return TaskMetrics(
        rows=len(y),
        positives=positives,
        auc=auc(y, p),
        auc_interval=interval,
        gauc=None if owner is None else gauc(y, p, owner),
        logloss=logloss(y, p),
        calibration_error=calibration_error(y, p),
        mean_prediction=float(p.mean()),
        reason=_one_class(len(y), positives),
    )


def auc(labels: NDArray[np.generic], scores: NDArray[np.generic]) -> float | None:
    """Area under the ROC curve, ties by mid-rank; None with one class only."""
    pairs = _Pairs.of(labels, scores)
    return None if pairs is None else float(pairs.auc(np.ones((1, len(labels))))[0])


def logloss(labels: NDArray[np.generic], probabilities: NDArray[np.generic]) -> float:
    """Mean negative log-likelihood, probabilities clipped to [1e-7, 1 - 1e-7]."""
    p = np.clip(probabilities.astype(np.float64), _CLIP, 1.0 - _CLIP)
    return float(-np.where(labels != 0, np.log(p), np.log1p(-p)).mean())


def gauc(
    labels: NDArray[np.generic], scores: NDArray[np.generic], users: NDArray[np.generic]
) -> float | None:
    """Rows-weighted mean of the per-user AUC; None where no user has both classes."""
    _, user = np.unique(users, return_inverse=True)
    order = np.lexsort((scores, user))
    s, u, positive = scores[order], user[order], labels[order] != 0
    new_user = np.diff(u, prepend=-1) > 0
    new_tie = new_user | (np.diff(s.astype(np.float64), prepend=0.0) != 0)
    tie = np.cumsum(new_tie) - 1
    ends = np.append(np.flatnonzero(new_tie)[1:], len(s))
    mid_rank = 0.5 * (np.flatnonzero(new_tie) + ends + 1)[tie] - np.flatnonzero(new_user)[u]
    rows = np.bincount(u)
    n1 = np.bincount(u, weights=positive)
    n0 = rows - n1
    mixed = (n1 > 0) & (n0 > 0)
    if not mixed.any():
        return None
    rank_sum = np.bincount(u, weights=mid_rank * positive)[mixed]
    n1, n0, rows = n1[mixed], n0[mixed], rows[mixed]
    return float(np.average((rank_sum - n1 * (n1 + 1) / 2) / (n1 * n0), weights=rows))


def calibration_error(
    labels: NDArray[np.generic], probabilities: NDArray[np.generic], bins: int = BINS
) -> float:
    """Expected calibration error over bins of equally many rows.

    Equal counts, not equal widths: a rare task puts all its rows into one bin of equal width.
    Equal predictions share a bin.
    """
    p, y, starts = _binned(labels, probabilities, bins)
    return float(np.abs(np.add.reduceat(p - y, starts)).sum() / len(p))


def reliability(
    labels: NDArray[np.generic], probabilities: NDArray[np.generic], bins: int = BINS
) -> tuple[Bin, ...]:
    """What calibration_error sums up, bin by bin."""
    p, y, starts = _binned(labels, probabilities, bins)
    rows = np.diff(np.append(starts, len(p)))
    predicted, positives = np.add.reduceat(p, starts) / rows, np.add.reduceat(y, starts)
    return tuple(
        Bin(int(n), float(mean), float(k / n), _wilson(float(k), int(n)))
        for n, mean, k in zip(rows, predicted, positives, strict=True)
    )


def _binned(
    labels: NDArray[np.generic], probabilities: NDArray[np.generic], bins: int
) -> tuple[Floats, Floats, Ints]:
    """Probabilities and labels by rising probability, and where each bin starts."""
    order = np.argsort(probabilities, kind="stable")
    p = probabilities[order].astype(np.float64)
    cuts = np.linspace(0, len(p), min(bins, len(p)) + 1).astype(np.int64)[:-1]
    starts = np.unique(np.searchsorted(p, p[cuts], side="left"))
    return p, labels[order].astype(np.float64), starts.astype(np.int64)


def _wilson(positives: float, rows: int) -> tuple[float, float]:
    """Wilson's score interval of a share, 95 %."""
    share, z = positives / rows, _NORMAL_95
    middle = (share + z * z / (2 * rows)) / (1 + z * z / rows)
    half = z / (1 + z * z / rows) * np.sqrt(share * (1 - share) / rows + (z / (2 * rows)) ** 2)
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))


def auc_interval(
    labels: NDArray[np.generic],
    scores: NDArray[np.generic],
    users: NDArray[np.generic] | None,
    resampling: Resampling,
) -> tuple[float, float] | None:
    """Percentile bootstrap interval of the AUC; users, where given, are drawn whole."""
    draws = auc_draws(labels, [scores], users, resampling)[0]
    return None if draws is None else _percentiles(draws, resampling.level)


def auc_difference_interval(
    labels: NDArray[np.generic],
    scores: tuple[NDArray[np.generic], NDArray[np.generic]],
    users: NDArray[np.generic] | None,
    resampling: Resampling,
) -> tuple[float, float] | None:
    """Interval of AUC(scores[0]) - AUC(scores[1]), both on the same draws of rows or users."""
    first, second = auc_draws(labels, list(scores), users, resampling)
    if first is None or second is None:
        return None
    return _percentiles(first - second, resampling.level)


def auc_draws(
    labels: NDArray[np.generic],
    scores: list[NDArray[np.generic]],
    users: NDArray[np.generic] | None,
    resampling: Resampling,
) -> list[Floats | None]:
    """Per score column the AUC of every draw (of those with both classes)."""
    pairs = [_Pairs.of(labels, column) for column in scores]
    if any(p is None for p in pairs):
        return [None] * len(scores)
    count = len(labels)
    group = np.arange(count) if users is None else np.unique(users, return_inverse=True)[1]
    if not group.any():  # one user alone, as where a log names none: drawing it says nothing
        users, group = None, np.arange(count)
    groups = int(group.max()) + 1
    rng = np.random.default_rng(resampling.seed)
    draws: list[list[Floats]] = [[] for _ in scores]
    chunk = max(1, _CHUNK_CELLS // count)
    for start in range(0, resampling.resamples, chunk):
        size = min(chunk, resampling.resamples - start)
        times = _draw_counts(rng, size, groups)
        weights = times if users is None else times[:, group]
        for column, pair in zip(draws, pairs, strict=True):
            if pair is not None:
                column.append(pair.auc(weights))
    joined = [np.concatenate(column) for column in draws]
    usable = np.logical_and.reduce([np.isfinite(column) for column in joined])
    return [column[usable] if usable.any() else None for column in joined]


def _draw_counts(rng: np.random.Generator, size: int, groups: int) -> Floats:
    """How often each group is drawn, for `size` draws with replacement: (size, groups)."""
    picks = rng.integers(0, groups, size=(size, groups))
    picks += np.arange(size)[:, None] * groups
    return np.bincount(picks.ravel(), minlength=size * groups).reshape(size, groups).astype(float)


def _percentiles(draws: Floats, level: float) -> tuple[float, float]:
    low, high = np.quantile(draws, [(1.0 - level) / 2, (1.0 + level) / 2])
    return float(low), float(high)


def _one_class(rows: int, positives: int) -> str | None:
    if 0 < positives < rows:
        return None
    return f"all {rows} labels are {'1' if positives else '0'}: AUC needs both classes"


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Positive rows against negative rows in order of score: sorted once, weighed many times."""

    positive: Ints  # (n1,) row numbers
    negative: Ints  # (n0,) row numbers by rising score
    below: Ints  # (n1,) how many negatives score lower than this positive
    not_above: Ints  # (n1,) how many score lower or the same

    @classmethod
    def of(cls, labels: NDArray[np.generic], scores: NDArray[np.generic]) -> _Pairs | None:
        is_positive = labels != 0
        positive, negative = np.flatnonzero(is_positive), np.flatnonzero(~is_positive)
        if not len(positive) or not len(negative):
            return None
        negative = negative[np.argsort(scores[negative], kind="stable")]
        # Sorted queries walk the array once instead of jumping through it.
        positive = positive[np.argsort(scores[positive], kind="stable")]
        ladder, rungs = scores[negative], scores[positive]
        return cls(
            positive,
            negative,
            np.searchsorted(ladder, rungs, side="left"),
            np.searchsorted(ladder, rungs, side="right"),
        )

    def auc(self, weights: Floats) -> Floats:
        """AUC under row weights (S, R), one per draw (S,); NaN where a class has no weight."""
        w1 = weights[:, self.positive]  # (S, n1)
        cumulative = np.zeros((len(weights), len(self.negative) + 1))
        np.cumsum(weights[:, self.negative], axis=1, out=cumulative[:, 1:])  # (S, n0)
        wins = cumulative[:, self.below] + cumulative[:, self.not_above]
        total = 2.0 * w1.sum(axis=1) * cumulative[:, -1]
        won = np.einsum("sp,sp->s", w1, wins)
        drawn: Floats = np.full(len(total), np.nan)
        np.divide(won, total, out=drawn, where=total > 0)
        return drawn

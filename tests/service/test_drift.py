"""How far two versions' scores are apart, and that many workers count as one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.drift import BINS, NOTHING, Compared, Drift, Figures, Pair, Tally, overlap, pool, psi

PAIR = Pair("like", 2, since=6.0)
COLUMNS = [Compared(PAIR, 0, 1)]
Scores = NDArray[np.float32]


def drawn(mean: float, rows: int = 4000, seed: int = 1) -> Scores:
    """Probabilities whose log-odds are spread around a mean."""
    logits = np.random.default_rng(seed).normal(mean, 1.0, rows)
    return (1 / (1 + np.exp(-logits))).astype(np.float32)


def measured(stable: Scores, other: Scores) -> Figures:
    drift = Drift()
    drift.observe(COLUMNS, np.column_stack([stable, other]))
    return pool(drift.tallies())[PAIR]


def found(figures: Figures) -> float:
    assert figures.psi is not None
    return figures.psi


def test_equal_scores_do_not_drift() -> None:
    same = drawn(-3)
    assert measured(same, same) == Figures(requests=1, rows=4000, psi=0.0, overlap=1.0)


def test_another_draw_of_the_same_spread_is_no_drift_and_a_shifted_one_is() -> None:
    stable = drawn(-3)
    assert found(measured(stable, drawn(-3, seed=2))) < 0.02
    shifts = [found(measured(stable, drawn(-3 + by))) for by in (0.1, 0.3, 1.0, 3.0)]
    assert shifts == sorted(shifts)
    assert shifts[0] < 0.1
    assert shifts[2] > 0.25


@pytest.mark.parametrize("by", [-0.5, 0.5])
def test_scores_that_all_lie_in_one_bin_drift_to_either_side(by: float) -> None:
    stable = np.full(1000, 0.01, dtype=np.float32)
    moved = (stable / (1 - stable) * np.exp(by)).astype(np.float32)
    assert found(measured(stable, moved)) > 0.25


def test_psi_is_what_its_formula_says() -> None:
    """Ten deciles of ten rows, half of the upper five moved into the lower five."""
    stable, other = np.zeros((2, BINS), dtype=np.int64)
    stable[10:20] = 10
    other[10:15], other[15:20] = 15, 5
    lower, upper, all_ = 15.5, 5.5, 10.5
    total = 10 * all_
    expected = 5 * ((lower - all_) / total * np.log(lower / all_))
    expected += 5 * ((upper - all_) / total * np.log(upper / all_))
    assert psi(stable, other) == pytest.approx(expected)


def test_overlap_is_the_share_of_the_best_items_in_common() -> None:
    scores = np.arange(100, dtype=np.float32)
    assert overlap(scores, scores) == 1
    assert overlap(scores, -scores) == 0
    assert overlap(scores, np.roll(scores, 3)) == pytest.approx(0.7)


def test_of_few_items_the_better_half_is_compared() -> None:
    assert overlap(np.arange(3, dtype=np.float32), -np.arange(3, dtype=np.float32)) == 0.5


def test_one_item_has_no_rank() -> None:
    assert measured(drawn(0, rows=1), drawn(0, rows=1)).overlap is None


def test_what_is_no_number_is_counted_and_breaks_nothing() -> None:
    broken = np.full(50, np.nan, dtype=np.float32)
    figures = measured(drawn(-3, rows=50), broken)
    assert figures.rows == 50
    assert found(figures) > 1


@given(st.lists(st.integers(1, 30), min_size=1, max_size=8), st.integers(1, 3), st.integers(0, 99))
def test_many_workers_count_as_one(sizes: list[int], workers: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    requests = [rng.random((rows, 2), dtype=np.float32) for rows in sizes]
    one, many = Drift(), [Drift() for _ in range(workers)]
    for at, scores in enumerate(requests):
        one.observe(COLUMNS, scores)
        many[at % workers].observe(COLUMNS, scores)
    together = pool(one.tallies())[PAIR]
    pooled = pool(tally for drift in many for tally in drift.tallies())[PAIR]
    assert (pooled.requests, pooled.rows) == (together.requests, together.rows)
    assert pooled.psi == together.psi
    assert pooled.overlap == (together.overlap and pytest.approx(together.overlap))


def test_what_is_routed_no_more_is_forgotten() -> None:
    drift = Drift()
    other = Pair("like", 3, since=7.0)
    drift.observe([*COLUMNS, Compared(other, 0, 1)], drawn(0, rows=6).reshape(3, 2))
    drift.keep({other})
    assert [tally.pair for tally in drift.tallies()] == [other]


def test_counts_of_another_form_are_left_out() -> None:
    assert pool([Tally(PAIR, 1, 1, 1.0, (1,), (1,))]) == {}
    assert NOTHING.psi is None

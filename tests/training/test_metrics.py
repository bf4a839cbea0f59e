import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from training.metrics import (
    Resampling,
    auc,
    auc_difference_interval,
    auc_interval,
    calibration_error,
    gauc,
    logloss,
    measure,
    reliability,
)

RNG = np.random.default_rng(5)


def tied_scores(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels and float32 scores of few distinct values, so that most pairs tie."""
    labels = (RNG.random(rows) < 0.3).astype(np.float32)
    return labels, np.round(RNG.random(rows) * 0.7 + labels * 0.2, 1).astype(np.float32)


def test_auc_counts_ties_by_mid_rank_like_scikit_learn() -> None:
    labels, scores = tied_scores(500)
    assert auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


def test_auc_of_equal_scores_is_one_half() -> None:
    assert auc(np.array([1, 0, 0, 1]), np.full(4, 0.3)) == 0.5


def test_logloss_equals_scikit_learns_and_is_finite_for_a_certain_mistake() -> None:
    labels, scores = tied_scores(300)
    clipped = np.clip(scores, 0.05, 0.95)
    assert logloss(labels, clipped) == pytest.approx(log_loss(labels, clipped), rel=1e-6)
    assert logloss(np.array([1.0]), np.array([0.0])) == pytest.approx(-np.log(1e-7))


def test_gauc_is_the_rows_weighted_mean_over_users_of_both_classes() -> None:
    labels, scores = tied_scores(600)
    users = RNG.integers(0, 80, size=600) * 7 - 40
    labels[users == users[0]] = 1
    expected, rows = 0.0, 0
    for user in np.unique(users):
        own = users == user
        if 0 < labels[own].sum() < own.sum():
            expected += own.sum() * roc_auc_score(labels[own], scores[own])
            rows += own.sum()
    assert gauc(labels, scores, users) == pytest.approx(expected / rows, abs=1e-12)


def test_gauc_has_no_value_where_every_user_has_one_class() -> None:
    assert gauc(np.array([1, 1, 0]), np.array([0.1, 0.2, 0.3]), np.array([4, 4, 9])) is None


def test_calibration_error_is_the_shift_of_shifted_probabilities() -> None:
    probabilities = np.linspace(0.1, 0.8, 20_000)
    labels = RNG.random(20_000) < probabilities
    assert calibration_error(labels, probabilities) < 0.02
    assert calibration_error(labels, probabilities + 0.1) == pytest.approx(0.1, abs=0.01)


def test_the_bins_sum_up_to_the_calibration_error() -> None:
    rng = np.random.default_rng(0)
    probabilities = np.round(rng.random(2000), 2)
    labels = rng.random(2000) < probabilities**2
    bins = reliability(labels, probabilities)
    assert sum(b.rows for b in bins) == len(labels)
    gaps = sum(b.rows * abs(b.predicted - b.observed) for b in bins) / len(labels)
    assert gaps == pytest.approx(calibration_error(labels, probabilities))
    assert sum(b.rows * b.observed for b in bins) == pytest.approx(labels.sum())


def test_the_interval_of_a_bin_is_wilsons() -> None:
    (found,) = reliability(np.array([1] * 3 + [0] * 7), np.full(10, 0.4))
    assert found.interval == pytest.approx((0.1078, 0.6032), abs=1e-4)
    (found,) = reliability(np.zeros(5), np.full(5, 0.1))
    assert found.interval[0] == 0.0
    assert found.interval[1] == pytest.approx(0.4345, abs=1e-4)


def test_calibration_error_of_a_rare_task_sees_its_overestimation() -> None:
    labels = np.zeros(1000)
    labels[:2] = 1
    assert calibration_error(labels, np.full(1000, 0.012)) == pytest.approx(0.01, abs=1e-9)


def test_a_bootstrap_draw_weighs_rows_as_if_they_were_repeated() -> None:
    labels, scores = tied_scores(40)
    resampling = Resampling(resamples=30, level=0.9, seed=3)
    rng, values = np.random.default_rng(3), []
    for picks in rng.integers(0, 40, size=(30, 40)):
        values.append(roc_auc_score(labels[picks], scores[picks]))
    low, high = np.quantile(values, [0.05, 0.95])
    interval = auc_interval(labels, scores, None, resampling)
    assert interval is not None
    assert list(interval) == pytest.approx([low, high], abs=1e-12)


def test_drawing_users_whole_widens_the_interval_where_their_rows_are_alike() -> None:
    users = np.repeat(np.arange(40), 50)
    quality = RNG.normal(size=40)[users]
    labels = (RNG.random(2000) < 0.5).astype(float)
    scores = RNG.normal(size=2000) + quality * labels
    by_row = auc_interval(labels, scores, None, Resampling())
    by_user = auc_interval(labels, scores, users, Resampling())
    assert by_row is not None
    assert by_user is not None
    assert by_user[1] - by_user[0] > 1.5 * (by_row[1] - by_row[0])


def test_where_no_row_names_its_user_rows_are_drawn() -> None:
    labels, scores = tied_scores(400)
    nobody = np.zeros(400, dtype=np.int64)
    found = auc_interval(labels, scores, nobody, Resampling())
    assert found == auc_interval(labels, scores, None, Resampling())


def test_equal_seeds_give_equal_intervals() -> None:
    labels, scores = tied_scores(200)
    first = auc_interval(labels, scores, None, Resampling(resamples=50, seed=1))
    assert first == auc_interval(labels, scores, None, Resampling(resamples=50, seed=1))
    assert first != auc_interval(labels, scores, None, Resampling(resamples=50, seed=2))


def test_a_paired_difference_is_narrower_than_either_interval() -> None:
    labels = (RNG.random(2000) < 0.4).astype(float)
    scores = RNG.normal(size=2000) + labels
    close = scores + 0.05 * RNG.normal(size=2000)
    single = auc_interval(labels, scores, None, Resampling())
    paired = auc_difference_interval(labels, (scores, close), None, Resampling())
    assert single is not None
    assert paired is not None
    assert paired[1] - paired[0] < 0.5 * (single[1] - single[0])
    assert paired[0] < 0.01 < paired[1] + 0.01


def test_rows_without_a_label_change_nothing() -> None:
    labels, scores = tied_scores(100)
    mask = np.arange(150) < 100
    padded = measure(
        np.append(labels, np.ones(50)), np.append(scores, np.full(50, 0.01)), mask, None
    )
    assert padded == measure(labels, scores)


@pytest.mark.parametrize(("label", "said"), [(0, "all 3 labels are 0"), (1, "all 3 labels are 1")])
def test_one_class_has_no_auc_and_says_why(label: int, said: str) -> None:
    metrics = measure(np.full(3, label), np.array([0.1, 0.2, 0.3]), resampling=Resampling())
    assert (metrics.auc, metrics.auc_interval) == (None, None)
    assert metrics.reason is not None
    assert said in metrics.reason
    assert metrics.logloss is not None


def test_no_labelled_row_has_no_figure() -> None:
    metrics = measure(np.ones(3), np.full(3, 0.2), np.zeros(3, dtype=np.bool_))
    assert (metrics.rows, metrics.logloss, metrics.reason) == (0, None, "no row has a label")

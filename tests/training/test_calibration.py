from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from tests.training.synthetic import OLD, Fitted
from training.calibration import Platt, _scale, calibrated, calibrated_prompt, fit_platt
from training.checkpoint import Checkpoint
from training.errors import ConfigError, TrainingError
from training.evaluate import evaluate
from training.prompt import PromptHead
from training.tune import tune

DISTORTED = Platt(3.0, 1.5)


@pytest.fixture(scope="module")
def distorted(fitted: Fitted) -> Checkpoint:
    """The backbone as it would be with logits three times too large, and too high."""
    checkpoint = fitted.result.checkpoint
    model = copy.deepcopy(checkpoint.model)
    for at in range(len(OLD)):
        _scale(model.towers.stack, at, DISTORTED)
    return replace(checkpoint, model=model)


def test_a_known_distortion_is_undone() -> None:
    g = torch.Generator().manual_seed(0)
    true = torch.randn(40_000, generator=g, dtype=torch.float64)
    labels = (torch.rand(40_000, generator=g) < true.sigmoid()).float()
    found = fit_platt(DISTORTED.scale * true + DISTORTED.offset, labels, "click")
    assert found.scale == pytest.approx(1 / 3, abs=0.01)
    assert found.offset == pytest.approx(-0.5, abs=0.03)


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e4])
def test_labels_that_the_scores_separate_stay_finite(size: float) -> None:
    logits = size * torch.tensor([-2.0, -1.0, 1.0, 2.0])
    found = fit_platt(logits, torch.tensor([0.0, 0.0, 1.0, 1.0]), "click")
    p = torch.sigmoid(found.scale * logits + found.offset)
    assert 0.5 < float(p[2]) < float(p[3]) < 1.0


def test_scores_that_fall_with_the_label_are_refused() -> None:
    with pytest.raises(TrainingError, match="task click cannot be calibrated"):
        fit_platt(torch.tensor([2.0, 1.0, -1.0]), torch.tensor([0.0, 0.0, 1.0]), "click")


def test_calibration_mends_probabilities_and_moves_no_rank(
    fitted: Fitted, distorted: Checkpoint
) -> None:
    test = fitted.prepared.test
    before = evaluate(distorted.model, test, OLD)
    found, platts = calibrated(distorted, fitted.prepared)
    after = evaluate(found.model, test, OLD)
    for task in OLD:
        assert platts[task].scale < 0.6
        assert after[task].auc == pytest.approx(before[task].auc, abs=1e-5)
        old, new = before[task].calibration_error, after[task].calibration_error
        assert old is not None
        assert new is not None
        assert new < 0.6 * old
        assert found.card.metrics["test"][task].calibration_error == new
    assert evaluate(distorted.model, test, OLD) == before


def test_only_last_layers_of_towers_are_scaled(fitted: Fitted, distorted: Checkpoint) -> None:
    found, _ = calibrated(distorted, fitted.prepared)
    weights = distorted.model.state_dict()
    moved = {n for n, t in found.model.state_dict().items() if not torch.equal(t, weights[n])}
    assert moved == {"towers.stack.weights.1", "towers.stack.biases.1"}
    assert found.card.fingerprint == distorted.card.fingerprint


def test_a_prompt_is_calibrated_in_its_own_tower(fitted: Fitted) -> None:
    checkpoint = fitted.result.checkpoint
    tuned = tune(checkpoint, fitted.prepared, fitted.new_task, fitted.config.tune).prompt
    assert isinstance(tuned.head, PromptHead)
    _scale(tuned.head.tower, 0, DISTORTED)
    weights = {name: t.clone() for name, t in tuned.head.state_dict().items()}
    found, platt = calibrated_prompt(checkpoint, tuned, fitted.prepared)
    assert platt.scale > 0
    moved = {n for n, t in found.head.state_dict().items() if not torch.equal(t, weights[n])}
    assert moved == {"tower.weights.1", "tower.biases.1"}
    old, new = tuned.card.metrics["test"], found.card.metrics["test"]
    assert new.auc == pytest.approx(old.auc, abs=1e-5)
    again, same = calibrated_prompt(checkpoint, found, fitted.prepared)
    assert same.scale == pytest.approx(1.0, abs=1e-4)
    assert again.card.metrics["test"].calibration_error == pytest.approx(
        new.calibration_error, abs=1e-3
    )


def test_a_product_of_probabilities_is_not_calibrated(fitted: Fitted) -> None:
    checkpoint = fitted.result.checkpoint
    config = checkpoint.card.config
    esmm = config.model.model_copy(update={"mixer": "esmm"})
    card = checkpoint.card.model_copy(update={"config": config.model_copy(update={"model": esmm})})
    with pytest.raises(ConfigError, match="without --calibrate"):
        calibrated(replace(checkpoint, card=card), fitted.prepared)

import pytest
import torch

from tests.training.synthetic import NEW, Fitted
from training.config import TuneConfig
from training.errors import TrainingError
from training.frozen import frozen_examples
from training.head import SharedTower, fit_head
from training.progress import Silent
from training.prompt import PromptHead
from training.tune import tune


class Counter(Silent):
    def __init__(self) -> None:
        self.expected = self.steps = 0

    def stage(self, name: str, steps: int) -> None:
        self.expected = steps

    def step(self, loss: float) -> None:
        self.steps += 1


def shared_tower(fitted: Fitted) -> SharedTower:
    torch.manual_seed(0)
    return SharedTower(fitted.result.checkpoint.model.mixer.width, (8,))


def test_the_weights_of_the_best_epoch_are_kept(fitted: Fitted) -> None:
    config = TuneConfig(epochs=8, patience=2, learning_rate=0.3, batch_size=256)
    card = tune(fitted.result.checkpoint, fitted.prepared, fitted.new_task, config).prompt.card
    best = max(record.score for record in card.history)
    assert card.metrics["valid"].auc == pytest.approx(best, abs=1e-6)
    best_epoch = next(record.epoch for record in card.history if record.score == best)
    assert len(card.history) == min(8, best_epoch + 2)


def test_with_an_average_its_weights_are_judged_and_kept(fitted: Fitted) -> None:
    config = TuneConfig(epochs=3, batch_size=256, learning_rate=0.05, average=0.95)
    plain = config.model_copy(update={"average": 0.0})
    ours, theirs = (
        tune(fitted.result.checkpoint, fitted.prepared, fitted.new_task, settings).prompt
        for settings in (config, plain)
    )
    assert [r.losses for r in ours.card.history] == [r.losses for r in theirs.card.history]
    assert not torch.equal(ours.head.tower.weights[0], theirs.head.tower.weights[0])
    best = max(record.score for record in ours.card.history)
    assert ours.card.metrics["valid"].auc == pytest.approx(best, abs=1e-6)


def test_a_tower_on_what_tasks_share_learns_and_reports_each_step(fitted: Fitted) -> None:
    examples = frozen_examples(fitted.result.checkpoint, fitted.prepared, NEW)
    counter, tower = Counter(), shared_tower(fitted)
    config = TuneConfig(epochs=4, batch_size=512, learning_rate=0.01)
    history = fit_head(tower, examples, NEW, config, counter)
    assert counter.steps == counter.expected
    assert history[-1].losses["task"] < history[0].losses["task"]
    assert history[-1].score > 0.75


def test_l2_shrinks_the_towers_weights(fitted: Fitted) -> None:
    examples = frozen_examples(fitted.result.checkpoint, fitted.prepared, NEW)
    sizes = []
    for strength in (0.0, 1.0):
        tower = shared_tower(fitted)
        config = TuneConfig(epochs=3, batch_size=512, l2_network=strength, learning_rate=0.01)
        history = fit_head(tower, examples, NEW, config)
        assert (history[0].losses["l2"] > 0) == (strength > 0)
        sizes.append(sum(float(w.detach().square().sum()) for w in tower.tower.weights))
    assert sizes[1] < 0.5 * sizes[0]


def test_l2_shrinks_the_weights_of_items(fitted: Fitted) -> None:
    sizes = []
    for strength in (0.0, 1.0):
        config = TuneConfig(
            epochs=3,
            batch_size=512,
            item_weights=("item_id",),
            l2_embedding=strength,
            learning_rate=0.01,
        )
        head = tune(fitted.result.checkpoint, fitted.prepared, fitted.new_task, config).prompt.head
        assert isinstance(head, PromptHead)
        assert head.item_weights is not None
        sizes.append(float(head.item_weights.weights.detach().square().sum()))
    assert sizes[1] < 0.5 * sizes[0]


def test_a_loss_that_is_not_finite_ends_the_tuning_with_advice(fitted: Fitted) -> None:
    examples = frozen_examples(fitted.result.checkpoint, fitted.prepared, NEW)
    config = TuneConfig(epochs=3, batch_size=256, learning_rate=1e38)
    with pytest.raises(TrainingError, match=r"lower tune\.learning_rate"):
        fit_head(shared_tower(fitted), examples, NEW, config)

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.training.synthetic import NEW, OLD, Fitted, prepared_world, synthetic_config
from training.checkpoint import read_checkpoint
from training.config import TaskConfig, TuneConfig
from training.errors import ConfigError, DataError, TrainingError
from training.evaluate import predict
from training.frozen import RepresentationCache, frozen_examples
from training.model import MultiTaskModel, build_model
from training.progress import EpochRecord, Silent
from training.prompt import PromptHead
from training.tune import tune


def prompt_head(model: MultiTaskModel) -> PromptHead:
    return PromptHead(TuneConfig(), model.prompt_shape(), model.mixer.keys)


class Meddler(Silent):
    """Moves one weight of the backbone by the smallest step while a prompt is tuned."""

    def __init__(self, model: MultiTaskModel) -> None:
        self.weight = next(model.parameters())

    def epoch(self, record: EpochRecord) -> None:
        with torch.no_grad():
            self.weight[0, 0] = torch.nextafter(self.weight[0, 0], torch.tensor(9.0))


def test_a_prompt_learns_a_task_whose_answer_the_backbone_holds(fitted: Fitted) -> None:
    result = tune(fitted.result.checkpoint, fitted.prepared, fitted.new_task, fitted.config.tune)
    found = result.prompt.card.metrics["test"].auc
    assert found is not None
    assert found > fitted.world.bayes[NEW] - 0.05


@pytest.mark.parametrize("fusion", ["attention", "uniform", "similarity"])
def test_nothing_of_the_backbone_moves_by_a_bit(fitted: Fitted, fusion: str) -> None:
    checkpoint = fitted.result.checkpoint
    weights = {name: t.clone() for name, t in checkpoint.model.state_dict().items()}
    before = predict(checkpoint.model, fitted.prepared.test, OLD).logits
    config = TuneConfig.model_validate({"epochs": 2, "batch_size": 512, "fusion": fusion})
    result = tune(checkpoint, fitted.prepared, fitted.new_task, config)
    assert torch.equal(before, predict(checkpoint.model, fitted.prepared.test, OLD).logits)
    for name, tensor in checkpoint.model.state_dict().items():
        assert torch.equal(tensor, weights[name]), name
    assert result.compared == len(fitted.prepared.valid) * len(OLD)


def test_a_backbone_that_moves_by_one_step_of_one_weight_is_found_out(fitted: Fitted) -> None:
    checkpoint = read_checkpoint(fitted.result.path)
    with pytest.raises(TrainingError, match="changed a weight of the frozen backbone"):
        tune(
            checkpoint,
            fitted.prepared,
            fitted.new_task,
            TuneConfig(epochs=1),
            progress=Meddler(checkpoint.model),
        )


def test_a_backbone_that_is_not_its_checkpoint_is_refused(fitted: Fitted) -> None:
    checkpoint = read_checkpoint(fitted.result.path)
    Meddler(checkpoint.model).epoch(EpochRecord(1, 0.0, 0.0, {}, {}, 0.0, best=False))
    with pytest.raises(TrainingError, match="read it again"):
        tune(checkpoint, fitted.prepared, fitted.new_task, TuneConfig(epochs=1))


def test_equal_seeds_give_equal_prompts(fitted: Fitted) -> None:
    heads = [
        tune(fitted.result.checkpoint, fitted.prepared, fitted.new_task, config).prompt.head
        for config in (TuneConfig(epochs=2), TuneConfig(epochs=2), TuneConfig(epochs=2, seed=1))
    ]
    first, same, other = (head.task_embedding for head in heads)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_the_cache_gives_what_the_backbone_gives(fitted: Fitted) -> None:
    model, dataset = fitted.result.checkpoint.model, fitted.prepared.valid
    cache = RepresentationCache.of(model.eval(), dataset)
    rows = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(1))[:300]
    head = prompt_head(model)
    with torch.no_grad():
        fresh = head(model.represent(dataset.batch(rows, ()).inputs))
        torch.testing.assert_close(head(cache.rows(rows)), fresh, rtol=1e-5, atol=1e-5)


def test_the_cache_holds_user_things_once_per_request(fitted: Fitted) -> None:
    dataset = fitted.prepared.train
    cache = RepresentationCache.of(fitted.result.checkpoint.model, dataset)
    assert len(cache.user) <= len(torch.unique(dataset.requests)) + 1  # + one per chunk boundary


def test_a_model_without_user_fields_can_be_tuned_upon(fitted: Fitted) -> None:
    config = synthetic_config(
        features=[{"name": "kind", "kind": "categorical", "side": "item"}],
        history=None,
    )
    _, prepared = prepared_world(fitted.world.folder, config)
    model = build_model(config.model, prepared.schema, OLD).eval()
    cache = RepresentationCache.of(model, prepared.valid)
    rows = torch.arange(50)
    head = prompt_head(model)
    with torch.no_grad():
        fresh = head(model.represent(prepared.valid.batch(rows, ()).inputs))
        torch.testing.assert_close(head(cache.rows(rows)), fresh)


def test_trained_parameters_are_counted_against_a_full_model(fitted: Fitted) -> None:
    checkpoint = fitted.result.checkpoint
    result = tune(checkpoint, fitted.prepared, fitted.new_task, TuneConfig(epochs=1))
    card = result.prompt.card
    full = build_model(fitted.config.model, checkpoint.schema, (*OLD, NEW))
    assert card.parameters == sum(
        p.numel() for p in result.prompt.head.parameters() if p.requires_grad
    )
    assert card.share == card.parameters / sum(p.numel() for p in full.parameters())


def test_rows_without_a_label_take_no_part(fitted: Fitted, tmp_path: Path) -> None:
    label = f"CASE WHEN ts % 2 = 0 THEN {NEW} END"
    config = synthetic_config(
        tasks=[
            *({"name": task, "label": task} for task in OLD),
            {"name": NEW, "label": label, "new": True},
        ]
    )
    _, prepared = prepared_world(tmp_path, config)
    examples = frozen_examples(fitted.result.checkpoint, prepared, NEW)["train"]
    assert len(examples.rows) == int(prepared.train.mask[:, -1].sum()) < len(prepared.train) * 0.6
    assert prepared.train.mask[examples.rows, -1].all()


def test_the_weights_of_the_best_epoch_are_kept(fitted: Fitted) -> None:
    config = TuneConfig(epochs=8, patience=2, learning_rate=0.3, batch_size=256)
    card = tune(fitted.result.checkpoint, fitted.prepared, fitted.new_task, config).prompt.card
    best = max(record.score for record in card.history)
    assert card.metrics["valid"].auc == pytest.approx(best, abs=1e-6)
    best_epoch = next(record.epoch for record in card.history if record.score == best)
    assert len(card.history) == min(8, best_epoch + 2)


def test_a_task_the_backbone_has_is_refused(fitted: Fitted) -> None:
    task = TaskConfig(name=OLD[0], label="click")
    with pytest.raises(ConfigError, match="has task click already"):
        tune(fitted.result.checkpoint, fitted.prepared, task, TuneConfig())


def test_a_task_the_data_lack_is_refused(fitted: Fitted) -> None:
    task = TaskConfig(name="buy", label="buy")
    with pytest.raises(DataError, match="no label of task buy"):
        tune(fitted.result.checkpoint, fitted.prepared, task, TuneConfig())


def test_data_encoded_for_another_model_are_refused(fitted: Fitted, tmp_path: Path) -> None:
    _, other = prepared_world(tmp_path, fitted.config, rows=1500)
    with pytest.raises(DataError, match="prepare them with the checkpoint's lookups"):
        tune(
            fitted.result.checkpoint,
            replace(fitted.prepared, schema=other.schema.model_copy(update={"history_length": 5})),
            fitted.new_task,
            TuneConfig(),
        )

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.training.synthetic import NEW, OLD, Fitted, prepared_world
from training.checkpoint import read_checkpoint
from training.config import TaskConfig, TuneConfig
from training.errors import ConfigError, DataError, TrainingError
from training.evaluate import predict
from training.model import MultiTaskModel, build_model
from training.progress import EpochRecord, Silent
from training.tune import tune


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
@pytest.mark.parametrize("average", [0.0, 0.9])
def test_nothing_of_the_backbone_moves_by_a_bit(
    fitted: Fitted, fusion: str, average: float
) -> None:
    checkpoint = fitted.result.checkpoint
    weights = {name: t.clone() for name, t in checkpoint.model.state_dict().items()}
    before = predict(checkpoint.model, fitted.prepared.test, OLD).logits
    settings = {"epochs": 2, "batch_size": 512, "fusion": fusion, "average": average}
    config = TuneConfig.model_validate(settings)
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
    first, same, other = (head.bank_tensors()["task_emb"] for head in heads)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_trained_parameters_are_counted_against_a_full_model(fitted: Fitted) -> None:
    checkpoint = fitted.result.checkpoint
    result = tune(checkpoint, fitted.prepared, fitted.new_task, TuneConfig(epochs=1))
    card = result.prompt.card
    full = build_model(fitted.config.model, checkpoint.schema, (*OLD, NEW))
    assert card.parameters == sum(
        p.numel() for p in result.prompt.head.parameters() if p.requires_grad
    )
    assert card.share == card.parameters / sum(p.numel() for p in full.parameters())


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

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tests.training.worlds import random_inputs, refill, schema
from training.config import FitConfig, ModelConfig
from training.inputs import Batch
from training.losses import l2_loss, prompt_loss, row_losses, total_loss
from training.mixer_mpt import MptMixer
from training.mlp import Layers, StackedMLP
from training.model import MultiTaskModel, Outputs, build_model

ROWS = 12
OFF = FitConfig(l2_embedding=0.0)


def model(**values: Any) -> MultiTaskModel:  # noqa: ANN401
    sizes = {"embedding_dim": 4, "expert_units": (10, 6), "tower_units": (5,)}
    built = build_model(ModelConfig.model_validate({**sizes, **values}), schema(), ["a", "b"])
    refill(built)
    return built


def batch(mask: Tensor | None = None) -> Batch:
    g = torch.Generator().manual_seed(3)
    labels = (torch.rand(ROWS, 2, generator=g) < 0.4).float()
    known = torch.ones(ROWS, 2, dtype=torch.bool) if mask is None else mask
    return Batch(random_inputs(schema(), 3, ROWS), labels * known, known, torch.arange(ROWS))


def test_a_task_is_averaged_over_the_rows_that_have_its_label() -> None:
    mask = torch.ones(ROWS, 2, dtype=torch.bool)
    mask[::2, 1] = False
    data, logits = batch(mask), torch.randn(ROWS, 2)
    parts = total_loss(model(), Outputs(logits), data, None, OFF)
    want = row_losses(logits, data.labels)
    assert_close(parts.task[0], want[:, 0].mean())
    assert_close(parts.task[1], want[1::2, 1].mean())


def test_an_unknown_label_sends_no_gradient() -> None:
    mask = torch.ones(ROWS, 2, dtype=torch.bool)
    mask[4] = False
    logits = torch.randn(ROWS, 2, requires_grad=True)
    total_loss(model(), Outputs(logits), batch(mask), None, OFF).total.backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert not logits.grad[4].any()
    assert bool(logits.grad[5].all())


def test_a_task_without_any_label_costs_nothing() -> None:
    mask = torch.tensor([[True, False]]).expand(ROWS, 2)
    parts = total_loss(model(), Outputs(torch.randn(ROWS, 2)), batch(mask), None, OFF)
    assert parts.task[1] == 0.0
    assert bool(parts.total.isfinite())


def test_the_total_weighs_tasks_and_the_game() -> None:
    mpt, data, env = model(), batch(), torch.zeros(ROWS, dtype=torch.int64)
    weights = torch.tensor([2.0, 0.5])
    parts = total_loss(mpt, mpt(data.inputs, alpha=0.2), data, env, OFF, weights)
    assert min(parts.shared, parts.environment) > 0.0
    want = (weights * parts.task).sum() + 0.9 * parts.shared + 0.1 * parts.environment
    assert_close(parts.total, want)


def test_environments_without_the_aids_of_the_game_are_refused() -> None:
    mpt, data = model(), batch()
    with pytest.raises(ValueError, match="alpha"):
        total_loss(mpt, mpt(data.inputs), data, torch.zeros(ROWS, dtype=torch.int64), OFF)


def half_squares(tensors: Sequence[Tensor]) -> Tensor:
    return torch.stack([t.square().sum() for t in tensors]).sum() / 2


def test_l2_of_mptrec_reaches_weights_of_experts_and_towers_only() -> None:
    mpt = model()
    assert isinstance(mpt.mixer, MptMixer)
    stacks = (mpt.mixer.shared_expert, mpt.mixer.specific_experts, mpt.towers.stack)
    want = 0.2 * half_squares([w for s in stacks for w in s.weights])
    assert_close(l2_loss(mpt, batch().inputs, FitConfig(l2_embedding=0.0, l2_network=0.2)), want)


def test_l2_of_stem_reaches_all_weights_and_biases_but_the_table() -> None:
    mpt = model()
    others = [p for name, p in mpt.named_parameters() if "table" not in name]
    fit = FitConfig(l2_embedding=0.0, l2_network=0.2, l2_family="stem")
    assert_close(l2_loss(mpt, batch().inputs, fit), 0.2 * half_squares(others))


def test_l2_of_the_table_is_dense_by_default() -> None:
    mpt = model()
    found = l2_loss(mpt, batch().inputs, FitConfig(l2_embedding=0.2))
    assert_close(found, 0.2 * half_squares([mpt.table]))


def test_l2_of_batch_rows_counts_each_row_looked_up_once() -> None:
    mpt, inputs = model(), batch().inputs
    groups = ("user_ids", "user_bags", "history", "item_ids", "item_bags")
    rows = sorted({int(row) for name in groups for row in getattr(inputs, name).flatten()})
    found = l2_loss(mpt, inputs, FitConfig(l2_embedding=0.2, l2_scope="batch_rows"))
    assert_close(found, 0.2 * half_squares([mpt.table[rows]]))
    twice = replace(inputs, item_ids=inputs.item_ids.repeat(2, 1))
    again = l2_loss(mpt, twice, FitConfig(l2_embedding=0.2, l2_scope="batch_rows"))
    assert_close(again, found)


@pytest.mark.parametrize(("rows", "want"), [(10, 0.02), (100_000, 0.02), (1_000_000, 0.002)])
def test_the_more_rows_the_less_a_table_is_held_back_by_itself(rows: int, want: float) -> None:
    assert FitConfig().for_rows(rows).l2_embedding == pytest.approx(want)
    assert FitConfig(l2_embedding=0.3).for_rows(rows).l2_embedding == 0.3


def test_a_strength_that_is_no_number_yet_is_refused() -> None:
    with pytest.raises(ValueError, match=r"for_rows"):
        l2_loss(model(), batch().inputs, FitConfig())


def test_a_prompt_pays_for_the_weights_of_its_tower() -> None:
    tower = StackedMLP(1, 6, Layers((5,), out=1))
    logits, labels = torch.randn(ROWS), torch.ones(ROWS)
    parts = prompt_loss(tower, logits, labels, 0.2)
    assert_close(parts.bce, row_losses(logits, labels).mean())
    assert_close(parts.l2, 0.2 * half_squares(list(tower.weights)))
    assert_close(parts.total, parts.bce + parts.l2)


def test_a_prompt_pays_for_the_weights_of_its_items() -> None:
    tower, weights = StackedMLP(1, 6, Layers((5,), out=1)), torch.randn(7)
    logits, labels = torch.randn(ROWS), torch.ones(ROWS)
    parts = prompt_loss(tower, logits, labels, 0.2, weights, 0.3)
    want = 0.2 * half_squares(list(tower.weights)) + 0.3 * half_squares([weights])
    assert_close(parts.l2, want)
    assert_close(parts.total, parts.bce + want)

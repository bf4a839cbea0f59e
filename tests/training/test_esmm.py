from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from tests.training.synthetic import NEW, OLD, prepared_world, synthetic_config
from tests.training.worlds import random_inputs, refill, schema
from training.compare import compare
from training.config import ModelConfig
from training.errors import DataError
from training.esmm import FunnelLink, check_funnel, product_logit
from training.fit import fit
from training.model import build_model
from training.split import Split
from training.tune import full_parameters, tune


def test_the_product_leaves_as_its_logit() -> None:
    logits = torch.randn(50, 2, dtype=torch.float64) * 3
    product = logits.sigmoid().prod(dim=1)
    assert_close(product_logit(logits).sigmoid(), product, rtol=0, atol=1e-14)


def test_the_logit_of_the_product_is_stable_at_both_ends() -> None:
    far = torch.tensor([[200.0, 200.0], [-200.0, -200.0], [-200.0, 200.0]], requires_grad=True)
    found = product_logit(far)
    assert_close(found, torch.tensor([200.0 - torch.log(torch.tensor(2.0)).item(), -400.0, -200.0]))
    found.sum().backward()  # type: ignore[no-untyped-call]
    assert far.grad is not None
    assert bool(far.grad.isfinite().all())


@torch.no_grad()
def test_the_second_task_is_never_likelier_than_the_first() -> None:
    model = build_model(ModelConfig(mixer="esmm", tower_units=(6,)), schema(), ["click", "buy"])
    refill(model, std=2.0)
    probabilities = model(random_inputs(schema(), 5, 200)).logits.sigmoid()
    assert bool((probabilities[:, 1] <= probabilities[:, 0]).all())


def test_the_second_target_is_that_both_happened() -> None:
    labels = torch.tensor([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    assert FunnelLink().targets(labels)[:, 1].tolist() == [1.0, 0.0, 0.0, 0.0]


def test_labels_that_are_no_funnel_are_refused_unless_forced() -> None:
    labels = torch.tensor([[1.0, 1.0], [0.0, 1.0], [0.0, 1.0]])
    mask = torch.tensor([[True, True], [True, True], [False, True]])
    with pytest.raises(DataError, match="1 of 2 rows"):
        check_funnel(labels, mask, force=False)
    check_funnel(labels, mask, force=True)
    check_funnel(labels[:1], mask[:1], force=False)


@torch.no_grad()
def test_a_task_after_the_funnel_has_a_tower_of_its_own() -> None:
    config = ModelConfig(mixer="esmm", tower_units=(6,))
    model = build_model(config, schema(), ["click", "buy", "share"]).eval()
    refill(model)
    inputs = random_inputs(schema(), 5, 20)
    seen = model.represent(inputs)
    for task in range(3):
        logits = model.head(task)(*seen.tensors())
        assert_close(logits, model(inputs).logits[:, task], rtol=0, atol=1e-6)
    plain = model.towers.stack.only(2)(Split.rows(seen.specific[:, 2]))[0, :, 0]
    assert_close(model(inputs).logits[:, 2], plain, rtol=0, atol=1e-6)


FUNNEL_TASKS = [
    {"name": "click", "label": "click"},
    {"name": "like", "label": "click * like"},
    {"name": NEW, "label": NEW, "new": True},
]


def test_fit_refuses_labels_that_are_no_funnel_unless_forced(tmp_path: Path) -> None:
    config = synthetic_config(model={"mixer": "esmm"}, fit={"epochs": 1})
    _, prepared = prepared_world(tmp_path, config, rows=1500)
    with pytest.raises(DataError, match=r"no funnel; .* model\.esmm_force"):
        fit(config, prepared, run_dir=tmp_path / "run")
    forced = synthetic_config(model={"mixer": "esmm", "esmm_force": True}, fit={"epochs": 1})
    assert fit(forced, prepared, run_dir=tmp_path / "run").epochs == 1


def test_a_task_is_tuned_and_compared_on_a_funnel(tmp_path: Path) -> None:
    """The model to compare with has one more tower as wide as the funnel's."""
    config = synthetic_config(
        model={"mixer": "esmm"}, tasks=FUNNEL_TASKS, fit={"epochs": 1}, tune={"epochs": 1}
    )
    _, prepared = prepared_world(tmp_path, config, rows=1500)
    checkpoint = fit(config, prepared, run_dir=tmp_path / "run").checkpoint
    card = tune(checkpoint, prepared, config.tasks[2], config.tune).prompt.card
    towers = (*checkpoint.model.mixer.parameters(), *checkpoint.model.towers.parameters())
    full = checkpoint.card.parameters + sum(p.numel() for p in towers) // 2
    assert full_parameters(checkpoint, NEW) == full
    assert card.share == card.parameters / full
    found = compare(checkpoint, config, prepared, config.tasks[2], run_dir=tmp_path / "compare")
    assert found[0].parameters == full
    assert set(found[0].old_tasks) == set(OLD)

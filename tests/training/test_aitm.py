from __future__ import annotations

import torch
from torch.testing import assert_close

from tests.training.worlds import random_inputs, refill, schema
from training.aitm import AitmMixer
from training.config import FitConfig, ModelConfig
from training.inputs import Batch
from training.losses import total_loss
from training.mixer_moe import SharedBottomMixer
from training.model import Outputs, build_model

INPUTS = random_inputs(schema(), 4, 20)
CONFIG = ModelConfig(mixer="aitm", embedding_dim=4, expert_units=(10, 6), tower_units=(5,))


@torch.no_grad()
def test_one_task_is_the_single_task_model() -> None:
    aitm = build_model(CONFIG, schema(), ["a"])
    single = build_model(CONFIG.model_copy(update={"mixer": "shared_bottom"}), schema(), ["a"])
    refill(aitm)
    assert isinstance(aitm.mixer, AitmMixer)
    assert isinstance(single.mixer, SharedBottomMixer)
    single.bottom.load_state_dict(aitm.bottom.state_dict())
    single.towers.load_state_dict(aitm.towers.state_dict())
    single.mixer.bottom.load_state_dict(aitm.mixer.bottoms.state_dict())
    assert_close(aitm(INPUTS).logits, single(INPUTS).logits, rtol=0, atol=1e-6)


def hinge(probabilities: list[list[float]]) -> float:
    model = build_model(CONFIG, schema(), ["a", "b", "c"])
    logits = torch.tensor(probabilities).logit()
    batch = Batch(INPUTS, logits * 0, torch.ones_like(logits, dtype=torch.bool), torch.arange(2))
    parts = total_loss(model, Outputs(logits), batch, None, FitConfig(l2_embedding=0.0))
    assert_close(parts.total, parts.task.sum() + 0.6 * parts.hinge)
    return float(parts.hinge)


def test_the_hinge_is_what_a_later_task_exceeds_an_earlier_one() -> None:
    assert hinge([[0.9, 0.5, 0.5], [0.4, 0.4, 0.1]]) == 0.0
    assert abs(hinge([[0.2, 0.5, 0.1], [0.2, 0.1, 0.5]]) - (0.3 + 0.4) / 2) < 1e-6


def test_a_task_learns_from_the_ones_after_it_but_not_the_reverse() -> None:
    model = build_model(CONFIG, schema(), ["a", "b", "c"])
    refill(model)
    assert isinstance(model.mixer, AitmMixer)
    model(INPUTS).logits[:, 1].sum().backward()
    grad = model.mixer.bottoms.weights[0].grad
    assert grad is not None
    assert [bool(g.any()) for g in grad] == [True, True, False]

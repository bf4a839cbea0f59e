from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tests.training.test_dtrn_prompt import backbone
from tests.training.worlds import random_inputs, refill, schema
from training.config import TuneConfig
from training.dtrn_bank import DtrnPromptBank, beside_conditioned
from training.dtrn_prompt import DtrnPrompt
from training.model import MultiTaskModel
from training.prompt import PromptHead

SIZES = {"width": 6, "condition_width": 3, "hyper_width": 5}
BACKBONES: list[dict[str, Any]] = [
    {},
    {"mixer": "mpt"},
    {"mixer": "ple", "specific_experts": 2, "shared_experts": 1},
    {"dtrn": {**SIZES, "pooling": "mean"}},
    {"dtrn": {**SIZES, "trm": "element", "trm_act": "sigmoid"}},
    {"dtrn": {**SIZES, "trm": "off", "blocks": 2}},
]


def prompt(model: MultiTaskModel, seed: int, **tune: Any) -> DtrnPrompt:  # noqa: ANN401
    """With weights at which every part says something; the keys of an mpt backbone stay."""
    made = DtrnPrompt(TuneConfig.model_validate({"tau": 2.0, **tune}), model)
    refill(made, seed)
    return made.eval()


def stacked(tensors: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([t[name] for t in tensors]) for name in tensors[0]}


@pytest.mark.parametrize("users", [1, 4])
@pytest.mark.parametrize("values", BACKBONES, ids=str)
@torch.no_grad()
def test_one_bank_serves_every_fusion_and_gate_as_the_prompt_scores(
    values: dict[str, Any], users: int
) -> None:
    model = backbone(**values)
    seen = model.represent(random_inputs(schema(), users, 13))
    prompts = [
        prompt(model, seed, fusion=fusion, prompt_gate=gate, expert_units=(5,))
        for seed, (fusion, gate) in enumerate(
            [("attention", "learned"), ("uniform", "fixed"), ("similarity", "learned")]
        )
    ]
    bank = stacked([p.bank_tensors() for p in prompts])
    found = DtrnPromptBank(model, seen.keys)(seen, bank)
    want = torch.stack([p(seen).sigmoid() for p in prompts], dim=1)
    assert_close(found, want, rtol=0, atol=1e-6)


@pytest.mark.parametrize("values", BACKBONES, ids=str)
@torch.no_grad()
def test_a_plain_prompt_scores_the_same_among_conditioned_ones(values: dict[str, Any]) -> None:
    model = backbone(**values)
    seen = model.represent(random_inputs(schema(), 3, 13))
    tune = TuneConfig(tau=2.0)
    plain = PromptHead(tune, model.prompt_shape(), model.mixer.keys)
    refill(plain, 7)
    conditioned = prompt(model, 1)
    like = conditioned.bank_tensors()
    shapes = {name: tuple(t.shape) for name, t in like.items()}
    bank = stacked([like, beside_conditioned(plain.bank_tensors(), shapes)])
    found = DtrnPromptBank(model, seen.keys)(seen, bank)
    want = torch.stack([p(seen).sigmoid() for p in (conditioned, plain)], dim=1)
    assert_close(found, want, rtol=0, atol=1e-6)

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.testing import assert_close

from tests.training.test_prompt import INPUTS, backbone, prompt
from training.config import TuneConfig
from training.prompt import PromptHead, PromptShape
from training.prompt_bank import PromptBank
from training.representation import Representation
from training.split import Split

HEADS: list[dict[str, Any]] = [
    {"fusion": fusion, "prompt_gate": gate}
    for fusion in ("attention", "uniform", "similarity")
    for gate in ("learned", "fixed")
]


@pytest.mark.parametrize("mixer", ["mpt", "mmoe", "aftb"])
@torch.no_grad()
def test_one_bank_serves_every_fusion_and_gate_exactly(mixer: str) -> None:
    model = backbone(mixer=mixer, bottom="stem" if mixer == "aftb" else "shared")
    representation = model.represent(INPUTS)
    heads = [prompt(model, seed, **tune) for seed, tune in enumerate(HEADS)]
    tensors = [head.bank_tensors() for head in heads]
    bank = {name: torch.stack([t[name] for t in tensors]) for name in tensors[0]}
    found = PromptBank(representation.keys)(representation, bank)
    want = torch.stack([head(representation).sigmoid() for head in heads], dim=1)
    assert_close(found, want, rtol=0, atol=1e-6)


@torch.no_grad()
def test_a_bank_column_does_not_depend_on_the_others() -> None:
    model = backbone()
    representation = model.represent(INPUTS)
    tensors = [prompt(model, seed).bank_tensors() for seed in range(4)]
    serve = PromptBank(representation.keys)

    def columns(chosen: list[int]) -> torch.Tensor:
        bank = {n: torch.stack([tensors[i][n] for i in chosen]) for n in tensors[0]}
        scores: torch.Tensor = serve(representation, bank)
        return scores

    everyone = columns([0, 1, 2, 3])
    # To the bit where it is served (tests/export/test_prompt.py); PyTorch's kernels go by shape.
    assert_close(columns([0, 1, 2]), everyone[:, :3], rtol=0, atol=1e-6)
    assert_close(columns([3, 1]), everyone[:, [3, 1]], rtol=0, atol=1e-6)


@pytest.mark.parametrize(("user", "item"), [(0, 5), (5, 0)])
@torch.no_grad()
def test_a_part_of_h_without_columns_has_no_tensors(user: int, item: int) -> None:
    shape = PromptShape(user, item, 4, 2, (3,))
    head = PromptHead(TuneConfig(tau=1.0), shape, torch.randn(2, 4))
    bank = {name: t.unsqueeze(0) for name, t in head.bank_tensors().items()}
    missing = "user" if user == 0 else "item"
    assert not any(name.endswith(missing) for name in bank)
    row_user = torch.tensor([0, 1, 1], dtype=torch.int32)
    h = Split(torch.randn(2, user), torch.randn(3, item), row_user)
    representation = Representation(h, torch.randn(3, 4), torch.randn(3, 2, 4), head.keys)
    found = PromptBank(head.keys)(representation, bank)
    assert_close(found[:, 0], head(representation).sigmoid(), rtol=0, atol=1e-6)


def test_bank_tensors_stand_as_batched_products_want_them() -> None:
    model = backbone()
    head, shape = prompt(model), model.prompt_shape()
    user, item, m = shape.user_width, shape.item_width, shape.width
    found = {name: tuple(t.shape) for name, t in head.bank_tensors().items()}
    assert found == {
        "query.w0.user": (user, m // 2),
        "query.w0.item": (item, m // 2),
        "query.w1": (m // 2, m),
        "norm.gamma": (m,),
        "norm.beta": (m,),
        "task_emb": (m,),
        "gate.w0.user": (user, 2),
        "gate.w0.item": (item, 2),
        "gate.b0": (2,),
        "tower.w0": (m, 5),
        "tower.b0": (5,),
        "tower.w1": (5, 1),
        "tower.b1": (1,),
    }

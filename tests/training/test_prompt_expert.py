"""The new task's own expert: what it adds, and how it is served."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch.testing import assert_close

from tests.training.synthetic import NEW, Fitted
from tests.training.test_prompt import INPUTS, backbone, prompt
from training.config import TuneConfig
from training.errors import ConfigError
from training.frozen import frozen_examples
from training.head import fit_head
from training.prompt import PromptHead
from training.prompt_bank import PromptBank
from training.prompt_expert import PromptExpert
from training.split import Split


@torch.no_grad()
def test_a_prompt_with_an_expert_begins_as_the_papers() -> None:
    model = backbone()
    torch.manual_seed(0)
    settings = TuneConfig(tau=2.0, expert_units=(3,))
    ours = PromptHead(settings, model.prompt_shape(), model.mixer.keys)
    papers = prompt(model)
    papers.load_state_dict({n: t for n, t in ours.state_dict().items() if "expert" not in n})
    representation = model.represent(INPUTS)
    assert torch.equal(ours(representation), papers(representation))


def test_an_expert_adds_its_two_layers_and_a_tower_of_its_own_size() -> None:
    model = backbone()
    shape = model.prompt_shape()
    plain = prompt(model).trained_parameters()
    expert = shape.input_width * 3 + 3 + 3 * shape.width + shape.width
    assert prompt(model, expert_units=(3,)).trained_parameters() == plain + expert
    old, new = (shape.width * u + u + u + 1 for u in (5, 2))
    assert prompt(model, tower_units=(2,)).trained_parameters() == plain - old + new


@pytest.mark.parametrize("tune", [{"expert_units": (3,)}, {"expert_units": (4, 3)}])
@torch.no_grad()
def test_the_bank_serves_experts_with_their_scale_folded_in(tune: dict[str, Any]) -> None:
    model = backbone()
    representation = model.represent(INPUTS)
    heads = [prompt(model, seed, tower_units=(4, 2), **tune) for seed in range(3)]
    for head in heads:
        assert head.expert is not None
        head.expert.take_scale(torch.rand(model.prompt_shape().input_width))
    tensors = [head.bank_tensors() for head in heads]
    bank = {name: torch.stack([t[name] for t in tensors]) for name in tensors[0]}
    found = PromptBank(representation.keys)(representation, bank)
    want = torch.stack([head(representation).sigmoid() for head in heads], dim=1)
    assert_close(found, want, rtol=0, atol=1e-6)


@torch.no_grad()
def test_columns_of_any_size_weigh_alike() -> None:
    expert = PromptExpert(2, (3,), 4)
    expert.layers.reset("torch")
    for weight in expert.layers.weights:
        weight.fill_(1.0)
    expert.layers.biases[0].fill_(10.0)
    expert.take_scale(torch.tensor([100.0**2, 50.0**2]))
    large, small = (expert(Split.rows(torch.tensor([x]))) for x in ([100.0, 0.0], [0.0, 50.0]))
    assert_close(large, small, rtol=1e-2, atol=0)


def test_tuning_takes_the_scale_from_the_training_rows(fitted: Fitted) -> None:
    model = fitted.result.checkpoint.model
    examples = frozen_examples(fitted.result.checkpoint, fitted.prepared, NEW)
    settings = TuneConfig(epochs=1, batch_size=1024, expert_units=(3,))
    head = PromptHead(settings, model.prompt_shape(), model.mixer.keys)
    fit_head(head, examples, NEW, settings)
    dataset = fitted.prepared.train
    with torch.no_grad():
        rows = model.represent(dataset.batch(torch.arange(len(dataset)), ()).inputs).h
    squares = rows.materialised().square().mean(dim=0)
    assert head.expert is not None
    assert_close(head.expert.scale, (squares + 0.01 * squares.mean()).sqrt(), rtol=1e-4, atol=1e-6)


@torch.no_grad()
def test_fields_an_expert_is_to_leave_out_do_not_move_its_prompt() -> None:
    model = backbone()
    shape = model.prompt_shape()
    without = ("user", "item")
    head = prompt(model, fusion="own", expert_units=(3,), expert_without=without)
    assert head.expert is not None
    head.expert.take_scale(torch.rand(shape.input_width) + 0.1)
    seen = model.represent(INPUTS)
    rows, scores = seen.h.materialised(), []
    for name in (None, *shape.spans):
        moved = rows.clone()
        if name is not None:
            moved[:, slice(*shape.spans[name])] += 1.0
        scores.append(head(replace(seen, h=Split.rows(moved))))
    same = {
        name
        for name, found in zip(shape.spans, scores[1:], strict=True)
        if torch.equal(found, scores[0])
    }
    assert same == set(without)


@pytest.mark.parametrize("tune", [{"fusion": "own"}, {"expert_without": ("user_id",)}])
def test_what_is_of_an_expert_is_refused_without_one(tune: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="of an expert"):
        TuneConfig.model_validate(tune)


def test_a_field_that_no_columns_of_h_are_of_is_named() -> None:
    with pytest.raises(ConfigError, match="names shoe_size"):
        prompt(backbone(), expert_units=(3,), expert_without=("shoe_size",))

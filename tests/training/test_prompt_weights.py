"""Weights of item values: which value has which, and how they are served."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError
from torch.testing import assert_close

from tests.training.test_prompt import INPUTS, backbone, prompt
from training.config import TuneConfig
from training.errors import ConfigError
from training.prompt_bank import PromptBank
from training.prompt_weights import IdColumn, ItemValues

COLUMNS = {"video": IdColumn(0, first=10, values=4), "tone": IdColumn(2, first=30, values=3)}


def test_every_value_of_every_field_has_a_place_of_its_own() -> None:
    values = ItemValues(("tone", "video"), COLUMNS)
    assert values.count == 7
    ids = torch.tensor([[10, 99, 30], [13, 99, 32]], dtype=torch.int32)
    assert values(ids).tolist() == [[0, 3], [2, 6]]


def test_a_row_of_another_vocabulary_stays_within_its_field() -> None:
    ids = torch.tensor([[0, 0, 0], [99, 99, 99]], dtype=torch.int32)
    assert ItemValues(("tone", "video"), COLUMNS)(ids).tolist() == [[0, 3], [2, 6]]


def test_a_field_that_is_none_of_the_items_is_named() -> None:
    with pytest.raises(ConfigError, match="names user_id"):
        prompt(backbone(), item_weights=("user_id",))


def test_a_strength_without_weights_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"l2_embedding is of item_weights"):
        TuneConfig(l2_embedding=1e-4)


@torch.no_grad()
def test_a_weight_is_added_to_the_logits_of_its_value_alone() -> None:
    model = backbone()
    head = prompt(model, item_weights=("item",))
    assert head.item_weights is not None
    seen = model.represent(INPUTS)
    before = head(seen)
    assert seen.item_ids is not None
    places = head.item_weights.values(seen.item_ids)[:, 0]
    head.item_weights.weights[places[0]] += 2.0
    assert_close(head(seen) - before, 2.0 * (places == places[0]).float())


@torch.no_grad()
def test_a_prompt_without_rows_of_items_says_so() -> None:
    model = backbone()
    head, seen = prompt(model, item_weights=("item",)), model.represent(INPUTS)
    with pytest.raises(ValueError, match=r"needs Representation\.item_ids"):
        head(replace(seen, item_ids=None))


@pytest.mark.parametrize("mixer", ["mpt", "mmoe"])
@torch.no_grad()
def test_the_bank_serves_weights_and_prompts_that_read_h_alone_exactly(mixer: str) -> None:
    model = backbone(mixer=mixer)
    seen = model.represent(INPUTS)
    tune = {"fusion": "own", "expert_units": (4,), "item_weights": ("item",)}
    heads = [prompt(model, seed, **tune) for seed in range(3)]
    tensors = [head.bank_tensors() for head in heads]
    bank = {name: torch.stack([t[name] for t in tensors]) for name in tensors[0]}
    assert heads[0].item_weights is not None
    assert seen.item_ids is not None
    bank["item_values"] = heads[0].item_weights.values(seen.item_ids)
    found = PromptBank(seen.keys)(seen, bank)
    want = torch.stack([head(seen).sigmoid() for head in heads], dim=1)
    assert_close(found, want, rtol=0, atol=1e-6)

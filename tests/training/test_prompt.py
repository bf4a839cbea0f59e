from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.testing import assert_close

from tests.training.worlds import random_inputs, refill, schema
from training.config import ModelConfig, TuneConfig
from training.errors import ConfigError
from training.mixer_mpt import MptMixer
from training.model import MultiTaskModel, build_model
from training.prompt import PromptHead, PromptShape

INPUTS = random_inputs(schema(), 4, 15)
KEYS = torch.zeros(2, 128)
CENSUS = PromptShape(0, 123, 128, 2, (64, 32))
ALICCP = PromptShape(30, 50, 64, 2, (32, 32))
BYTEREC = PromptShape(8, 24, 64, 2, (32, 32))


def backbone(tasks: int = 2, **values: Any) -> MultiTaskModel:  # noqa: ANN401
    sizes = {"embedding_dim": 4, "expert_units": (10, 6), "tower_units": (5,)}
    config = ModelConfig.model_validate({**sizes, **values})
    model = build_model(config, schema(), [f"t{t}" for t in range(tasks)])
    refill(model)
    return model.eval().requires_grad_(requires_grad=False)


def prompt(model: MultiTaskModel, seed: int = 1, **tune: Any) -> PromptHead:  # noqa: ANN401
    config = TuneConfig.model_validate({"tau": 2.0, **tune})
    head = PromptHead(config, model.prompt_shape(), model.mixer.keys)
    refill(head, seed)
    return head


@pytest.mark.parametrize(
    ("shape", "frozen", "trainable", "uniform"),
    [
        (CENSUS, 27_063, 27_319, 10_743),
        (ALICCP, 8_129, 8_257, 3_393),
        (BYTEREC, 6_497, 6_625, 3_297),
    ],
    ids=["census", "aliccp", "byterec"],
)
def test_a_prompt_has_its_published_size(
    shape: PromptShape, frozen: int, trainable: int, uniform: int
) -> None:
    keys = KEYS[:, : shape.width]

    def size(fusion: str, keys: torch.Tensor | None) -> int:
        tune = TuneConfig.model_validate({"fusion": fusion})
        return PromptHead(tune, shape, keys).trained_parameters()

    assert size("attention", keys) == frozen
    assert size("attention", None) == trainable
    assert size("uniform", keys) == size("similarity", keys) == uniform


@torch.no_grad()
def test_attention_is_a_distribution_over_the_existing_tasks() -> None:
    model = backbone(3)
    weights = prompt(model).attention(model.represent(INPUTS).h)
    assert_close(weights.sum(dim=1), torch.ones(15))
    assert bool((weights > 0).all())


@torch.no_grad()
def test_a_query_without_scale_and_shift_is_uniform_fusion() -> None:
    model = backbone(3)
    attention, uniform = prompt(model), prompt(model, fusion="uniform")
    assert attention.query is not None
    attention.query.norm.weight.zero_()
    attention.query.norm.bias.zero_()
    representation = model.represent(INPUTS)
    assert torch.equal(attention.attention(representation.h), torch.full((15, 3), 1 / 3))
    shared_state = {k: v for k, v in attention.state_dict().items() if not k.startswith("query")}
    uniform.load_state_dict(shared_state)
    assert_close(attention(representation), uniform(representation), rtol=0, atol=1e-6)


@torch.no_grad()
def test_a_large_tau_tends_to_uniform_attention() -> None:
    model = backbone(3)
    h = model.represent(INPUTS).h
    off = [float((prompt(model, tau=t).attention(h) - 1 / 3).abs().max()) for t in (1, 1e2, 1e4)]
    assert off[0] > off[1] > off[2]
    assert off[2] < 1e-4


@torch.no_grad()
def test_on_one_task_a_copied_prompt_reproduces_it() -> None:
    """Softmax over one key is 1, so mask, gate and tower decide alone."""
    model = backbone(1)
    assert isinstance(model.mixer, MptMixer)
    head = prompt(model)
    assert head.gate is not None
    head.task_embedding.copy_(model.mixer.task_embedding[0])
    head.gate.load_state_dict(model.mixer.gates.state_dict())
    head.tower.load_state_dict(model.towers.stack.state_dict())
    found = head(model.represent(INPUTS)).sigmoid()
    assert_close(found, model(INPUTS).logits[:, 0].sigmoid(), rtol=0, atol=1e-7)


def test_only_the_prompt_learns() -> None:
    model = backbone()
    head = prompt(model)
    head(model.represent(INPUTS)).sum().backward()
    assert not head.keys.requires_grad
    assert all(p.grad is not None for p in head.parameters())
    assert all(p.grad is None for p in model.parameters())


def test_a_backbone_without_keys_leaves_them_to_the_prompt() -> None:
    model = backbone(mixer="mmoe")
    head = prompt(model)
    assert head.keys.requires_grad
    assert "keys" in head.bank_tensors()
    with pytest.raises(ConfigError, match="no task embeddings"):
        prompt(model, prompt_keys="frozen")


def test_trainable_keys_on_mpt_start_from_the_task_embeddings() -> None:
    model = backbone()
    tune = TuneConfig(prompt_keys="trainable")
    head = PromptHead(tune, model.prompt_shape(), model.mixer.keys)
    assert head.keys.requires_grad
    assert model.mixer.keys is not None
    assert torch.equal(head.keys, model.mixer.keys)

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from tests.training.worlds import random_inputs, refill, schema
from training.config import ModelConfig
from training.mixer_moe import MixtureMixer, SharedBottomMixer
from training.mixer_ple import ExpertLayer, LayeredMixer
from training.mlp import StackedMLP
from training.model import MultiTaskModel, build_model

INPUTS = random_inputs(schema(), 4, 20)


def build(tasks: int = 2, **values: Any) -> MultiTaskModel:  # noqa: ANN401
    sizes = {"embedding_dim": 4, "expert_units": (10, 6), "tower_units": (5,), "gate_units": (4,)}
    config = ModelConfig.model_validate({**sizes, **values})
    model = build_model(config, schema(), [f"t{t}" for t in range(tasks)])
    refill(model)
    return model.eval()


@torch.no_grad()
def copy_rows(source: StackedMLP, target: StackedMLP, rows: list[int]) -> None:
    """Target's groups become the named groups of source."""
    for theirs, ours in zip(source.parameters(), target.parameters(), strict=True):
        ours.copy_(theirs[rows])


def copy_whole(source: nn.Module, target: nn.Module) -> None:
    target.load_state_dict(source.state_dict())


def assert_same_logits(one: MultiTaskModel, other: MultiTaskModel) -> None:
    copy_whole(one.bottom, other.bottom)
    copy_whole(one.towers, other.towers)
    with torch.no_grad():
        assert_close(one(INPUTS).logits, other(INPUTS).logits, rtol=0, atol=1e-6)


@pytest.mark.parametrize("bottom", ["shared", "stem"])
def test_mmoe_with_equal_gates_is_omoe(bottom: str) -> None:
    mmoe = build(mixer="mmoe", shared_experts=3, bottom=bottom)
    omoe = build(mixer="omoe", shared_experts=3, bottom=bottom)
    assert isinstance(mmoe.mixer, MixtureMixer)
    assert isinstance(omoe.mixer, MixtureMixer)
    copy_whole(omoe.mixer.experts, mmoe.mixer.experts)
    copy_rows(omoe.mixer.gates, mmoe.mixer.gates, [0, 0])
    assert_same_logits(omoe, mmoe)


@pytest.mark.parametrize("bottom", ["shared", "stem"])
@pytest.mark.parametrize("mixer", ["omoe", "mmoe"])
def test_a_mixture_of_one_expert_is_shared_bottom(mixer: str, bottom: str) -> None:
    one = build(mixer=mixer, shared_experts=1, bottom=bottom)
    plain = build(mixer="shared_bottom", bottom=bottom)
    assert isinstance(one.mixer, MixtureMixer)
    assert isinstance(plain.mixer, SharedBottomMixer)
    copy_whole(plain.mixer.bottom, one.mixer.experts)
    assert_same_logits(plain, one)


@pytest.mark.parametrize("stream", ["all", "shared"])
def test_one_layer_of_ple_is_cgc(stream: str) -> None:
    sizes = {"shared_experts": 2, "specific_experts": 2}
    cgc = build(mixer="cgc", **sizes)
    ple = build(mixer="ple", ple_shared_gate=stream, **sizes)
    copy_whole(cgc.mixer, ple.mixer)
    assert_same_logits(cgc, ple)


@pytest.mark.parametrize("mixer", ["cgc", "aftb"])
def test_for_one_task_specific_and_shared_experts_are_one_mixture(mixer: str) -> None:
    layered = build(1, mixer=mixer, specific_experts=2, shared_experts=1)
    omoe = build(1, mixer="omoe", shared_experts=3)
    assert isinstance(layered.mixer, LayeredMixer)
    assert isinstance(omoe.mixer, MixtureMixer)
    layer = layered.mixer.layers[0]
    assert isinstance(layer, ExpertLayer)
    copy_rows(omoe.mixer.experts, layer.specific, [0, 1])
    copy_rows(omoe.mixer.experts, layer.shared, [2])
    copy_whole(omoe.mixer.gates, layer.gates)
    assert_same_logits(omoe, layered)

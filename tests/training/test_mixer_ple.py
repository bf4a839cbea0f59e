"""All forward, task-specific backward: who learns from whose loss."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tests.training.worlds import D, random_inputs, refill, schema
from training.config import ModelConfig
from training.mixer_ple import ExpertLayer, LayeredMixer
from training.model import MultiTaskModel, build_model

TASKS = 3
INPUTS = random_inputs(schema(), 6, 40)


def stem(**values: Any) -> MultiTaskModel:  # noqa: ANN401
    sizes = {"embedding_dim": D, "expert_units": (24, 16), "tower_units": (12,), "gate_units": (4,)}
    experts = {"specific_experts": 2, "shared_experts": 2, "bottom": "stem", "mixer": "aftb"}
    config = ModelConfig.model_validate({**sizes, **experts, **values})
    model = build_model(config, schema(), [f"t{t}" for t in range(TASKS)])
    refill(model)
    return model


def gradients(model: MultiTaskModel, task: int) -> dict[str, Tensor]:
    """Of one task's logits, on what belongs to each task: name.r, and name.shared."""
    model.zero_grad()
    model(INPUTS).logits[:, task].square().sum().backward()
    table = model.table.grad
    assert isinstance(model.mixer, LayeredMixer)
    layer = model.mixer.layers[0]
    assert isinstance(layer, ExpertLayer)
    assert table is not None
    parts = {"table.shared": table[:, TASKS * D :]}
    stacks = {"expert": layer.specific, "gate": layer.gates, "tower": model.towers.stack}
    for name, stack in stacks.items():
        for i, parameter in enumerate(stack.parameters()):
            for r, grad in enumerate(grad_of(parameter).chunk(TASKS)):
                parts[f"{name}{i}.{r}"] = grad
    for i, parameter in enumerate(layer.shared.parameters()):
        parts[f"expert{i}.shared"] = grad_of(parameter)
    for r in range(TASKS):
        parts[f"table.{r}"] = table[:, r * D : (r + 1) * D]
    return parts


def grad_of(parameter: Tensor) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


@pytest.mark.parametrize("values", [{}, {"layers": 2, "aftb_isolate_stream": True}])
@pytest.mark.parametrize("task", range(TASKS))
def test_a_task_teaches_only_its_own_and_the_shared_parts(
    values: dict[str, Any], task: int
) -> None:
    for name, grad in gradients(stem(**values), task).items():
        owner = name.split(".")[1]
        assert bool(grad.any()) is (owner in (str(task), "shared")), name


def test_two_layers_without_isolation_let_a_task_reach_all_tables() -> None:
    found = gradients(stem(layers=2), 0)
    assert all(found[f"table.{r}"].any() for r in range(TASKS))


def test_stopping_gradients_changes_no_bit_of_the_output() -> None:
    model = stem()
    learning = model(INPUTS).logits
    model.requires_grad_(requires_grad=False)
    assert torch.equal(model(INPUTS).logits, learning)


def test_the_gate_is_not_stopped() -> None:
    """Its gradient comes from foreign experts too: it equals that of a plain full mixture."""
    model = stem().double()
    assert isinstance(model.mixer, LayeredMixer)
    layer = model.mixer.layers[0]
    assert isinstance(layer, ExpertLayer)
    views = model.bottom(INPUTS)
    weight = layer.gates.weights[0]
    layer.mix(layer.evaluate(views))[1].square().sum().backward()  # type: ignore[no-untyped-call]
    found = grad_of(weight).clone()
    model.zero_grad()
    views = model.bottom(INPUTS)
    experts = layer.evaluate(views)
    pool = torch.cat([experts.specific.flatten(0, 1), experts.shared])
    weights = layer.gates(views.gate).softmax(-1)
    torch.einsum("tnx,xnm->tnm", weights, pool)[1].square().sum().backward()  # type: ignore[no-untyped-call]
    assert_close(found, grad_of(weight), rtol=0, atol=1e-12)


def test_the_dead_gate_of_the_last_layer_does_not_exist() -> None:
    model = stem(layers=2)
    assert isinstance(model.mixer, LayeredMixer)
    gates = [getattr(layer, "stream_gate", None) for layer in model.mixer.layers]
    assert [gate is None for gate in gates] == [False, True]

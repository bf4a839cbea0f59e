"""The other published multi-task models: outputs, losses and gradients of the same weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from tests.training.golden import (
    Golden,
    Slot,
    fill,
    input_columns,
    load,
    names_of,
    stack_slots,
    table_slots,
)
from training.aitm import AitmMixer
from training.config import FitConfig, ModelConfig
from training.esmm import EsmmMixer
from training.inputs import Batch
from training.losses import LossParts, l2_loss, total_loss
from training.mixer_moe import MixtureMixer, SharedBottomMixer
from training.mixer_ple import ExpertLayer, LayeredMixer
from training.model import MultiTaskModel, Outputs, build_model

F32, F64 = torch.float32, torch.float64
MIXERS = {"stem": "aftb", "cgc": "cgc", "ple": "ple", "sharedbottom": "shared_bottom"}


def config_of(golden: Golden) -> ModelConfig:
    """The published sizes as our configuration."""
    meta = golden.meta
    mixer = MIXERS.get(meta["model"], meta["model"])
    if mixer == "cgc" and meta.get("layers", 1) > 1:
        mixer = "ple"
    values: dict[str, Any] = {
        "mixer": mixer,
        "bottom": "stem" if meta["model"] == "stem" else "shared",
        "embedding_dim": meta["d"],
        "tower_units": meta["tower"],
        "expert_units": meta.get("expert", meta.get("bottom", [1])),
        "gate_units": meta.get("gate", []),
        "gate_bias": golden.gate_bias,
        "layers": meta.get("layers", 1),
        "aitm_hinge": 0.0,
    }
    if "K" in meta:
        values |= {"specific_experts": meta["K"], "shared_experts": meta["S"]}
        values["ple_shared_gate"] = meta.get("ple_shared_gate") or "all"
    if "E" in meta:
        values["shared_experts"] = meta["E"]
    return ModelConfig.model_validate(values)


def slots_of(golden: Golden, model: MultiTaskModel, columns: list[int]) -> dict[str, Slot]:
    slots = table_slots(golden, model.schema, model.table)
    mixer, tasks = model.mixer, golden.meta["T"]
    if isinstance(mixer, EsmmMixer):
        for t, name in enumerate(("ctr", "cvr")):
            hidden = stack_slots(mixer.hidden, t, f"tower.{name}", columns)
            depth = len(mixer.hidden.weights)
            last = stack_slots(model.towers.stack, t, "last")
            slots |= hidden
            slots[f"tower.{name}.w{depth}"] = last["last.w0"]
            slots[f"tower.{name}.b{depth}"] = last["last.b0"]
        return slots
    for t in range(tasks):
        slots |= stack_slots(model.towers.stack, t, f"tower.{t}")
    if isinstance(mixer, SharedBottomMixer):
        slots |= stack_slots(mixer.bottom, 0, "bottom", columns)
    elif isinstance(mixer, MixtureMixer):
        for e in range(mixer.experts.groups):
            slots |= stack_slots(mixer.experts, e, f"expert.{e}", columns)
        for g in range(mixer.gates.groups):
            name = f"gate.{g}" if golden.meta["model"] == "mmoe" else "gate"
            slots |= stack_slots(mixer.gates, g, name, columns)
    elif isinstance(mixer, AitmMixer):
        slots |= aitm_slots(mixer, tasks, columns)
    elif isinstance(mixer, LayeredMixer):
        for i, layer in enumerate(mixer.layers):
            assert isinstance(layer, ExpertLayer)
            slots |= layer_slots(layer, f"layer.{i}", columns if i == 0 else None)
    return slots


def aitm_slots(mixer: AitmMixer, tasks: int, columns: list[int]) -> dict[str, Slot]:
    slots: dict[str, Slot] = {}
    for t in range(tasks):
        slots |= stack_slots(mixer.bottoms, t, f"bottom.{t}", columns)
    linears: dict[str, nn.Module] = {f"transfer.{t + 1}": m for t, m in enumerate(mixer.transfers)}
    linears |= {"attn.value": mixer.value, "attn.key": mixer.key, "attn.query": mixer.query}
    for name, linear in linears.items():
        assert isinstance(linear, nn.Linear)
        slots[f"{name}.w0"] = Slot(linear.weight, ())
        slots[f"{name}.b0"] = Slot(linear.bias, ())
    return slots


def layer_slots(layer: ExpertLayer, name: str, columns: list[int] | None) -> dict[str, Slot]:
    slots: dict[str, Slot] = {}
    per_task = layer.shape.specific
    for g in range(layer.specific.groups):
        t, k = divmod(g, per_task)
        slots |= stack_slots(layer.specific, g, f"{name}.expert.specific.{t}.{k}", columns)
    for s in range(layer.shared.groups):
        slots |= stack_slots(layer.shared, s, f"{name}.expert.shared.{s}", columns)
    for t in range(layer.gates.groups):
        slots |= stack_slots(layer.gates, t, f"{name}.gate.{t}", columns)
    if layer.stream_gate is not None:
        slots |= stack_slots(layer.stream_gate, 0, f"{name}.gate.shared", columns)
    return slots


@dataclass
class Case:
    golden: Golden
    dtype: torch.dtype
    model: MultiTaskModel
    batch: Batch
    slots: dict[str, Slot]

    @property
    def atol(self) -> float:
        return 1e-6 if self.dtype is F32 else 1e-10

    def want(self, key: str) -> Tensor:
        return self.golden.tensor(key, self.dtype)

    def run(self) -> tuple[Outputs, LossParts]:
        outputs = self.model(self.batch.inputs)
        return outputs, total_loss(
            self.model, outputs, self.batch, None, FitConfig(l2_embedding=0.0)
        )

    def gradients_of(self, loss: Tensor) -> dict[str, Tensor]:
        self.model.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        found = {}
        for name, slot in self.slots.items():
            grad = slot.parameter.grad
            found[name] = slot.read(torch.zeros_like(slot.parameter) if grad is None else grad)
        return found


@pytest.fixture(params=names_of(mpt=False))
def file(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["rows-float32", "rows-float64", "split-float32", "split-float64"])
def case(request: pytest.FixtureRequest, file: str) -> Case:
    layout, dtype_name = request.param.split("-")
    dtype = F32 if dtype_name == "float32" else F64
    golden = load(file)
    schema = golden.schema(layout)
    model = build_model(config_of(golden), schema, golden.tasks).to(dtype)
    slots = slots_of(golden, model, input_columns(golden, schema))
    fill(golden, model.table, slots)
    return Case(golden, dtype, model, golden.batch(schema, dtype), slots)


def test_every_living_published_weight_has_a_place(case: Case) -> None:
    assert set(case.slots) == set(case.golden.groups("")) - case.golden.dead


def test_probabilities_match(case: Case) -> None:
    found = case.run()[0].logits.sigmoid()
    key = "out.prob" if case.dtype is F32 else "out.prob64"
    assert_close(found, case.want(key), rtol=0, atol=case.atol)


def test_pre_tower_representation_matches(case: Case) -> None:
    if "mid.rep" not in case.golden.arrays:
        pytest.skip("esmm publishes no representation")
    found = case.model.represent(case.batch.inputs).specific
    assert_close(found, case.want("mid.rep"), rtol=1e-5, atol=1e-5)


def test_losses_match(case: Case) -> None:
    parts = case.run()[1]
    assert_close(parts.task, case.want("loss.task"), rtol=0, atol=1e-6)
    assert_close(parts.total, case.want("loss.total"), rtol=0, atol=1e-6)
    if case.dtype is F64:
        assert_close(parts.task, case.want("loss.task64"), rtol=0, atol=1e-10)


def test_regularisers_match(case: Case) -> None:
    meta = case.golden.meta
    if "loss.reg_emb" not in case.golden.arrays:
        pytest.skip("this file publishes no regularisers")
    dead = [case.want(f"param.{name}").square().sum() for name in case.golden.dead]
    left_out = meta["lambda_net"] / 2 * sum(dead, start=torch.zeros((), dtype=case.dtype))
    embedding = FitConfig(l2_embedding=meta["lambda_emb"], l2_family="stem")
    network = FitConfig(l2_embedding=0.0, l2_network=meta["lambda_net"], l2_family="stem")
    found = l2_loss(case.model, case.batch.inputs, embedding)
    assert_close(found, case.want("loss.reg_emb"), rtol=1e-6, atol=0)
    found = l2_loss(case.model, case.batch.inputs, network) + left_out
    assert_close(found, case.want("loss.reg_net"), rtol=1e-6, atol=0)


def test_gradients_of_the_total_match(case: Case) -> None:
    prefix = "grad.total." if case.dtype is F32 else "grad64.total."
    for name, grad in case.gradients_of(case.run()[1].total).items():
        assert_close(grad, case.want(prefix + name), rtol=0, atol=case.atol, msg=name)


def test_gradients_of_each_task_match(case: Case) -> None:
    """In one-layer STEM every published zero is an exact zero here."""
    one_layer_stem = case.golden.meta["model"] == "stem" and case.golden.meta["layers"] == 1
    for t in range(case.golden.meta["T"]):
        prefix = f"grad.task{t}."
        if not any(key.startswith(prefix) for key in case.golden.arrays):
            continue
        for name, grad in case.gradients_of(case.run()[1].task[t]).items():
            want = case.want(prefix + name)
            assert_close(grad, want, rtol=0, atol=1e-6, msg=name)
            if one_layer_stem:
                assert not grad[want == 0].any(), name

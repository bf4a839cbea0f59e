"""MPT-Rec, both stages, against results of the published implementation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor
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
from training.config import FitConfig, GanConfig, ModelConfig, TuneConfig
from training.environment import assign_environments
from training.inputs import Batch
from training.losses import LossParts, prompt_loss, row_losses, total_loss
from training.mixer_mpt import MptMixer
from training.model import MultiTaskModel, Outputs, build_model
from training.prompt import PromptHead

F32, F64 = torch.float32, torch.float64


@dataclass
class Case:
    golden: Golden
    dtype: torch.dtype
    model: MultiTaskModel
    batch: Batch
    slots: dict[str, Slot]
    columns: list[int]

    @property
    def atol(self) -> float:
        return 1e-6 if self.dtype is F32 else 1e-10

    def want(self, key: str) -> Tensor:
        return self.golden.tensor(key, self.dtype)

    def run(self) -> tuple[Outputs, LossParts]:
        meta = self.golden.meta
        outputs = self.model(self.batch.inputs, alpha=meta["grl_alpha"])
        fit = FitConfig(l2_embedding=meta["lambda_emb"], l2_network=meta["lambda_dnn"])
        env = torch.from_numpy(self.golden.arrays["x.env"])
        return outputs, total_loss(self.model, outputs, self.batch, env, fit)

    def gradients_of(self, loss: Tensor) -> dict[str, Tensor]:
        self.model.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        found = {}
        for name, slot in self.slots.items():
            grad = slot.parameter.grad
            found[name] = slot.read(torch.zeros_like(slot.parameter) if grad is None else grad)
        return found

    def assert_gradients(self, loss: Tensor, prefix: str) -> None:
        for name, grad in self.gradients_of(loss).items():
            assert_close(grad, self.want(prefix + name), rtol=0, atol=self.atol, msg=name)


@pytest.fixture(params=names_of(mpt=True))
def file(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=[F32, F64], ids=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(params=["rows", "split"])
def case(request: pytest.FixtureRequest, file: str, dtype: torch.dtype) -> Case:
    golden = load(file)
    meta = golden.meta
    schema = golden.schema(request.param)
    config = ModelConfig(
        embedding_dim=meta["d"],
        expert_units=tuple(meta["expert"]),
        tower_units=tuple(meta["tower"]),
        gate_units=tuple(meta.get("gate", [])),
        gate_bias=golden.gate_bias,
        gan=GanConfig(shared_weight=meta["coef_shared"], environment_weight=meta["coef_env"]),
    )
    model = build_model(config, schema, golden.tasks).to(dtype)
    columns = input_columns(golden, schema)
    mixer, classifier = model.mixer, model.classifier
    assert isinstance(mixer, MptMixer)
    assert classifier is not None
    slots = table_slots(golden, schema, model.table)
    slots |= stack_slots(mixer.shared_expert, 0, "expert.shared", columns)
    for t in range(meta["T"]):
        slots |= stack_slots(mixer.specific_experts, t, f"expert.specific.{t}", columns)
        slots |= stack_slots(mixer.gates, t, f"gate.{t}", columns)
        slots |= stack_slots(model.towers.stack, t, f"tower.{t}")
    slots["task_emb"] = Slot(mixer.task_embedding, ())
    slots["env_classifier.w0"] = Slot(classifier.weight, ())
    slots["env_classifier.b0"] = Slot(classifier.bias, ())
    fill(golden, model.table, slots)
    return Case(golden, dtype, model, golden.batch(schema, dtype), slots, columns)


def test_every_published_weight_has_a_place(case: Case) -> None:
    assert set(case.slots) == set(case.golden.groups("")) - case.golden.dead


def test_probabilities_match(case: Case) -> None:
    outputs, _ = case.run()
    suffix = "" if case.dtype is F32 else "64"
    assert outputs.shared_logits is not None
    assert outputs.env_logprob is not None
    assert_close(outputs.logits.sigmoid(), case.want(f"out.prob{suffix}"), rtol=0, atol=case.atol)
    shared = outputs.shared_logits.sigmoid()
    assert_close(shared, case.want(f"out.shared{suffix}"), rtol=0, atol=case.atol)
    assert_close(outputs.env_logprob, case.want("out.env_logprob"), rtol=0, atol=1e-6)


def test_losses_match(case: Case) -> None:
    outputs, parts = case.run()
    assert outputs.shared_logits is not None
    shared = row_losses(outputs.shared_logits, case.batch.labels).mean(dim=0)
    assert_close(shared, case.want("loss.shared"), rtol=0, atol=1e-6)
    assert_close(parts.task, case.want("loss.task"), rtol=0, atol=1e-6)
    assert_close(parts.shared, shared.sum())
    assert_close(parts.environment, case.want("loss.env"), rtol=0, atol=1e-6)
    assert_close(parts.l2, case.want("loss.l2"), rtol=1e-6, atol=0)
    total = "loss.total" if case.dtype is F32 else "loss.total64"
    assert_close(parts.total, case.want(total), rtol=0, atol=case.atol)


def test_gradients_of_the_total_match(case: Case) -> None:
    prefix = "grad.total." if case.dtype is F32 else "grad64.total."
    case.assert_gradients(case.run()[1].total, prefix)


def test_gradients_of_each_term_match(case: Case) -> None:
    if case.dtype is F64:
        case.dtype = F32
        case.model.to(F32)
        case.batch = case.golden.batch(case.model.schema, F32)
    case.assert_gradients(case.run()[1].environment, "grad.env.")
    case.assert_gradients(case.run()[1].shared, "grad.shared.")
    case.assert_gradients(case.run()[1].task[0], "grad.task0.")


def test_representation_and_gates_match(case: Case) -> None:
    representation = case.model.represent(case.batch.inputs)
    h = torch.empty_like(case.want("mid.h"))
    h[:, case.columns] = representation.h.materialised()
    assert_close(h, case.want("mid.h"), rtol=1e-5, atol=1e-5)
    assert_close(representation.shared, case.want("mid.shared"), rtol=1e-5, atol=1e-5)
    assert_close(representation.specific, case.want("mid.specific"), rtol=1e-5, atol=1e-5)
    mixer = case.model.mixer
    assert isinstance(mixer, MptMixer)
    gates = mixer.gates(representation.h).softmax(-1).transpose(0, 1)
    assert_close(gates, case.want("mid.gate"), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("source", ["fused", "shared"])
def test_environments_are_reassigned_as_published(case: Case, source: str) -> None:
    outputs, _ = case.run()
    logits = outputs.logits if source == "fused" else outputs.shared_logits
    assert logits is not None
    found = assign_environments(row_losses(logits, case.batch.labels), "none")
    np.testing.assert_array_equal(found.numpy(), case.golden.arrays[f"env.next_{source}"])


def prompt_of(case: Case, fusion: str) -> tuple[PromptHead, dict[str, Slot]]:
    tune = TuneConfig.model_validate({"fusion": fusion, "tau": case.golden.meta["tau"]})
    head = PromptHead(tune, case.model.prompt_shape(), case.model.mixer.keys).to(case.dtype)
    assert head.gate is not None
    slots = {"task_emb": Slot(head.task_embedding, ())}
    slots |= stack_slots(head.gate, 0, "gate", case.columns) | stack_slots(head.tower, 0, "tower")
    if head.query is not None:
        slots["proj.w0"] = Slot(head.query.first.weights[0], (0,), case.columns)
        slots["proj.w1"] = Slot(head.query.second.weight, ())
        slots["norm.gamma"] = Slot(head.query.norm.weight, ())
        slots["norm.beta"] = Slot(head.query.norm.bias, ())
    for name, slot in slots.items():
        slot.write(case.want(f"head.param.{name}"))
    return head, slots


@pytest.mark.parametrize("fusion", ["attention", "uniform", "similarity"])
def test_new_task_probabilities_match(case: Case, fusion: str) -> None:
    head, _ = prompt_of(case, fusion)
    found = head(case.model.represent(case.batch.inputs)).sigmoid()
    key = "head.out.prob" if fusion == "attention" else f"head.out.prob_{fusion}"
    assert_close(found, case.want(key), rtol=0, atol=1e-6)
    if fusion == "attention" and case.dtype is F64:
        assert_close(found, case.want("head.out.prob64"), rtol=0, atol=1e-10)


def test_new_task_query_attention_and_gate_match(case: Case) -> None:
    head, _ = prompt_of(case, "attention")
    h = case.model.represent(case.batch.inputs).h
    assert head.query is not None
    assert_close(head.query(h), case.want("head.mid.query"), rtol=1e-5, atol=1e-5)
    assert_close(head.attention(h), case.want("head.mid.attn"), rtol=1e-5, atol=1e-5)
    assert_close(head.gates(h), case.want("head.mid.gate"), rtol=1e-5, atol=1e-5)


def test_new_task_loss_and_gradients_match(case: Case) -> None:
    case.model.requires_grad_(requires_grad=False)
    head, slots = prompt_of(case, "attention")
    logits = head(case.model.represent(case.batch.inputs))
    l2 = case.golden.meta["lambda_dnn"]
    parts = prompt_loss(head.tower, logits, case.want("y.new"), l2)
    assert_close(parts.bce, case.want("head.loss.bce"), rtol=0, atol=1e-6)
    assert_close(parts.l2, case.want("head.loss.l2"), rtol=1e-6, atol=0)
    assert_close(parts.total, case.want("head.loss.total"), rtol=0, atol=1e-6)
    parts.total.backward()  # type: ignore[no-untyped-call]
    prefix = "head.grad." if case.dtype is F32 else "head.grad64."
    for name, slot in slots.items():
        assert slot.parameter.grad is not None
        found = slot.read(slot.parameter.grad)
        assert_close(found, case.want(prefix + name), rtol=0, atol=case.atol, msg=name)
    assert all(p.grad is None for p in case.model.parameters())


def test_parameter_counts_match(case: Case) -> None:
    head, _ = prompt_of(case, "attention")
    schema, meta = case.model.schema, case.golden.meta
    unpublished = (schema.table_rows - sum(meta["vocab"])) * meta["d"]  # padding and OOV rows
    found = sum(p.numel() for p in case.model.parameters()) - unpublished
    assert (found, head.trained_parameters()) == (meta["n_params"], meta["n_head_params"])

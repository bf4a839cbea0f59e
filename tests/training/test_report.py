"""What a report reads off a model: who hears whom, and what the data hold."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.testing import assert_close

from tests.training.synthetic import Fitted
from tests.training.test_model import MODELS, build, name_of
from tests.training.worlds import random_inputs, schema
from training.checkpoint import PromptCheckpoint
from training.config import TuneConfig
from training.dtrn_prompt import new_prompt
from training.mixer_mpt import MptMixer
from training.report import attention_on, gates_on, split_facts

WITHOUT_GATES = ("shared_bottom", "esmm")


@pytest.mark.parametrize("model", MODELS, ids=name_of)
def test_what_a_reader_takes_sums_to_one(model: dict[str, Any]) -> None:
    built = build(model)
    with torch.no_grad():
        gates = built.mean_gates(random_inputs(schema(), users=3, rows=7))
    assert bool(gates) is (model["mixer"] not in WITHOUT_GATES)
    assert len(gates) == (model.get("layers", 1) if gates else 0)
    for gate in gates:
        assert gate.weights.shape == (len(gate.readers), len(gate.experts))
        assert_close(gate.weights.nansum(dim=1), torch.ones(len(gate.readers)))


@pytest.mark.parametrize("mixer", ["cgc", "mpt"])
def test_a_task_does_not_hear_the_experts_of_another(mixer: str) -> None:
    built = build({"mixer": mixer, "gate_units": ()})
    with torch.no_grad():
        (gate,) = built.mean_gates(random_inputs(schema(), users=3, rows=7))
    deaf = gate.weights.isnan()
    assert deaf[0].tolist() == [name == "t1" for name in gate.experts]
    assert deaf[1].tolist() == [name == "t0" for name in gate.experts]


def test_all_hear_all_in_aftb() -> None:
    built = build({"mixer": "aftb", "shared_experts": 1, "specific_experts": 2, "gate_units": ()})
    with torch.no_grad():
        (gate,) = built.mean_gates(random_inputs(schema(), users=3, rows=7))
    assert gate.experts == ("t0 1", "t0 2", "t1 1", "t1 2", "shared")
    assert gate.weights.isfinite().all()


def test_aitm_takes_from_the_task_before_alone() -> None:
    built = build({"mixer": "aitm"}, tasks=3)
    with torch.no_grad():
        (gate,) = built.mean_gates(random_inputs(schema(), users=3, rows=7))
    heard = gate.weights.isfinite().tolist()
    assert heard == [[True, False, False], [True, True, False], [False, True, True]]


def test_means_are_over_all_rows_whatever_the_batches(
    fitted: Fitted, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, valid = fitted.result.checkpoint.model, fitted.prepared.valid
    (whole,) = gates_on(model, valid)
    monkeypatch.setattr("training.report.EVAL_BATCH", 97)
    (parts,) = gates_on(model, valid)
    assert_close(parts.weights, whole.weights, equal_nan=True, rtol=1e-5, atol=1e-6)


def test_the_mean_is_that_of_the_gates_that_score(fitted: Fitted) -> None:
    model, valid = fitted.result.checkpoint.model, fitted.prepared.valid
    assert isinstance(model.mixer, MptMixer)
    inputs = valid.batch(torch.arange(len(valid)), ()).inputs
    with torch.no_grad():
        views = model.bottom(inputs)
        shares = torch.softmax(model.mixer.gates(views.gate), dim=-1)  # (T, R, 2)
    (gate,) = gates_on(model, valid)
    expected = shares[:, :, 1].mean(dim=1).double()
    assert_close(gate.weights[:, -1], expected, rtol=1e-5, atol=1e-6)


def test_uniform_attention_and_a_fixed_gate_are_told_as_such(fitted: Fitted) -> None:
    config = TuneConfig(fusion="uniform", prompt_gate="fixed")
    head = new_prompt(config, fitted.result.checkpoint.model).eval()
    prompt = PromptCheckpoint(None, head)  # type: ignore[arg-type]  # no card is read
    found = attention_on(fitted.result.checkpoint.model, prompt, fitted.prepared.valid)
    tasks = fitted.result.checkpoint.card.tasks
    assert found.sources == pytest.approx(dict.fromkeys(tasks, 1 / len(tasks)))
    assert (found.mixture, found.shared) == pytest.approx((0.1, 0.9))


def test_splits_are_counted(fitted: Fitted) -> None:
    task = fitted.result.checkpoint.card.tasks[0]
    for facts, dataset in zip(
        split_facts(fitted.prepared, [task]),
        (fitted.prepared.train, fitted.prepared.valid, fitted.prepared.test),
        strict=True,
    ):
        column = dataset.tasks.index(task)
        known = dataset.mask[:, column]
        assert facts.rows == len(dataset)
        assert facts.tasks[task].known == int(known.sum())
        assert facts.tasks[task].positives == int(dataset.labels[known, column].sum())

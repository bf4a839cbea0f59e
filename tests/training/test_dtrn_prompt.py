from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from tests.training.synthetic import Fitted, prepared_world, synthetic_config
from tests.training.worlds import random_inputs, refill, schema
from training.calibration import calibrated_prompt
from training.checkpoint import read_prompt, write_prompt
from training.config import ModelConfig, TuneConfig
from training.dtrn import DtrnBottom
from training.dtrn_prompt import DtrnPrompt, takes_dtrn_prompts
from training.errors import ConfigError
from training.fit import fit
from training.model import MultiTaskModel, build_model
from training.prompt import PromptHead
from training.tune import tune

INPUTS = random_inputs(schema(), 4, 13)
TUNE = TuneConfig(tau=2.0)


def backbone(**values: Any) -> MultiTaskModel:  # noqa: ANN401
    sizes: dict[str, Any] = {
        "bottom": "dtrn",
        "mixer": "mmoe",
        "embedding_dim": 4,
        "expert_units": (10, 6),
        "gate_units": (),
        "tower_units": (5,),
        "dtrn": {"width": 6, "condition_width": 3, "hyper_width": 5},
    }
    model = build_model(ModelConfig.model_validate({**sizes, **values}), schema(), ["a", "b"])
    refill(model)
    return model.eval().requires_grad_(requires_grad=False)


@pytest.mark.parametrize(
    ("values", "experts"),
    [
        ({"shared_experts": 4}, 4),
        ({"mixer": "shared_bottom"}, 1),
        ({"mixer": "cgc", "shared_experts": 2, "specific_experts": 2}, 6),
        ({"mixer": "mpt", "shared_experts": 1}, 3),
    ],
)
def test_it_adds_a_condition_a_refinement_a_choice_of_experts_and_a_key(
    values: dict[str, Any], experts: int
) -> None:
    model = backbone(**values)
    prompt = DtrnPrompt(TUNE, model)
    plain = PromptHead(TUNE, model.prompt_shape(), model.mixer.keys)
    width, m = model.prompt_shape().input_width, 6
    assert prompt.refinement is not None
    refinement = sum(p.numel() for p in prompt.refinement.parameters())
    added = prompt.trained_parameters() - plain.trained_parameters()
    assert added == 3 + refinement + experts * width + m


@torch.no_grad()
def test_with_an_old_tasks_condition_and_refinement_it_reads_what_that_task_reads() -> None:
    model = backbone()
    assert isinstance(model.bottom, DtrnBottom)
    prompt = DtrnPrompt(TUNE, model)
    assert prompt.refinement is not None
    assert model.bottom.refinement is not None
    prompt.task.copy_(model.bottom.conditions.task[1])
    old, new = model.bottom.refinement.weigh, prompt.refinement.weigh
    for theirs, ours in zip(old.parameters(), new.parameters(), strict=True):
        ours.copy_(theirs[1:])
    own = model.bottom(INPUTS).own.materialised()[1]
    assert_close(prompt.refined(model.represent(INPUTS)).materialised(), own, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtrn", [{}, {"trm": "off"}, {"pooling": "mean", "trm": "off"}])
def test_all_of_it_learns_and_nothing_of_the_backbone(dtrn: dict[str, Any]) -> None:
    model = backbone(dtrn={"width": 6, "condition_width": 3, "hyper_width": 5, **dtrn})
    prompt = DtrnPrompt(TUNE, model)
    refill(prompt, seed=2)
    logits = prompt(model.represent(INPUTS))
    assert logits.shape == (13,)
    logits.square().sum().backward()
    idle = [n for n, p in prompt.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == []
    assert all(p.grad is None for p in model.parameters())


def test_it_starts_from_the_mean_condition() -> None:
    model = backbone()
    assert isinstance(model.bottom, DtrnBottom)
    assert torch.equal(DtrnPrompt(TUNE, model).task, model.bottom.conditions.task.mean(dim=0))


def test_it_needs_a_dtrn_backbone_of_one_layer_that_is_not_baked() -> None:
    assert takes_dtrn_prompts(backbone())
    baked = backbone()
    baked.bake()
    plain, deep = backbone(bottom="shared"), backbone(mixer="ple", layers=2)
    for model, why in ((plain, "'dtrn', not 'shared'"), (deep, "single layer"), (baked, "baked")):
        assert not takes_dtrn_prompts(model)
        with pytest.raises(ConfigError, match=why):
            DtrnPrompt(TUNE, model)


SMALL_DTRN = {
    "bottom": "dtrn",
    "mixer": "mmoe",
    "shared_experts": 2,
    "gate_units": [],
    "dtrn": {"width": 6, "condition_width": 3, "hyper_width": 5},
}


def test_it_is_tuned_by_the_command_road_and_read_back(tmp_path: Path) -> None:
    config = synthetic_config(
        model=SMALL_DTRN,
        fit={"epochs": 5, "batch_size": 128},
        tune={"dtrn": True, "epochs": 8, "tau": 1.0, "batch_size": 128},
    )
    _, prepared = prepared_world(tmp_path, config, rows=3000)
    backbone = fit(config, prepared, run_dir=tmp_path / "run").checkpoint
    task = next(task for task in config.tasks if task.new)
    result = tune(backbone, prepared, task, config.tune)
    card = result.prompt.card
    assert card.metrics["test"].auc is not None
    assert card.metrics["test"].auc > 0.75
    assert 0.0 < card.share < 1.0
    assert result.compared == len(prepared.valid) * 2
    written = write_prompt(tmp_path / "prompt", result.prompt)
    again = read_prompt(tmp_path / "prompt", backbone)
    assert again.card == written.card
    assert isinstance(again.head, DtrnPrompt)
    seen = backbone.model.represent(prepared.test.batch(torch.arange(50), ()).inputs)
    with torch.no_grad():
        assert torch.equal(again.head(seen), result.prompt.head(seen))
    better, platt = calibrated_prompt(backbone, again, prepared)
    with torch.no_grad():
        want = platt.scale * again.head(seen) + platt.offset
        assert_close(better.head(seen), want, rtol=0, atol=1e-5)


def test_it_is_refused_on_another_backbone_before_anything_is_learned(fitted: Fitted) -> None:
    with pytest.raises(ConfigError, match="'dtrn', not 'shared'"):
        tune(fitted.result.checkpoint, fitted.prepared, fitted.new_task, TuneConfig(dtrn=True))

from __future__ import annotations

from pathlib import Path

import pytest

from contract.bundle import open_bundle
from contract.errors import PromptMisfit
from contract.prompt import read_prompt
from export.evaluate import evaluate_bundle
from export.prompt import export_prompt
from tests.builders import TINY
from tests.export.conftest import Exported
from tests.export.rewriting import rewritten
from training.errors import ConfigError
from training.evaluate import evaluate
from training.tune import tune

FIGURES = ("auc", "gauc", "logloss", "calibration_error", "mean_prediction")


def test_the_served_model_measures_as_its_checkpoint(fresh: Exported) -> None:
    checkpoint, test = fresh.checkpoint, fresh.prepared.test
    expected = evaluate(checkpoint.model, test, checkpoint.card.tasks)
    found = evaluate_bundle(open_bundle(fresh.result.folder), [], test).metrics
    assert list(found) == list(expected)
    for task in found:
        for name in FIGURES:
            want = getattr(expected[task], name)
            assert getattr(found[task], name) == pytest.approx(want, abs=1e-5), (task, name)


def test_prompts_are_measured_as_they_were_when_tuned(fresh: Exported) -> None:
    config, test = fresh.checkpoint.card.config, fresh.prepared.test
    prompts, expected = [], {}
    for name in ("share", "skip"):
        task = next(task for task in config.tasks if task.name == name)
        tuned = tune(fresh.checkpoint, fresh.prepared, task, config.tune).prompt
        data = export_prompt(fresh.checkpoint, tuned, test, fresh.result.folder)
        prompts.append(read_prompt(data))
        expected[name] = tuned.card.metrics["test"]
    found = evaluate_bundle(open_bundle(fresh.result.folder), prompts, test).metrics
    assert list(found) == ["click", "like", "share", "skip"]
    for name, metrics in expected.items():
        for figure in FIGURES:
            want = getattr(metrics, figure)
            assert getattr(found[name], figure) == pytest.approx(want, abs=1e-5), (name, figure)


def test_a_prompt_of_another_backbone_is_refused(fresh: Exported, tmp_path: Path) -> None:
    other = rewritten(fresh.result.folder, tmp_path / "bundle", fingerprint="0" * 64)
    prompt = read_prompt((TINY / "share.safetensors").read_bytes())
    with pytest.raises(PromptMisfit, match="tuned on backbone"):
        evaluate_bundle(open_bundle(other), [prompt], fresh.prepared.test)


def test_a_task_without_labels_is_named(fresh: Exported, tmp_path: Path) -> None:
    (task, *rest) = fresh.result.manifest.model_dump(mode="json")["tasks"]
    tasks = [{**task, "name": "buy"}, *rest]
    other = rewritten(fresh.result.folder, tmp_path / "bundle", tasks=tasks)
    with pytest.raises(ConfigError, match="no task buy"):
        evaluate_bundle(open_bundle(other), [], fresh.prepared.test)

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from contract.bundle import open_bundle
from contract.prompt import read_prompt
from export.errors import ExportError
from export.prompt import export_prompt
from tests.builders import NEW_TASKS, TINY, prompt_file
from tests.export.conftest import Exported
from tests.export.rewriting import rewritten
from training.tune import tune


def test_a_tuned_prompt_becomes_a_file_that_fits_its_bundle(fresh: Exported) -> None:
    data = prompt_file(fresh.checkpoint, fresh.prepared, "share", fresh.result.folder)
    prompt = read_prompt(data)
    prompt.check_fits(open_bundle(fresh.result.folder).manifest)
    assert prompt.header.task == "share"
    assert prompt.header.trained_parameters > 0
    assert prompt.header.metrics["auc"] > 0
    assert np.ptp(prompt.golden_scores) > 0


def test_a_prompt_tells_whom_it_hears(fresh: Exported) -> None:
    data = prompt_file(fresh.checkpoint, fresh.prepared, "share", fresh.result.folder)
    told = read_prompt(data).header.provenance
    weights = [told[f"attention {task}"] for task in fresh.checkpoint.card.tasks]
    for parts in (weights, [told["gate mixture"], told["gate shared"]]):
        numbers = [part for part in parts if isinstance(part, float)]
        assert sum(numbers) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("task", NEW_TASKS)
def test_the_committed_prompts_fit_the_committed_bundle(task: str) -> None:
    prompt = read_prompt((TINY / f"{task}.safetensors").read_bytes())
    prompt.check_fits(open_bundle(TINY / "bundle").manifest)


def test_a_prompt_is_not_written_for_another_backbone(fresh: Exported, tmp_path: Path) -> None:
    config = fresh.checkpoint.card.config
    wanted = next(task for task in config.tasks if task.name == "share")
    result = tune(fresh.checkpoint, fresh.prepared, wanted, config.tune)
    other = rewritten(fresh.result.folder, tmp_path / "bundle", fingerprint="0" * 64)
    with pytest.raises(ExportError, match="holds backbone"):
        export_prompt(fresh.checkpoint, result.prompt, fresh.prepared.test, other)

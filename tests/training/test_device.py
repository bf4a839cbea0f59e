from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.training.synthetic import prepared_world, synthetic_config
from training.config import FitConfig
from training.device import Device
from training.errors import ConfigError
from training.fit import fit


def test_bf16_learns_and_leaves_a_float32_checkpoint(tmp_path: Path) -> None:
    config = synthetic_config(fit={"precision": "bf16", "device": "cpu", "epochs": 4})
    world, prepared = prepared_world(tmp_path, config)
    checkpoint = fit(config, prepared, run_dir=tmp_path / "run").checkpoint
    for task, metrics in checkpoint.card.metrics["test"].items():
        assert metrics.auc is not None
        assert metrics.auc > world.bayes[task] - 0.06
    dtypes = {t.dtype for t in checkpoint.model.state_dict().values() if t.is_floating_point()}
    assert dtypes == {torch.float32}


def test_bf16_rounds_the_training_pass_only(tmp_path: Path) -> None:
    prints, losses = [], []
    for precision in ("fp32", "bf16"):
        config = synthetic_config(fit={"precision": precision, "device": "cpu", "epochs": 1})
        _, prepared = prepared_world(tmp_path, config, rows=1500)
        card = fit(config, prepared, run_dir=tmp_path / precision).checkpoint.card
        prints.append(card.fingerprint)
        losses.append(card.history[0].losses["total"])
    assert prints[0] != prints[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


def test_products_are_rounded_where_asked() -> None:
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        device = Device.of(FitConfig.model_validate({"precision": precision, "device": "cpu"}))
        with device.rounding():
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype is dtype


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match="finds no GPU here; set it to 'auto' or 'cpu'"):
        Device.of(FitConfig(device="cuda"))
    assert not Device.of(FitConfig()).cuda


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_gpu_learns_what_the_processor_does(tmp_path: Path) -> None:
    curves = []
    for place in ("cpu", "cuda"):
        config = synthetic_config(fit={"device": place, "epochs": 2})
        _, prepared = prepared_world(tmp_path, config, rows=1500)
        history = fit(config, prepared, run_dir=tmp_path / place).checkpoint.card.history
        curves.append([record.losses["total"] for record in history])
    assert curves[0] == pytest.approx(curves[1], abs=1e-3)

"""A prompt with weights of its own per item value, from tuning to the service."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from contract.bundle import open_bundle
from contract.manifest import ITEM_ROWS
from contract.prompt import read_prompt
from export.evaluate import score_bundle
from export.prompt import export_prompt
from service.engine import Cancellation
from service.features import NO_FEATURES
from service.messages import ScoreRequest
from service.model import Model, Running
from tests.builders import WIDE_CONFIG, exported
from training.config import TrainConfig
from training.tune import tune

TUNE = {
    "fusion": "own",
    "expert_units": [6],
    "expert_without": ["user_id", "item_id"],
    "item_weights": ["item_id", "colour"],
}


def test_items_weigh_in_the_service_what_they_weigh_in_training(tmp_path: Path) -> None:
    wanted = WIDE_CONFIG | {"tune": WIDE_CONFIG["tune"] | TUNE}
    checkpoint, prepared, result = exported(tmp_path, tmp_path / "bundle", wanted)
    config: TrainConfig = checkpoint.card.config
    task = next(task for task in config.tasks if task.name == "share")
    head = tune(checkpoint, prepared, task, config.tune).prompt
    bundle = open_bundle(result.folder)
    prompt = read_prompt(export_prompt(checkpoint, head, prepared.test, bundle))
    assert np.ptp(prompt.tensors["item.weights"]) > 0
    serving = bundle.manifest.serving
    assert serving is not None
    assert ITEM_ROWS in [spec.name for spec in serving.exact.inputs]

    found = score_bundle(bundle, [prompt], prepared.test)[:, -1]
    inputs = prepared.test.batch(torch.arange(len(prepared.test)), ()).inputs
    with torch.no_grad():
        want = head.head(checkpoint.model.represent(inputs)).sigmoid().numpy()
    assert np.abs(found - want).max() < bundle.manifest.tolerance

    model = Model.open(bundle, Running())
    slot = model.hold(prompt.tensors)
    request = ScoreRequest(user_id="user-1", item_ids=[100, 101, 777])
    arrays = model.encoder.encode(request, NO_FEATURES)
    served = model.engine.answer(arrays, (), model.bank.select([slot]), Cancellation()).prompts
    weighed = dict(prompt.tensors)
    weighed["item.weights"] = prompt.tensors["item.weights"] + np.float32(1.0)
    other = model.engine.answer(
        arrays, (), model.bank.select([model.hold(weighed)]), Cancellation()
    ).prompts
    logit = np.log(other / (1 - other)) - np.log(served / (1 - served))
    assert np.allclose(logit, 2.0, atol=1e-3)  # two fields, a weight each

"""Prompts that condition a DTRN backbone, from tuning to the served scores."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from contract.bundle import Bundle, open_bundle
from contract.prompt import read_prompt
from export.bundle import ExportOptions, export_bundle
from export.errors import ExportError
from export.evaluate import score_bundle
from export.prompt import export_prompt
from export.serving import ServingOptions
from tests.builders import DTRN_CONFIG, TINY, trained
from tests.export.rewriting import rewritten
from training.checkpoint import Checkpoint, PromptCheckpoint
from training.config import TuneConfig
from training.dataset import Prepared
from training.tune import tune

PLAIN = TuneConfig(epochs=1, batch_size=128, learning_rate=0.01)
CONDITIONED = PLAIN.model_copy(update={"dtrn": True})


@dataclass(frozen=True, slots=True)
class World:
    """A DTRN backbone whose configuration says nothing of conditioned prompts."""

    checkpoint: Checkpoint
    prepared: Prepared

    def tuned(self, task: str, config: TuneConfig) -> PromptCheckpoint:
        wanted = next(t for t in self.checkpoint.card.config.tasks if t.name == task)
        return tune(self.checkpoint, self.prepared, wanted, config).prompt


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    plain = DTRN_CONFIG | {"tune": PLAIN.model_dump()}
    return World(*trained(tmp_path_factory.mktemp("dtrn"), plain))


@pytest.fixture(scope="module")
def bundle(world: World, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Exported for prompts that condition it."""
    folder = tmp_path_factory.mktemp("exported") / "bundle"
    options = ExportOptions(prompts=CONDITIONED, serving=ServingOptions(quantise=False))
    export_bundle(world.checkpoint, world.prepared.test, folder, options)
    return open_bundle(folder)


def test_old_tasks_and_both_kinds_of_prompts_are_served_as_pytorch_scores(
    world: World, bundle: Bundle
) -> None:
    model, test = world.checkpoint.model, world.prepared.test
    prompts = [world.tuned("share", CONDITIONED), world.tuned("skip", PLAIN)]
    files = [export_prompt(world.checkpoint, p, test, bundle) for p in prompts]
    found = score_bundle(bundle, [read_prompt(data) for data in files], test)
    inputs = test.batch(torch.arange(len(test)), ()).inputs
    with torch.no_grad():
        seen = model.represent(inputs)
        columns = [*model(inputs).logits.T, *(p.head(seen) for p in prompts)]
    want = torch.stack(columns, dim=1).sigmoid().numpy()
    np.testing.assert_allclose(found, want, rtol=0, atol=bundle.manifest.tolerance)


def test_a_conditioned_prompt_tells_how_much_it_hears_of_its_own(
    world: World, bundle: Bundle
) -> None:
    prompt = world.tuned("share", CONDITIONED)
    told = read_prompt(export_prompt(world.checkpoint, prompt, world.prepared.test, bundle))
    weight = told.header.provenance["attention its own vector"]
    assert isinstance(weight, float)
    assert 0.0 < weight < 1.0


def test_a_conditioned_prompt_is_not_written_for_a_bundle_of_plain_ones(
    world: World, tmp_path: Path
) -> None:
    ours = world.checkpoint.card.fingerprint
    other = rewritten(TINY / "bundle", tmp_path / "bundle", fingerprint=ours)
    with pytest.raises(ExportError, match="tune with the dtrn"):
        export_prompt(
            world.checkpoint, world.tuned("share", CONDITIONED), world.prepared.test, other
        )

from pathlib import Path

import pytest
import torch

from tests.training.synthetic import NEW, OLD, Fitted, prepared_world, synthetic_config
from training.config import TuneConfig
from training.frozen import RepresentationCache, frozen_examples
from training.model import MultiTaskModel, build_model
from training.prompt import PromptHead


def prompt_head(model: MultiTaskModel) -> PromptHead:
    return PromptHead(TuneConfig(), model.prompt_shape(), model.mixer.keys)


def test_the_cache_gives_what_the_backbone_gives(fitted: Fitted) -> None:
    model, dataset = fitted.result.checkpoint.model, fitted.prepared.valid
    cache = RepresentationCache.of(model.eval(), dataset)
    rows = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(1))[:300]
    head = prompt_head(model)
    with torch.no_grad():
        fresh = head(model.represent(dataset.batch(rows, ()).inputs))
        torch.testing.assert_close(head(cache.rows(rows)), fresh, rtol=1e-5, atol=1e-5)


def test_the_cache_holds_user_things_once_per_request(fitted: Fitted) -> None:
    dataset = fitted.prepared.train
    cache = RepresentationCache.of(fitted.result.checkpoint.model, dataset)
    assert len(cache.user) <= len(torch.unique(dataset.requests)) + 1  # + one per chunk boundary


@pytest.mark.parametrize("shared", [1, 10**9])  # users copied to their rows always, or never
def test_a_head_that_reads_h_alone_says_the_same_without_experts(
    fitted: Fitted, monkeypatch: pytest.MonkeyPatch, shared: int
) -> None:
    checkpoint = fitted.result.checkpoint
    config = TuneConfig(fusion="own", expert_units=(8,))
    whole = frozen_examples(checkpoint, fitted.prepared, NEW)["valid"]
    monkeypatch.setattr("training.frozen._SHARED", shared)
    alone = frozen_examples(checkpoint, fitted.prepared, NEW, reads=config.reads)["valid"]
    model = checkpoint.model
    head = PromptHead(config, model.prompt_shape(), model.mixer.keys).eval()
    assert head.expert is not None
    torch.nn.init.normal_(head.expert.layers.weights[-1])
    assert alone.cache.rows(alone.rows[:9]).specific.numel() == 0
    torch.testing.assert_close(alone.logits(head), whole.logits(head))


def test_a_uniform_prompt_learns_from_the_mean_and_says_the_same_of_all(fitted: Fitted) -> None:
    checkpoint, config = fitted.result.checkpoint, TuneConfig(fusion="uniform")
    whole = frozen_examples(checkpoint, fitted.prepared, NEW)["valid"]
    mean = frozen_examples(checkpoint, fitted.prepared, NEW, reads=config.reads)["valid"]
    model = checkpoint.model
    head = PromptHead(config, model.prompt_shape(), model.mixer.keys).eval()
    rows = mean.rows[:9]
    assert mean.cache.rows(rows).specific.shape[1] == 1
    assert whole.cache.rows(rows).specific.shape[1] == len(OLD)
    torch.testing.assert_close(mean.logits(head), whole.logits(head))


def test_a_model_without_user_fields_can_be_tuned_upon(fitted: Fitted) -> None:
    config = synthetic_config(
        features=[{"name": "kind", "kind": "categorical", "side": "item"}],
        history=None,
    )
    _, prepared = prepared_world(fitted.world.folder, config)
    model = build_model(config.model, prepared.schema, OLD).eval()
    cache = RepresentationCache.of(model, prepared.valid)
    rows = torch.arange(50)
    head = prompt_head(model)
    with torch.no_grad():
        fresh = head(model.represent(prepared.valid.batch(rows, ()).inputs))
        torch.testing.assert_close(head(cache.rows(rows)), fresh)


def test_rows_without_a_label_take_no_part(fitted: Fitted, tmp_path: Path) -> None:
    label = f"CASE WHEN ts % 2 = 0 THEN {NEW} END"
    config = synthetic_config(
        tasks=[
            *({"name": task, "label": task} for task in OLD),
            {"name": NEW, "label": label, "new": True},
        ]
    )
    _, prepared = prepared_world(tmp_path, config)
    examples = frozen_examples(fitted.result.checkpoint, prepared, NEW)["train"]
    assert len(examples.rows) == int(prepared.train.mask[:, -1].sum()) < len(prepared.train) * 0.6
    assert prepared.train.mask[examples.rows, -1].all()


def test_a_large_cache_lies_in_a_file_and_says_the_same(
    fitted: Fitted, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, dataset = fitted.result.checkpoint.model, fitted.prepared.valid
    in_memory = RepresentationCache.of(model, dataset)
    monkeypatch.setattr("training.frozen._MEMORY_BYTES", 1000)
    in_file = RepresentationCache.of(model, dataset)
    assert torch.equal(in_file.specific, in_memory.specific)
    assert torch.equal(in_file.item, in_memory.item)
    mapped = Path("/proc/self/maps").read_text()
    assert "rows (deleted)" in mapped

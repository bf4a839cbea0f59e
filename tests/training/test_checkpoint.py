import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.training.synthetic import OLD, Fitted
from training.checkpoint import (
    Checkpoint,
    CheckpointCard,
    PromptCheckpoint,
    fingerprint,
    read_checkpoint,
    read_prompt,
    write_checkpoint,
    write_prompt,
)
from training.config import ModelConfig, TuneConfig
from training.errors import CheckpointError
from training.evaluate import predict
from training.tune import tune


@pytest.fixture
def written(fitted: Fitted, tmp_path: Path) -> Path:
    """A copy of the backbone's directory, to be damaged."""
    return shutil.copytree(fitted.result.path, tmp_path / "backbone")


@pytest.fixture(scope="module")
def prompt(fitted: Fitted) -> PromptCheckpoint:
    config = TuneConfig(epochs=1)
    return tune(fitted.result.checkpoint, fitted.prepared, fitted.new_task, config).prompt


def test_what_is_read_scores_as_what_was_written(fitted: Fitted) -> None:
    again = read_checkpoint(fitted.result.path)
    assert again.card == fitted.result.checkpoint.card
    assert not again.model.training
    assert torch.equal(
        predict(again.model, fitted.prepared.test, OLD).logits,
        predict(fitted.result.checkpoint.model, fitted.prepared.test, OLD).logits,
    )


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(bytes(content))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def edit(path: Path, change: Callable[[dict[str, object]], None]) -> None:
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "bit flipped": (lambda d: flip_a_bit(d / "model.safetensors"), "was altered"),
    "weights cut": (lambda d: cut(d / "model.safetensors"), "missing or damaged"),
    "weights gone": (lambda d: (d / "model.safetensors").unlink(), "missing or damaged"),
    "card gone": (lambda d: (d / "checkpoint.json").unlink(), "give the folder"),
    "card cut": (lambda d: cut(d / "checkpoint.json"), "damaged or of another version"),
    "newer version": (
        lambda d: edit(d / "checkpoint.json", lambda c: c.update(format_version=2)),
        "another version: format_version",
    ),
    "unknown key": (
        lambda d: edit(d / "checkpoint.json", lambda c: c.update(extra=1)),
        "another version: extra",
    ),
    "tasks renamed": (
        lambda d: edit(d / "checkpoint.json", lambda c: c.update(tasks=["like", "click"])),
        "was altered",
    ),
    "one task less": (
        lambda d: edit(d / "checkpoint.json", lambda c: c.update(tasks=["click"])),
        "does not fit its configuration",
    ),
    "lookups gone": (lambda d: shutil.rmtree(d / "lookups"), "lookups is damaged"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_backbone_is_refused_with_the_cause(written: Path, damage: str) -> None:
    harm, said = DAMAGES[damage]
    harm(written)
    with pytest.raises(CheckpointError, match=said):
        read_checkpoint(written)


def test_lookups_of_another_schema_are_refused(written: Path) -> None:
    edit(written / "checkpoint.json", lambda c: c["schema"].update(history_length=5))  # type: ignore[attr-defined]
    with pytest.raises(CheckpointError, match="describe different features"):
        read_checkpoint(written)


def test_a_write_that_fails_leaves_the_old_directory_whole(
    written: Path, fitted: Fitted, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(folder: Path) -> None:
        raise OSError(28, "No space left on device")

    checkpoint = read_checkpoint(written)
    monkeypatch.setattr(checkpoint.lookups, "save", fail)
    with pytest.raises(OSError, match="No space"):
        write_checkpoint(written, checkpoint)
    assert read_checkpoint(written).card == fitted.result.checkpoint.card
    assert [path.name for path in written.parent.iterdir()] == ["backbone"]


def test_a_directory_is_replaced_as_a_whole(written: Path) -> None:
    checkpoint = read_checkpoint(written)
    (written / "stray").touch()
    again = write_checkpoint(written, checkpoint)
    assert again.card == checkpoint.card
    assert not (written / "stray").exists()
    assert [path.name for path in written.parent.iterdir()] == ["backbone"]
    assert read_checkpoint(written).lookups.schema == checkpoint.schema


def test_a_model_written_before_histories_were_counted_is_read_as_it_was(
    fitted: Fitted,
) -> None:
    card = json.loads(fitted.result.checkpoint.card.model_dump_json(by_alias=True))
    del card["config"]["model"]["history_counts"]
    read = CheckpointCard.model_validate_json(json.dumps(card))
    assert not read.config.model.history_counts
    settings = read.config.model.model_dump(mode="json")
    del settings["history_counts"]
    tensors = {"a": torch.tensor([1.0])}
    digest = hashlib.sha256(b"a\0torch.float32\0(1,)\0" + tensors["a"].numpy().tobytes())
    digest.update(json.dumps([settings], sort_keys=True).encode())
    assert fingerprint(tensors, read.config.model) == digest.hexdigest()


def test_the_fingerprint_covers_names_types_shapes_bytes_settings_and_context() -> None:
    one, two, config = torch.tensor([1.0, 2.0]), torch.tensor([3.0]), ModelConfig()
    reference = fingerprint({"a": one, "b": two}, config, "digest", "click")
    assert reference == fingerprint({"b": two, "a": one}, config, "digest", "click")
    others = [
        fingerprint({"a": one, "c": two}, config, "digest", "click"),
        fingerprint({"a": one.view(torch.int32), "b": two}, config, "digest", "click"),
        fingerprint({"a": one.reshape(2, 1), "b": two}, config, "digest", "click"),
        fingerprint({"a": -one, "b": two}, config, "digest", "click"),
        fingerprint({"a": one, "b": two}, ModelConfig(mixer="mmoe"), "digest", "click"),
        fingerprint({"a": one, "b": two}, config, "other", "click"),
        fingerprint({"a": one, "b": two}, config, "digest", "like"),
    ]
    assert len({reference, *others}) == 8


def test_a_prompt_is_read_back_with_its_backbone(
    fitted: Fitted, prompt: PromptCheckpoint, tmp_path: Path
) -> None:
    saved = write_prompt(tmp_path / "share", prompt)
    again = read_prompt(tmp_path / "share", fitted.result.checkpoint)
    assert again.card == saved.card
    assert again.card.parent == fitted.result.checkpoint.card.fingerprint
    for name, tensor in again.head.bank_tensors().items():
        assert torch.equal(tensor, prompt.head.bank_tensors()[name])


def test_a_prompt_of_another_backbone_is_refused(
    fitted: Fitted, prompt: PromptCheckpoint, tmp_path: Path
) -> None:
    write_prompt(tmp_path / "share", prompt)
    backbone = fitted.result.checkpoint
    other = Checkpoint(
        backbone.card.model_copy(update={"fingerprint": "0" * 64}),
        backbone.model,
        backbone.lookups,
    )
    with pytest.raises(CheckpointError, match="tune it again on this one"):
        read_prompt(tmp_path / "share", other)


def test_a_damaged_prompt_is_refused(
    fitted: Fitted, prompt: PromptCheckpoint, tmp_path: Path
) -> None:
    write_prompt(tmp_path / "share", prompt)
    flip_a_bit(tmp_path / "share" / "prompt.safetensors")
    with pytest.raises(CheckpointError, match="was altered"):
        read_prompt(tmp_path / "share", fitted.result.checkpoint)


def test_a_prompt_says_where_it_comes_from(fitted: Fitted, prompt: PromptCheckpoint) -> None:
    card = prompt.card
    assert (card.task, card.label) == ("share", "share")
    assert card.train_rows == len(fitted.prepared.train)
    assert set(card.metrics) == {"valid", "test"}
    assert len(card.history) == 1
    assert replace(card.history[0], seconds=0.0) != card.history[0]

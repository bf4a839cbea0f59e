"""A backbone, or a prompt, as a directory.

    fit --write_checkpoint-->  model.safetensors, checkpoint.json, lookups/ --read_checkpoint-->
    tune --write_prompt------>  prompt.safetensors, prompt.json                 --read_prompt------>

Written aside and renamed, so a directory is whole or absent. Reading recomputes the fingerprint:
what is damaged, altered or from another version raises CheckpointError.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from contract.aside import written_aside
from contract.errors import ContractError
from contract.lookups import Lookups
from contract.schema import FeatureSchema, TaskName
from training.config import ModelConfig, TrainConfig, TuneConfig
from training.dtrn_prompt import DtrnPrompt, new_prompt
from training.errors import CheckpointError
from training.metrics import TaskMetrics
from training.model import MultiTaskModel, build_model
from training.progress import EpochRecord
from training.prompt import PromptHead

_MODEL, _CARD, _LOOKUPS = "model.safetensors", "checkpoint.json", "lookups"
_PROMPT, _PROMPT_CARD = "prompt.safetensors", "prompt.json"
# Switches that came later: what was written without them keeps its fingerprint.
_LATER_SWITCHES = {
    "average": 0.0,
    "dtrn": False,
    "expert_units": [],
    "tower_units": None,
    "history_counts": False,
}
Split = Literal["valid", "test"]


class _Card(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CheckpointCard(_Card):
    """checkpoint.json: everything about a backbone but its weights.

    metrics: those of the best epoch. seed: that of the run. parameters: trained ones.
    """

    format_version: Literal[1] = 1
    config: TrainConfig
    feature_schema: FeatureSchema = Field(alias="schema")
    tasks: tuple[TaskName, ...]
    metrics: dict[Split, dict[TaskName, TaskMetrics]]
    seed: int
    parameters: int
    fingerprint: str
    history: tuple[EpochRecord, ...]

    @model_validator(mode="before")
    @classmethod
    def _before_counts(cls, values: object) -> object:
        """A model that was written before histories were counted has no columns for it."""
        config = values.get("config") if isinstance(values, dict) else None
        model = config.get("model") if isinstance(config, dict) else None
        if isinstance(model, dict):
            model.setdefault("history_counts", False)
        return values


class PromptCard(_Card):
    """prompt.json: what a prompt is, whose it is and how it came about.

    parent: the fingerprint of its backbone. fingerprint: of the prompt's own tensors and settings.
    label: the expression that defined the task. share: trained parameters against those of a full
    model that holds the task, all of which joint retraining would train.
    """

    format_version: Literal[1] = 1
    task: TaskName
    label: str
    config: TuneConfig
    parent: str
    fingerprint: str
    metrics: dict[Split, TaskMetrics]
    parameters: int
    share: float
    seconds: float
    train_rows: int
    history: tuple[EpochRecord, ...]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A trained backbone, ready to score, to export and to be tuned upon."""

    card: CheckpointCard
    model: MultiTaskModel
    lookups: Lookups

    @property
    def schema(self) -> FeatureSchema:
        return self.card.feature_schema


@dataclass(frozen=True, slots=True)
class PromptCheckpoint:
    """A trained prompt."""

    card: PromptCard
    head: PromptHead | DtrnPrompt


def fingerprint(
    tensors: Mapping[str, Tensor], config: ModelConfig | TuneConfig, *context: str
) -> str:
    """sha256 over name, dtype, shape and bytes of every tensor, the settings and the context.

    The context of a backbone is its schema digest and its tasks.
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().contiguous()
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    settings = config.model_dump(mode="json")
    for switch, unset in _LATER_SWITCHES.items():
        if settings.get(switch, ...) == unset:
            del settings[switch]
    digest.update(json.dumps([settings, *context], sort_keys=True).encode())
    return digest.hexdigest()


def backbone_fingerprint(model: MultiTaskModel, card: CheckpointCard) -> str:
    """The fingerprint a backbone has now; the card's own is the one it was written with."""
    return fingerprint(
        model.state_dict(), card.config.model, card.feature_schema.digest(), *card.tasks
    )


def write_checkpoint(directory: Path, checkpoint: Checkpoint) -> Checkpoint:
    """Write a backbone; returns it with the fingerprint filled in."""
    found = backbone_fingerprint(checkpoint.model, checkpoint.card)
    card = checkpoint.card.model_copy(update={"fingerprint": found})
    with written_aside(directory) as folder:
        _save(folder / _MODEL, checkpoint.model)
        (folder / _CARD).write_text(card.model_dump_json(by_alias=True, indent=1) + "\n", "utf-8")
        checkpoint.lookups.save(folder / _LOOKUPS)
    # Lookups are mapped files: those of the directory just replaced may be gone.
    return Checkpoint(card, checkpoint.model, Lookups.open(directory / _LOOKUPS))


def read_checkpoint(directory: Path) -> Checkpoint:
    """Read a backbone, in eval mode.

    Raises:
        CheckpointError: missing, damaged, altered, or of an unknown version.
    """
    card = _read_card(directory / _CARD, CheckpointCard)
    try:
        lookups = Lookups.open(directory / _LOOKUPS)
    except ContractError as err:
        raise CheckpointError(f"{directory / _LOOKUPS} is damaged: {err}") from err
    if lookups.schema != card.feature_schema:
        raise CheckpointError(
            f"{directory}: {_CARD} and {_LOOKUPS}/ describe different features; "
            "take both from one training run"
        )
    model = build_model(card.config.model, card.feature_schema, card.tasks)
    _load(directory / _MODEL, model)
    if backbone_fingerprint(model, card) != card.fingerprint:
        raise CheckpointError(
            f"{directory} was altered after it was written: its fingerprint is no longer "
            f"{card.fingerprint[:12]}; copy it again or train anew"
        )
    return Checkpoint(card, model.eval(), lookups)


def write_prompt(directory: Path, prompt: PromptCheckpoint) -> PromptCheckpoint:
    """Write a prompt; returns it with the fingerprint filled in."""
    card = prompt.card.model_copy(update={"fingerprint": _prompt_fingerprint(prompt)})
    with written_aside(directory) as folder:
        _save(folder / _PROMPT, prompt.head)
        (folder / _PROMPT_CARD).write_text(card.model_dump_json(indent=1) + "\n", "utf-8")
    return PromptCheckpoint(card, prompt.head)


def read_prompt_card(directory: Path) -> PromptCard:
    """What a prompt says of itself, whichever backbone it belongs to.

    Raises:
        CheckpointError: missing, damaged, or of an unknown version.
    """
    return _read_card(directory / _PROMPT_CARD, PromptCard)


def read_prompt(directory: Path, backbone: Checkpoint) -> PromptCheckpoint:
    """Read a prompt of this backbone, in eval mode.

    Raises:
        CheckpointError: missing, damaged, altered, or made for another backbone.
    """
    card = read_prompt_card(directory)
    if card.parent != backbone.card.fingerprint:
        raise CheckpointError(
            f"{directory} was tuned on backbone {card.parent[:12]}, this is "
            f"{backbone.card.fingerprint[:12]}; tune it again on this one"
        )
    head = new_prompt(card.config, backbone.model)
    _load(directory / _PROMPT, head)
    prompt = PromptCheckpoint(card, head)
    if _prompt_fingerprint(prompt) != card.fingerprint:
        raise CheckpointError(f"{directory} was altered after it was written; tune it again")
    head.eval()
    return prompt


def _prompt_fingerprint(prompt: PromptCheckpoint) -> str:
    card = prompt.card
    return fingerprint(prompt.head.state_dict(), card.config, card.parent, card.task)


def _save(path: Path, module: nn.Module) -> None:
    save_file({name: t.contiguous() for name, t in module.state_dict().items()}, path)


def _load(path: Path, module: nn.Module) -> None:
    try:
        module.load_state_dict(load_file(path))
    except (OSError, SafetensorError) as err:
        raise CheckpointError(f"{path} is missing or damaged: {err}") from err
    except RuntimeError as err:  # names or shapes differ
        raise CheckpointError(f"{path} does not fit its configuration: {err}") from err


_AnyCard = TypeVar("_AnyCard", CheckpointCard, PromptCard)


def _read_card(path: Path, kind: type[_AnyCard]) -> _AnyCard:
    try:
        return kind.model_validate_json(path.read_bytes())
    except OSError as err:
        raise CheckpointError(
            f"{path} cannot be read ({err.strerror}); give the folder that training wrote"
        ) from err
    except ValidationError as err:
        first = err.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise CheckpointError(
            f"{path} is damaged or of another version: {where}: {first['msg']}"
        ) from err

"""Stage 2: a prompt for one new task on a frozen backbone.

    Checkpoint, Prepared, task --tune--> TuneResult: the prompt, its figures, proof of the freeze

The backbone runs once per split and epochs run on what it gave; for a DTRN prompt, which reads
events, it runs on. Whatever moved in the backbone, by as much as one bit, is a TrainingError.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter

import torch
from torch import Tensor

from training.checkpoint import (
    Checkpoint,
    PromptCard,
    PromptCheckpoint,
    backbone_fingerprint,
)
from training.config import TaskConfig, TuneConfig
from training.dataset import Dataset, Prepared
from training.dtrn_prompt import new_prompt
from training.errors import ConfigError, DataError, TrainingError
from training.evaluate import predict
from training.frozen import frozen_examples
from training.head import fit_head
from training.model import build_model
from training.progress import SILENT, Progress


@dataclass(frozen=True, slots=True)
class TuneResult:
    """A tuned prompt; the backbone and all old predictions were found bit-equal (else: an error).

    Attributes:
        seconds: all of it; cache_seconds: the one pass of the backbone; check_seconds: the proof.
        compared: how many old predictions were compared.
    """

    prompt: PromptCheckpoint
    best_epoch: int
    epochs: int
    seconds: float
    cache_seconds: float
    check_seconds: float
    compared: int


def tune(
    checkpoint: Checkpoint,
    prepared: Prepared,
    task: TaskConfig,
    config: TuneConfig,
    *,
    progress: Progress = SILENT,
) -> TuneResult:
    """Learn a prompt for the task, which the prepared data must hold a label of.

    Raises:
        ConfigError: the backbone has that task already, or takes no such prompt.
        DataError: no such label, one class only, or features encoded for another model.
        TrainingError: the loss is no longer finite, or the backbone moved.
    """
    _refuse_misfit(checkpoint, prepared, task.name)
    model, started = checkpoint.model, perf_counter()
    proof = _Proof.before(checkpoint, prepared.valid)
    checked = perf_counter() - started
    examples = frozen_examples(checkpoint, prepared, task.name, reads=config.reads)
    cached = perf_counter() - started - checked
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(config.seed)
        head = new_prompt(config, model)
        history = fit_head(head, examples, task.name, config, progress)
    metrics = {split: examples[split].measure(head) for split in ("valid", "test")}
    resumed = perf_counter()
    compared = proof.hold(checkpoint, prepared.valid)
    checked += perf_counter() - resumed
    parameters = head.trained_parameters()
    card = PromptCard(
        task=task.name,
        label=task.label,
        config=config,
        parent=checkpoint.card.fingerprint,
        fingerprint="",
        metrics=metrics,
        parameters=parameters,
        share=parameters / full_parameters(checkpoint, task.name),
        seconds=perf_counter() - started,
        train_rows=len(examples["train"].rows),
        history=tuple(history),
    )
    return TuneResult(
        prompt=PromptCheckpoint(card, head),
        best_epoch=max(record.epoch for record in history if record.best),
        epochs=len(history),
        seconds=card.seconds,
        cache_seconds=cached,
        check_seconds=checked,
        compared=compared,
    )


def full_parameters(checkpoint: Checkpoint, task: str) -> int:
    """Parameters of a model of the same kind that holds the new task too: what a joint run trains.

    Counted on the meta device, so nothing is allocated.
    """
    with torch.device("meta"):
        tasks = (*checkpoint.card.tasks, task)
        full = build_model(checkpoint.card.config.model, checkpoint.schema, tasks)
    return sum(p.numel() for p in full.parameters())


@dataclass(frozen=True, slots=True)
class _Proof:
    """What the backbone is and says before tuning, to be compared bit by bit afterwards."""

    fingerprint: str
    logits: Tensor  # (R, T)

    @classmethod
    def before(cls, checkpoint: Checkpoint, dataset: Dataset) -> _Proof:
        found = backbone_fingerprint(checkpoint.model, checkpoint.card)
        if found != checkpoint.card.fingerprint:
            raise TrainingError(
                "the backbone in memory is not the one of its checkpoint; read it again"
            )
        return cls(found, predict(checkpoint.model, dataset, checkpoint.card.tasks).logits)

    def hold(self, checkpoint: Checkpoint, dataset: Dataset) -> int:
        """How many predictions were found equal.

        Raises:
            TrainingError: a weight or a prediction differs.
        """
        if backbone_fingerprint(checkpoint.model, checkpoint.card) != self.fingerprint:
            raise TrainingError(
                "tuning changed a weight of the frozen backbone; discard the prompt"
            )
        after = predict(checkpoint.model, dataset, checkpoint.card.tasks).logits
        if not torch.equal(self.logits, after):
            raise TrainingError("tuning changed a prediction of an old task; discard the prompt")
        return after.numel()


def _refuse_misfit(checkpoint: Checkpoint, prepared: Prepared, task: str) -> None:
    if task in checkpoint.card.tasks:
        raise ConfigError(
            f"the backbone has task {task} already; a prompt is for a new one, not in "
            f"{list(checkpoint.card.tasks)}"
        )
    if task not in prepared.train.tasks:
        raise DataError(
            f"the data hold no label of task {task}, only {list(prepared.train.tasks)}; add it to "
            "the configuration with new = true"
        )
    if prepared.schema.digest() != checkpoint.schema.digest():
        raise DataError(
            "the data were encoded for another model; prepare them with the checkpoint's lookups"
        )

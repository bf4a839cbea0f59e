"""Probabilities that mean what they say: Platt scaling of a trained task, at no cost in serving.

    Checkpoint, Prepared --calibrated--> Checkpoint whose last layers are scaled, Platt per task
    PromptCheckpoint ----calibrated_prompt--> PromptCheckpoint likewise, Platt

p = sigmoid(a x logit + b), fitted on the validation rows (Platt, 1999, with his smoothed targets).
a is positive, so the order of the scores, and with it the AUC, stays. Figures are measured anew.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from training.checkpoint import Checkpoint, PromptCheckpoint, Split
from training.dataset import Prepared
from training.errors import ConfigError, TrainingError
from training.evaluate import evaluate, predict
from training.frozen import frozen_examples
from training.metrics import Resampling, TaskMetrics
from training.mlp import StackedMLP

_STEPS, _SETTLED, _RIDGE = 100, 1e-12, 1e-9


@dataclass(frozen=True, slots=True)
class Platt:
    """The logit becomes scale x logit + offset."""

    scale: float
    offset: float


def fit_platt(logits: Tensor, labels: Tensor, task: str) -> Platt:
    """The likeliest scale and offset; logits and labels are (n,).

    Raises:
        TrainingError: the logits do not rise with the label.
    """
    y = labels.double()
    positive = float(y.sum())
    high, low = (positive + 1) / (positive + 2), 1 / (len(y) - positive + 2)
    target = torch.where(y > 0, high, low).double()
    x = torch.stack([logits.double(), torch.ones_like(y)], dim=1)  # (n, 2)
    # From the base rate, where the loss curves in both directions, whatever the logits' size.
    found = torch.stack([target.new_zeros(()), torch.logit(target.mean())])
    for _ in range(_STEPS):
        p = torch.sigmoid(x @ found)
        curvature = (x * (p * (1 - p)).unsqueeze(1)).mT @ x + _RIDGE * torch.eye(2).double()
        step = torch.linalg.solve(curvature, x.mT @ (p - target))
        before = _loss(x, found, target)
        # Far from the minimum a whole Newton step may overshoot.
        while _loss(x, found - step, target) > before and float(step.abs().max()) > _SETTLED:
            step = step / 2
        found = found - step
        if float(step.abs().max()) <= _SETTLED:
            break
    scale, offset = found.tolist()
    if scale <= 0:
        raise TrainingError(
            f"task {task} cannot be calibrated: on the validation rows its scores do not rise with "
            "its label; train it longer, or export without --calibrate"
        )
    return Platt(scale, offset)


def _loss(x: Tensor, at: Tensor, target: Tensor) -> float:
    return float(
        torch.nn.functional.binary_cross_entropy_with_logits(x @ at, target, reduction="sum")
    )


def calibrated(checkpoint: Checkpoint, prepared: Prepared) -> tuple[Checkpoint, dict[str, Platt]]:
    """A copy of a backbone with calibrated towers and the figures it then has.

    Raises:
        ConfigError: an esmm backbone, where one task's logit is no tower's.
        TrainingError: a task whose scores do not rise with its label.
    """
    card = checkpoint.card
    if card.config.model.mixer == "esmm":
        raise ConfigError(
            "esmm multiplies two probabilities, which no tower's last layer can calibrate; export "
            "without --calibrate"
        )
    model, valid = copy.deepcopy(checkpoint.model).eval(), prepared.valid
    logits = predict(model, valid, card.tasks).logits
    found = {}
    for at, task in enumerate(card.tasks):
        column = valid.tasks.index(task)
        rows = valid.mask[:, column]
        found[task] = fit_platt(logits[rows, at], valid.labels[rows, column], task)
        _scale(model.towers.stack, at, found[task])
    splits = {"valid": prepared.valid, "test": prepared.test}
    metrics = {
        name: evaluate(model, dataset, card.tasks, Resampling(seed=card.seed))
        for name, dataset in splits.items()
    }
    return Checkpoint(
        card.model_copy(update={"metrics": metrics}), model, checkpoint.lookups
    ), found


def calibrated_prompt(
    checkpoint: Checkpoint, prompt: PromptCheckpoint, prepared: Prepared
) -> tuple[PromptCheckpoint, Platt]:
    """A copy of a prompt with a calibrated tower; prepared holds its task's labels.

    Raises:
        TrainingError: its scores do not rise with its label.
    """
    model = checkpoint.model
    head = copy.deepcopy(prompt.head, {id(model): model}).eval()  # which a DTRN prompt holds
    splits: tuple[Split, ...] = ("valid", "test")
    reads = prompt.card.config.reads
    examples = frozen_examples(checkpoint, prepared, prompt.card.task, splits, reads=reads)
    valid = examples["valid"]
    found = fit_platt(valid.logits(head), valid.labels[valid.rows], prompt.card.task)
    _scale(head.tower, 0, found)
    metrics: Mapping[Split, TaskMetrics] = {s: examples[s].measure(head) for s in splits}
    return PromptCheckpoint(prompt.card.model_copy(update={"metrics": metrics}), head), found


@torch.no_grad()
def _scale(tower: StackedMLP, group: int, platt: Platt) -> None:
    """The last layer of one group takes the scale and the offset in."""
    tower.weights[-1][group].mul_(platt.scale)
    tower.biases[-1][group].mul_(platt.scale).add_(platt.offset)

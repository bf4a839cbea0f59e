"""A model's predictions on a data set, and how good they are.

    model, Dataset --predict--> Predictions --measure_tasks--> {task: TaskMetrics}
    probabilities of any origin --examined--> Evaluation: the same, and what came of each prediction

Rows are read request by request, so that user things are computed once per request; what comes out
stands in the order of the data set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.dataset import Dataset
from training.device import inputs_at
from training.metrics import Bin, Resampling, TaskMetrics, measure, reliability
from training.model import MultiTaskModel

EVAL_BATCH = 8192


@dataclass(frozen=True, slots=True)
class Predictions:
    """Logits of all rows; shared_logits, of mpt when asked for, from the shared expert alone."""

    logits: Tensor  # (R, T)
    shared_logits: Tensor | None  # (R, T)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The figures of each task, and its predictions against what came, in bins."""

    metrics: dict[str, TaskMetrics]
    reliability: dict[str, tuple[Bin, ...]]


def chunks(rows: Tensor, size: int) -> list[Tensor]:
    """Views of consecutive rows, `size` in each but the last."""
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def by_request(dataset: Dataset, size: int) -> list[Tensor]:
    """All row numbers, those of one request side by side, in chunks of `size`."""
    return chunks(torch.argsort(dataset.requests, stable=True), size)


@torch.no_grad()
def predict(
    model: MultiTaskModel, dataset: Dataset, tasks: Sequence[str], *, shared: bool = False
) -> Predictions:
    """Run the model in eval mode over all rows; the model's own mode is put back."""
    was_training = model.training
    model.eval()
    logits = torch.empty(len(dataset), len(tasks))
    shared_logits = torch.empty_like(logits) if shared else None
    for rows in by_request(dataset, EVAL_BATCH):
        inputs = inputs_at(dataset.batch(rows, tasks).inputs, model.table.device)
        outputs = model(inputs, alpha=0.0 if shared else None)
        logits[rows] = outputs.logits.cpu()
        if shared_logits is not None:
            shared_logits[rows] = outputs.shared_logits.cpu()
    model.train(was_training)
    return Predictions(logits, shared_logits)


def evaluate(
    model: MultiTaskModel,
    dataset: Dataset,
    tasks: Sequence[str],
    resampling: Resampling | None = None,
) -> dict[str, TaskMetrics]:
    """Metrics per task of a model on one split; intervals when a resampling is given."""
    logits = predict(model, dataset, tasks).logits
    return measure_tasks(logits, dataset, tasks, resampling)


def measure_tasks(
    logits: Tensor,  # (R, T)
    dataset: Dataset,
    tasks: Sequence[str],
    resampling: Resampling | None = None,
) -> dict[str, TaskMetrics]:
    """Metrics per task of logits that stand in the order of the data set."""
    # float64: two logits of one float32 probability near 1 must not become a tie.
    return measure_scores(logits.double().sigmoid().numpy(), dataset, tasks, resampling)


def measure_scores(
    probabilities: NDArray[np.generic],  # (R, T)
    dataset: Dataset,
    tasks: Sequence[str],
    resampling: Resampling | None = None,
) -> dict[str, TaskMetrics]:
    """Metrics per task of probabilities that stand in the order of the data set."""
    users = dataset.users.numpy()
    columns = [dataset.tasks.index(task) for task in tasks]
    return {
        task: measure(
            dataset.labels[:, column].numpy(),
            probabilities[:, place],
            dataset.mask[:, column].numpy(),
            users,
            resampling,
        )
        for place, (task, column) in enumerate(zip(tasks, columns, strict=True))
    }


def examined(
    probabilities: NDArray[np.generic],  # (R, T)
    dataset: Dataset,
    tasks: Sequence[str],
    resampling: Resampling | None = None,
) -> Evaluation:
    """Metrics with intervals, and reliability, of probabilities in the order of the data set."""
    bins = {}
    for place, task in enumerate(tasks):
        column = dataset.tasks.index(task)
        keep = dataset.mask[:, column].numpy()
        labels = dataset.labels[:, column].numpy()[keep]
        bins[task] = reliability(labels, probabilities[keep, place])
    return Evaluation(measure_scores(probabilities, dataset, tasks, resampling), bins)

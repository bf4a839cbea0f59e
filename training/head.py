"""Learning a head on a frozen backbone: a prompt, or the plain tower it is compared with.

    Examples of train and valid --fit_head--> the head with its best weights, EpochRecords

A loss that is not finite is a TrainingError.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.optim import Optimizer

from training.allocator import keep_freed_memory
from training.average import WeightAverage
from training.config import TuneConfig
from training.dtrn_prompt import DtrnPrompt
from training.errors import TrainingError
from training.evaluate import chunks
from training.frozen import Examples, RepresentationCache
from training.losses import prompt_loss
from training.metrics import auc
from training.mlp import Layers, StackedMLP
from training.progress import SILENT, EpochRecord, Progress
from training.prompt import PromptHead
from training.representation import Representation
from training.split import Split


class SharedTower(nn.Module):
    """A tower on what all tasks share: Shared-Bottom*, the least a new task can be."""

    def __init__(self, width: int, units: Sequence[int]) -> None:
        super().__init__()
        self.tower = StackedMLP(1, width, Layers(units, out=1))

    def forward(self, representation: Representation) -> Tensor:
        """Logits (N,)."""
        logits: Tensor = self.tower(Split.rows(representation.shared))  # (1, N, 1)
        return logits[0].squeeze(-1)


Head = PromptHead | SharedTower | DtrnPrompt


def fit_head(
    head: Head,
    examples: Mapping[str, Examples],
    task: str,
    config: TuneConfig,
    progress: Progress = SILENT,
) -> list[EpochRecord]:
    """Adam over whatever of the head requires a gradient; its best weights stay in it."""
    keep_freed_memory()
    train, valid = examples["train"], examples["valid"]
    if (
        isinstance(head, PromptHead)
        and head.expert
        and isinstance(train.cache, RepresentationCache)
    ):
        head.expert.take_scale(train.cache.mean_square())
    trained = [p for p in head.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=config.learning_rate, fused=True)
    average = WeightAverage(head, config.average)
    generator = Generator().manual_seed(config.seed)
    progress.stage(f"tune {task}", config.epochs * -(-len(train.rows) // config.batch_size))
    history: list[EpochRecord] = []
    best, best_epoch, best_score = head.state_dict(), 0, -1.0
    for epoch in range(1, config.epochs + 1):
        started = perf_counter()
        order = train.rows[torch.randperm(len(train.rows), generator=generator)]
        batches = chunks(order, config.batch_size)
        loss = _head_epoch(head, _Steps(optimizer, average), train, batches, config, progress)
        rate = len(order) / (perf_counter() - started)
        with average.worn():
            score = auc(valid.labels[valid.rows].numpy(), valid.logits(head).numpy()) or 0.0
            is_best = score > best_score
            if is_best:
                best = {name: t.clone() for name, t in head.state_dict().items()}
                best_epoch, best_score = epoch, score
        seconds = perf_counter() - started
        record = EpochRecord(epoch, seconds, rate, loss, {task: score}, score, is_best)
        history.append(record)
        progress.epoch(record)
        if epoch - best_epoch >= config.patience:
            break
    head.load_state_dict(best)
    head.eval()
    return history


class _Steps(NamedTuple):
    """What a step moves beside the head."""

    optimizer: Optimizer
    average: WeightAverage


def _head_epoch(
    head: Head,
    steps: _Steps,
    train: Examples,
    batches: Sequence[Tensor],
    config: TuneConfig,
    progress: Progress,
) -> dict[str, float]:
    """One pass over the cached training rows; the mean losses by part."""
    head.train()
    values = head.item_weights if isinstance(head, PromptHead) else None
    weights = None if values is None else values.weights
    sums = [0.0, 0.0, 0.0]
    for rows in batches:
        logits = head(train.cache.rows(rows))
        labels = train.labels.index_select(0, rows)
        loss = prompt_loss(
            head.tower, logits, labels, config.l2_network, weights, config.l2_embedding
        )
        terms = torch.stack([loss.bce, loss.l2, loss.total]).tolist()
        if not math.isfinite(terms[-1]):
            raise TrainingError(f"the loss is {terms[-1]} while tuning; lower tune.learning_rate")
        steps.optimizer.zero_grad(set_to_none=True)
        loss.total.backward()  # type: ignore[no-untyped-call]  # torch's
        steps.optimizer.step()
        steps.average.take()
        progress.step(terms[-1])
        sums = [total + term * len(rows) for total, term in zip(sums, terms, strict=True)]
    head.eval()
    means = (value / len(train.rows) for value in sums)
    return dict(zip(("task", "l2", "total"), means, strict=True))

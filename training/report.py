"""What a report tells of a run beyond its card: the data's facts, and what the model does on rows.

    Prepared ----------------split_facts-----> SplitFacts per split
    model, rows -------------gates_on--------> Gate per layer: which experts each task hears
    model, prompt, rows -----attention_on----> Attention: which tasks a prompt hears
    model, prompt, inputs ---attention_at----> the same on one call
    Checkpoint, Prepared ----backbone_report-> BackboneReport
    PromptCheckpoint, ... ---prompt_report---> PromptReport

Means are over all rows of a split, so equal inputs give equal reports.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from training.checkpoint import Checkpoint, CheckpointCard, PromptCard, PromptCheckpoint
from training.dataset import Dataset, Prepared
from training.dtrn_prompt import DtrnPrompt
from training.evaluate import EVAL_BATCH, by_request, predict
from training.inputs import Inputs
from training.metrics import Bin, reliability
from training.mixer import Gate
from training.model import MultiTaskModel

OWN_SOURCE = "its own vector"


@dataclass(frozen=True, slots=True)
class TaskFacts:
    """Rows whose label is known, and those of them that are positive."""

    known: int
    positives: int


@dataclass(frozen=True, slots=True)
class SplitFacts:
    """One split; users is None where the log names none."""

    name: str
    rows: int
    users: int | None
    tasks: dict[str, TaskFacts]


@dataclass(frozen=True, slots=True)
class Attention:
    """Mean weights of a prompt.

    Attributes:
        sources: whose vectors it mixes, with their weights.
        mixture, shared: of its gate, between that mixture and the shared vector.
    """

    sources: dict[str, float]
    mixture: float
    shared: float


@dataclass(frozen=True, slots=True)
class BackboneReport:
    """A trained backbone. reliability is of the test rows, gates of the validation rows."""

    card: CheckpointCard
    data: tuple[SplitFacts, ...]
    reliability: dict[str, tuple[Bin, ...]]
    gates: tuple[Gate, ...]


@dataclass(frozen=True, slots=True)
class PromptReport:
    """A tuned prompt. reliability is of the test rows, attention of the validation rows."""

    card: PromptCard
    backbone: CheckpointCard
    data: tuple[SplitFacts, ...]
    reliability: dict[str, tuple[Bin, ...]]
    attention: Attention


def backbone_report(checkpoint: Checkpoint, prepared: Prepared) -> BackboneReport:
    """Two passes: the test rows for calibration, the validation rows for the gates."""
    card = checkpoint.card
    logits = predict(checkpoint.model, prepared.test, card.tasks).logits
    found = {
        task: _reliability(logits[:, at], prepared.test, task) for at, task in enumerate(card.tasks)
    }
    facts = split_facts(prepared, [task.name for task in card.config.tasks])
    return BackboneReport(card, facts, found, gates_on(checkpoint.model, prepared.valid))


def prompt_report(
    checkpoint: Checkpoint, prompt: PromptCheckpoint, prepared: Prepared
) -> PromptReport:
    """The same of a prompt; prepared holds its task's labels."""
    logits = _prompt_logits(checkpoint.model, prompt, prepared.test)
    found = {prompt.card.task: _reliability(logits, prepared.test, prompt.card.task)}
    return PromptReport(
        card=prompt.card,
        backbone=checkpoint.card,
        data=split_facts(prepared, [prompt.card.task]),
        reliability=found,
        attention=attention_on(checkpoint.model, prompt, prepared.valid),
    )


def split_facts(prepared: Prepared, tasks: Sequence[str]) -> tuple[SplitFacts, ...]:
    """Rows, users and positives of the three splits."""
    return tuple(_facts(name, dataset, tasks) for name, dataset in prepared.splits.items())


def _facts(name: str, dataset: Dataset, tasks: Sequence[str]) -> SplitFacts:
    users = dataset.count_users() if dataset.has_users else None
    counted = ((task, dataset.tasks.index(task)) for task in tasks)
    facts = {task: TaskFacts(dataset.known[at], dataset.positive[at]) for task, at in counted}
    return SplitFacts(name, len(dataset), users, facts)


def _reliability(logits: Tensor, dataset: Dataset, task: str) -> tuple[Bin, ...]:
    column = dataset.tasks.index(task)
    keep = dataset.mask[:, column]
    labels = dataset.labels[keep, column].numpy()
    return reliability(labels, logits[keep].double().sigmoid().numpy())


@torch.no_grad()
def gates_on(model: MultiTaskModel, dataset: Dataset) -> tuple[Gate, ...]:
    """Mean gate weights over all rows; the model is in eval mode and in memory."""
    sums: list[Tensor] = []
    gates: tuple[Gate, ...] = ()
    for rows in by_request(dataset, EVAL_BATCH):
        gates = model.mean_gates(dataset.batch(rows, ()).inputs)
        parts = [gate.weights.double() * len(rows) for gate in gates]
        sums = [a + b for a, b in zip(sums, parts, strict=True)] if sums else parts
    means = (total / len(dataset) for total in sums)
    return tuple(replace(g, weights=mean) for g, mean in zip(gates, means, strict=True))


@torch.no_grad()
def attention_on(model: MultiTaskModel, prompt: PromptCheckpoint, dataset: Dataset) -> Attention:
    """Mean attention and gate of a prompt over all rows."""
    total = torch.zeros(())
    for rows in by_request(dataset, EVAL_BATCH):
        seen = model.represent(dataset.batch(rows, ()).inputs)
        total = total + prompt.head.heard(seen) * len(rows)
    return _named(model, prompt, total / len(dataset))


@torch.no_grad()
def attention_at(model: MultiTaskModel, prompt: PromptCheckpoint, inputs: Inputs) -> Attention:
    """Mean attention and gate of a prompt over the rows of one call."""
    return _named(model, prompt, prompt.head.heard(model.represent(inputs)))


def _named(model: MultiTaskModel, prompt: PromptCheckpoint, heard: Tensor) -> Attention:
    names = (*model.tasks, OWN_SOURCE) if isinstance(prompt.head, DtrnPrompt) else model.tasks
    *weights, mixture, shared = heard.tolist()
    return Attention(dict(zip(names, weights, strict=True)), mixture, shared)


@torch.no_grad()
def _prompt_logits(model: MultiTaskModel, prompt: PromptCheckpoint, dataset: Dataset) -> Tensor:
    """(R,), in the order of the data set."""
    logits = torch.empty(len(dataset))
    for rows in by_request(dataset, EVAL_BATCH):
        logits[rows] = prompt.head(model.represent(dataset.batch(rows, ()).inputs))
    return logits

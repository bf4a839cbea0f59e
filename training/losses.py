"""What training minimises.

    model, Outputs, Batch, environments --total_loss--> LossParts     stage 1
    the new tower, logits, labels --prompt_loss--> PromptLoss           stage 2

Every mean is over the rows whose label is known. Losses are taken on logits. Where a batch is part
of a whole one, means divide by the whole's counts: the sum over the parts is the whole's loss.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from training.config import FitConfig
from training.inputs import Batch, Inputs
from training.mlp import StackedMLP
from training.model import MultiTaskModel, Outputs


@dataclass(frozen=True, slots=True)
class LossParts:
    """The terms of one batch, unweighted but for l2 and total; a term that is off is 0."""

    task: Tensor  # (T,) mean BCE
    shared: Tensor  # () sum over tasks of the mean BCE of the shared expert alone (mpt)
    environment: Tensor  # () NLL of the environment classifier (mpt)
    hinge: Tensor  # () how far a later funnel step exceeds an earlier one (aitm)
    l2: Tensor  # () weighted by the lambdas
    total: Tensor  # ()

    def terms(self) -> Tensor:
        """(T + 5,) all of them, detached, in this order."""
        one = torch.stack([self.shared, self.environment, self.hinge, self.l2, self.total])
        return torch.cat([self.task, one]).detach()


@dataclass(frozen=True, slots=True)
class PromptLoss:
    """The terms of stage 2."""

    bce: Tensor  # ()
    l2: Tensor  # () weighted
    total: Tensor  # ()


def row_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Binary cross-entropy of each row and task, same shape as logits."""
    return functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")


def total_loss(
    model: MultiTaskModel,
    outputs: Outputs,
    batch: Batch,
    env: Tensor | None,
    fit: FitConfig,
    weights: Tensor | None = None,
) -> LossParts:
    """Sum of the weighted task losses and of whatever the model adds to them.

    Args:
        model: gives the coefficients (its configuration) and the weights for L2.
        outputs: of this batch; with alpha given to forward if the environment game is on.
        batch: labels and their mask.
        env: (N,) int64 environment labels, or None to leave that term out.
        fit: strength, family and scope of L2.
        weights: (T,) task weights, 1 if None.

    Raises:
        ValueError: environments without the outputs that alpha brings: the game would be off
            unnoticed.
    """
    labels = model.link.targets(batch.labels)
    known = batch.mask.sum(dim=0) if batch.whole is None else batch.whole.known  # (T,)
    share = 1.0 if batch.whole is None else len(batch.labels) / batch.whole.rows
    task = _known_means(row_losses(outputs.logits, labels), batch.mask, known)  # (T,)
    zero = task.new_zeros(())
    shared = environment = hinge = zero
    if env is not None and outputs.env_logprob is None:
        raise ValueError(
            "environment labels were given, but the outputs lack env_logprob: call the model with"
            " alpha, or pass env = None for a model without the game"
        )
    if outputs.shared_logits is not None:
        by_row = row_losses(outputs.shared_logits, labels)
        shared = _known_means(by_row, batch.mask, known).sum()
    if env is not None and outputs.env_logprob is not None:
        environment = share * functional.nll_loss(outputs.env_logprob, env)
    if model.config.mixer == "aitm" and model.config.aitm_hinge:
        hinge = share * _funnel_excess(torch.sigmoid(outputs.logits))
    l2 = share * l2_loss(model, batch.inputs, fit)
    gan = model.config.gan
    total = (
        (task if weights is None else weights * task).sum()
        + gan.shared_weight * shared
        + gan.environment_weight * environment
        + model.config.aitm_hinge * hinge
        + l2
    )
    return LossParts(task, shared, environment, hinge, l2, total)


def prompt_loss(
    tower: StackedMLP,
    logits: Tensor,
    labels: Tensor,
    l2_network: float,
    item_weights: Tensor | None = None,
    l2_embedding: float = 0.0,
) -> PromptLoss:
    """Stage 2: mean BCE + lambda_dnn / 2 |tower|^2 + lambda_emb / 2 |item weights|^2.

    Args:
        tower: of the head being tuned; its biases are not penalised.
        logits: (N,), of this head.
        labels: (N,) in {0, 1}.
        l2_network: lambda_dnn.
        item_weights: of the head, if it has some.
        l2_embedding: lambda_emb.
    """
    bce = row_losses(logits, labels).mean()
    l2 = bce.new_zeros(())
    if l2_network:
        l2 = l2_network / 2 * _squares(tower.weights, l2)
    if l2_embedding and item_weights is not None:
        l2 = l2 + l2_embedding / 2 * item_weights.square().sum()
    return PromptLoss(bce, l2, bce + l2)


def l2_loss(model: MultiTaskModel, inputs: Inputs, fit: FitConfig) -> Tensor:
    """lambda_emb / 2 |table|^2 + lambda_dnn / 2 |network|^2.

    Family mptrec reaches the weights of experts and towers; stem all weights and biases outside the
    table. Scope batch_rows counts only the table rows that the batch looks up, each once.

    Raises:
        ValueError: l2_embedding is "auto" still.
    """
    if fit.l2_embedding == "auto":
        raise ValueError("l2_embedding = 'auto' is no number yet: take FitConfig.for_rows(rows)")
    table = model.table
    zero = table.new_zeros(())
    l2 = zero
    if fit.l2_embedding:
        rows = table if fit.l2_scope == "all" else table[_looked_up(inputs)]
        l2 = l2 + fit.l2_embedding / 2 * _squares([rows], zero)
    if fit.l2_network:
        l2 = l2 + fit.l2_network / 2 * _squares(_network(model, fit), zero)
    return l2


def _network(model: MultiTaskModel, fit: FitConfig) -> Iterator[Tensor]:
    if fit.l2_family == "stem":
        return (p for p in model.parameters() if p is not model.table)
    stacks = (m for m in model.modules() if isinstance(m, StackedMLP) and m.penalised)
    return (weight for stack in stacks for weight in stack.weights)


def _squares(tensors: Iterable[Tensor], zero: Tensor) -> Tensor:
    return torch.stack([zero, *(t.square().sum() for t in tensors)]).sum()


def _looked_up(inputs: Inputs) -> Tensor:
    groups = (
        inputs.user_ids,
        inputs.user_bags,
        inputs.history,
        inputs.item_ids,
        inputs.item_bags,
    )
    rows: Tensor = torch.unique(torch.cat([g.flatten() for g in groups]))
    return rows


def _known_means(losses: Tensor, mask: Tensor, known: Tensor) -> Tensor:
    """(N, T) to (T,) by the counts known (T,); 0 for a task without any known label."""
    return (losses * mask.to(losses.dtype)).sum(dim=0) / known.to(losses.dtype).clamp(min=1.0)


def _funnel_excess(probabilities: Tensor) -> Tensor:
    """Sum over t >= 1 of mean max(p_t - p_(t-1), 0)."""
    return torch.relu(probabilities[:, 1:] - probabilities[:, :-1]).mean(dim=0).sum()

"""The environment game of MPT-Rec (arXiv 2408.17214).

    shared expert --reverse_gradient--> classifier: which task is this row easiest for?
    losses (N, T) --assign_environments--> labels e (N,), renewed every few epochs

An environment is "the existing task a row is easiest for"; the classifier learns to name it from
the shared expert's output, and the reversed gradient teaches the shared expert to hide it.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

# Above this share of rows in one environment the game has nothing left to tell apart.
COLLAPSE_SHARE = 0.99
Ramp = Literal["monotone", "legacy", "constant"]


class EnvironmentClassifier(nn.Linear):
    """log_softmax(W x_s + b), one Linear with a Xavier-uniform weight."""

    def reset_parameters(self) -> None:
        super().reset_parameters()
        nn.init.xavier_uniform_(self.weight)

    def log_probabilities(self, shared: Tensor, alpha: float) -> Tensor:
        """(N, m) -> (N, T); what flows back into shared is reversed and scaled by alpha."""
        return torch.log_softmax(self(reverse_gradient(shared, alpha)), dim=-1)


class GradientReversal(torch.autograd.Function):
    """Identity forward; the gradient times -alpha backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, alpha: float) -> Tensor:  # noqa: ANN401 - torch's untyped context
        ctx.alpha = alpha
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        return -ctx.alpha * grads[0], None


def reverse_gradient(x: Tensor, alpha: float) -> Tensor:
    """X itself, whose gradient comes back times -alpha."""
    reversed_x: Tensor = GradientReversal.apply(x, alpha)  # type: ignore[no-untyped-call]
    return reversed_x


def grl_alpha(ramp: Ramp, step: int, *, batches: int, epochs: int, batch_size: int) -> float:
    """Strength of the reversal at a step (from 0) of epochs * batches: 2 / (1 + e^(-10 p)) - 1.

    legacy follows the published code, whose progress p divides by the batch size: it falls back at
    the start of each epoch. constant is 1.
    """
    if ramp == "constant":
        return 1.0
    if ramp == "monotone":
        return ramp_value(step / max(epochs * batches - 1, 1))
    epoch, step_in_epoch = divmod(step, batches)
    return ramp_value((step_in_epoch + epoch * batch_size) / (epochs * batch_size))


def ramp_value(progress: float) -> float:
    """2 / (1 + e^(-10 p)) - 1, which is tanh(5 p)."""
    return math.tanh(5.0 * progress)


def random_environments(rows: int, tasks: int, generator: torch.Generator) -> Tensor:
    """The first labels: uniform, (rows,) int64."""
    return torch.randint(tasks, (rows,), generator=generator)


def assign_environments(
    losses: Tensor, normalise: Literal["none", "rank"], mask: Tensor | None = None
) -> Tensor:
    """The task of the smallest loss per row, (N,) int64; ties go to the lowest task.

    Args:
        losses: (N, T), each row's loss on each task.
        normalise: rank compares the loss's quantile within its task instead of the loss, for tasks
            of very different base rates.
        mask: (N, T) bool, where the label is known; an unknown label never names the environment,
            and a row without any label falls to task 0.
    """
    known = torch.ones_like(losses, dtype=torch.bool) if mask is None else mask
    if normalise == "rank":
        columns = [_rank_quantiles(losses[:, t], known[:, t]) for t in range(losses.shape[1])]
        losses = torch.stack(columns, dim=1)
    return losses.masked_fill(~known, math.inf).argmin(dim=1)


def environment_counts(environments: Tensor, tasks: int) -> Tensor:
    """Rows per environment, (T,) int64."""
    return torch.bincount(environments, minlength=tasks)


def collapsed(counts: Tensor) -> bool:
    """Whether one environment holds more than COLLAPSE_SHARE of the rows."""
    return bool(counts.max() > COLLAPSE_SHARE * counts.sum())


def _rank_quantiles(losses: Tensor, known: Tensor) -> Tensor:
    """Mid-rank of each known loss among the known ones, scaled to (0, 1)."""
    quantiles = torch.full_like(losses, math.inf)
    _, place, counts = torch.unique(losses[known], return_inverse=True, return_counts=True)
    last = counts.cumsum(0).to(losses.dtype)  # rows up to and with each distinct loss
    quantiles[known] = ((last - counts / 2) / max(int(known.sum()), 1))[place]
    return quantiles

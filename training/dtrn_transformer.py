"""A transformer over behaviour sequences, conditioned on task and behaviour type.

    u_t, v_b --Conditions--> gamma, beta of every layer norm, (T, M, sites, 2, w)
    tokens (U, M, L, w) --ConditionedTransformer--> (U, T, M, L, w)

After DTRN (arXiv 2308.05996), whose public text fixes no equations: this formulation is ours. All
weights are shared over tasks and behaviours; only the layer norms differ, and at the start not even
they, for the hypernetwork begins at zero. The norm comes before attention: after it, tasks would
differ by an affine map of channels only.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.config import DtrnConfig
from training.mlp import Layers, StackedMLP
from training.split import Split, unflatten

EPSILON = 1e-5
MASKED = -1e9


class Conditions(nn.Module):
    """The hypernetwork. bake() makes its output a constant and drops the rest."""

    def __init__(self, config: DtrnConfig, tasks: int, behaviours: int) -> None:
        super().__init__()
        self.sites = 2 * config.blocks + 1
        self.width = config.width
        scale = 1.0 / math.sqrt(config.condition_width)  # N(0, 1 / d_c)
        self.task = nn.Parameter(torch.randn(tasks, config.condition_width) * scale)
        self.behaviour = nn.Parameter(torch.randn(behaviours, config.condition_width) * scale)
        out = self.sites * 2 * config.width
        layers = Layers((config.hyper_width,), out=out, zero_last=True)
        self.network: StackedMLP | None = StackedMLP(
            1, 2 * config.condition_width, layers, penalised=False
        )
        self.baked: Tensor | None
        self.register_buffer("baked", None)

    def forward(self) -> Tensor:
        """(T, M, sites, 2, w): gamma and beta of every site."""
        return self.of_tasks(self.task) if self.baked is None else self.baked

    def of_tasks(self, tasks: Tensor) -> Tensor:
        """The same for other task vectors (T', d_c)."""
        if self.network is None:
            raise ValueError("the hypernetwork is baked: it knows no other tasks any more")
        behaviours = self.behaviour
        pairs = torch.cat(
            [
                tasks.unsqueeze(1).expand(-1, len(behaviours), -1),
                behaviours.expand(len(tasks), -1, -1),
            ],
            dim=-1,
        )  # (T', M, 2 d_c)
        flat = self.network(Split.rows(pairs.flatten(0, 1)))[0]
        sites = flat.view(len(tasks), len(behaviours), self.sites, 2, self.width)
        return torch.stack([1.0 + sites[..., 0, :], sites[..., 1, :]], dim=-2)

    @torch.no_grad()
    def bake(self) -> None:
        """Keep what the hypernetwork says now; scores do not change by a bit."""
        if self.baked is None:
            self.register_buffer("baked", self().detach().clone())
            self.network = None
            del self.task, self.behaviour


class ConditionedTransformer(nn.Module):
    """Pre-norm blocks whose layer norms come from outside; the last site norms the output."""

    def __init__(self, config: DtrnConfig) -> None:
        super().__init__()
        feed_forward = config.feed_forward or 4 * config.width
        self.blocks = nn.ModuleList(
            Block(config.width, config.heads, feed_forward) for _ in range(config.blocks)
        )

    def forward(self, tokens: Tensor, known: Tensor, gamma: Tensor) -> Tensor:
        """(U, T, M, L, w).

        Args:
            tokens: (U, M, L, w), zero where padded.
            known: (U, M, L), 1 for an event and 0 for padding, in the tokens' dtype.
            gamma: (T, M, sites, 2, w).
        """
        x = tokens.unsqueeze(1)  # (U, 1, M, L, w): tasks part at the first norm
        for i, block in enumerate(self.blocks):
            x = block(x, known, gamma[:, :, 2 * i : 2 * i + 2])
        return conditioned_norm(x, gamma[:, :, -1])


class Block(nn.Module):
    """Self-attention and a feed-forward layer, each added to its input."""

    def __init__(self, width: int, heads: int, feed_forward: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        self.widen = nn.Linear(width, feed_forward)
        self.narrow = nn.Linear(feed_forward, width)

    def forward(self, x: Tensor, known: Tensor, gamma: Tensor) -> Tensor:
        """gamma: (T, M, 2, 2, w), the two norms of this block."""
        x = x + self._attend(conditioned_norm(x, gamma[:, :, 0]), known)
        hidden = torch.relu(self.widen(conditioned_norm(x, gamma[:, :, 1])))
        y: Tensor = x + self.narrow(hidden)
        return y

    def _attend(self, x: Tensor, known: Tensor) -> Tensor:
        query, key, value = (
            unflatten(linear(x), -1, self.heads).transpose(-2, -3)  # (U, T, M, heads, L, w / heads)
            for linear in (self.query, self.key, self.value)
        )
        scores = query @ key.mT / math.sqrt(query.shape[-1])  # (.., L, L)
        weights = masked_softmax(scores, known[:, None, :, None, None])
        y: Tensor = self.out((weights @ value).transpose(-2, -3).flatten(-2))
        return y


def conditioned_norm(x: Tensor, gamma: Tensor) -> Tensor:
    """Gamma * (x - mean) / std + beta; x is (U, 1 or T, M, L, w), gamma (T, M, 2, w)."""
    normed = functional.layer_norm(x, x.shape[-1:], eps=EPSILON)
    return gamma[:, :, 0].unsqueeze(2) * normed + gamma[:, :, 1].unsqueeze(2)


def masked_softmax(scores: Tensor, known: Tensor) -> Tensor:
    """Softmax over the last axis where known is 1, exactly 0 elsewhere, all 0 if nothing is known.

    A score so low that its exponential is 0 keeps padded content from moving a single bit.
    """
    filled = scores.masked_fill(known == 0, MASKED)
    return torch.softmax(filled, dim=-1) * known

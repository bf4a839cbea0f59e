"""A transformer over behaviour sequences, conditioned on task and behaviour type.

    u_t, v_b --Conditions--> gamma, beta of every layer norm, (T, M, sites, 2, w)
    tokens (U, M, L, w) --ConditionedTransformer--> (T, M, U, L, w)

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
from training.dtrn_attention import attention, penalties
from training.mlp import Layers, StackedMLP
from training.split import Split, affine, unflatten

EPSILON = 1e-5
Affine = tuple[Tensor, Tensor]  # W (T, M, o, i) and b (T, M, o)


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
    """Pre-norm blocks whose layer norms come from outside, up to the norm that closes them."""

    def __init__(self, config: DtrnConfig) -> None:
        super().__init__()
        feed_forward = config.feed_forward or 4 * config.width
        self.blocks = nn.ModuleList(
            Block(config.width, config.heads, feed_forward) for _ in range(config.blocks)
        )

    def forward(self, tokens: Tensor, known: Tensor, gamma: Tensor) -> Tensor:
        """(T, M, U, L, w), normed; the last gamma and beta are left to who pools them.

        Args:
            tokens: (U, M, L, w), zero where padded.
            known: (U, M, L), 1 for an event and 0 for padding, in the tokens' dtype.
            gamma: (T, M, sites, 2, w).
        """
        x = tokens.transpose(0, 1).unsqueeze(0)  # (1, M, U, L, w): tasks part at the first norm
        penalty = penalties(known.transpose(0, 1)).expand(gamma.shape[0], -1, -1, -1)
        for i, block in enumerate(self.blocks):
            x = block(x, penalty, gamma[:, :, 2 * i : 2 * i + 2])
        return normed(x)


class Block(nn.Module):
    """Self-attention and a feed-forward layer, each added to its input.

    No token meets gamma and beta: they are folded into the small matrix that follows a norm, once
    per task and behaviour, W (gamma n + beta) + b = (W gamma) n + (W beta + b). So are the four
    matrices of a head, two by two: (K n_j) . (Q n_i) = n_j . (K^T Q n_i), and O (V n) = (O V) n.
    """

    def __init__(self, width: int, heads: int, feed_forward: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        self.widen = nn.Linear(width, feed_forward)
        self.narrow = nn.Linear(feed_forward, width)

    def forward(self, x: Tensor, penalty: Tensor, gamma: Tensor) -> Tensor:
        """(T, M, U, L, w).

        Args:
            x: (1 or T, M, U, L, w).
            penalty: (T, M, U, L), what the scores of an event lose.
            gamma: (T, M, 2, 2, w), the two norms of this block.
        """
        x = x + self._attend(normed(x), penalty, gamma[:, :, 0])
        hidden = torch.relu(each(conditioned(self.widen, gamma[:, :, 1]), normed(x)))
        y: Tensor = x + self.narrow(hidden)
        return y

    def _attend(self, n: Tensor, penalty: Tensor, gamma: Tensor) -> Tensor:
        n = n.expand(gamma.shape[0], -1, -1, -1, -1).contiguous()  # once, for three products
        queries = unflatten(each(self._look_up(gamma), n), -1, self.heads)  # (T, M, U, L, h, w)
        asked = queries.flatten(3, 4).flatten(0, 2)  # (T * M * U, L * h, w)
        heard = attention(n.flatten(0, 2), asked, penalty.flatten(0, 2))
        return each(self._take_up(gamma), heard.view(queries.shape).flatten(4))

    def _look_up(self, gamma: Tensor) -> Affine:
        """K^T Q of each head: (T, M, h * w, w).

        The key's bias is left out: no softmax sees what all scores of a query have in common.
        """
        query, shift = conditioned(self.query, gamma)
        query = unflatten(query, -2, self.heads)  # (T, M, h, w / h, w)
        shift = unflatten(shift, -1, self.heads).unsqueeze(-1)  # (T, M, h, w / h, 1)
        key = unflatten(self.key.weight * gamma[:, :, :1], -2, self.heads)
        scaled = key.mT / math.sqrt(key.shape[-2])  # (T, M, h, w, w / h)
        return (scaled @ query).flatten(2, 3), (scaled @ shift).flatten(2)

    def _take_up(self, gamma: Tensor) -> Affine:
        """O V of each head, side by side: (T, M, w, h * w)."""
        value, shift = conditioned(self.value, gamma)
        value = unflatten(value, -2, self.heads)  # (T, M, h, w / h, w)
        out = unflatten(self.out.weight, -1, self.heads).transpose(0, 1)  # (h, w, w / h)
        return (out @ value).transpose(2, 3).flatten(3), self.out(shift)


def normed(x: Tensor) -> Tensor:
    """(x - mean) / std over the last axis."""
    return functional.layer_norm(x, x.shape[-1:], eps=EPSILON)


def conditioned(linear: nn.Linear, gamma: Tensor) -> Affine:
    """W (gamma n + beta) + b as a map of n; gamma is (T, M, 2, w)."""
    shift: Tensor = linear(gamma[:, :, 1])
    return linear.weight * gamma[:, :, :1], shift


def each(maps: Affine, n: Tensor) -> Tensor:
    """Every task's and behaviour's own map of n (T, M, U, L, i)."""
    weight, bias = (of_pair.flatten(0, 1) for of_pair in maps)
    y = affine(n.flatten(2, 3).flatten(0, 1), weight, bias)  # (T * M, U * L, o)
    return y.view(*n.shape[:-1], y.shape[-1])

"""AITM (arXiv 2105.08489): tasks ordered along a funnel, each told what the one before knows.

    z_t = MLP_t(h);   for t = 1 ..: u = [transfer_t(z_(t-1)); z_t],   z_t <- attention over the two

z_(t-1) is the updated one, so the tasks follow one another; everything else is batched.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from training.bottoms import Views
from training.mixer import Gate, Mixed, Mixer
from training.mlp import Layers, StackedMLP


class AitmMixer(Mixer):
    """The attention's three Linears are shared by all tasks; the transfers are not."""

    def __init__(self, tasks: int, in_width: int, experts: Layers) -> None:
        super().__init__()
        self.width = m = experts.width
        self.bottoms = StackedMLP(tasks, in_width, experts)
        self.transfers = nn.ModuleList(nn.Linear(m, m) for _ in range(tasks - 1))
        self.value = nn.Linear(m, m)
        self.key = nn.Linear(m, m)
        self.query = nn.Linear(m, m)

    def mix(self, views: Views) -> Mixed:
        return Mixed(self._transferred(self.bottoms(views.base))[0], None)

    def represent(self, views: Views) -> tuple[Tensor, Tensor]:
        """The mean of all z_t before the transfer, and z_t after it."""
        before = self.bottoms(views.base)  # (T, N, m)
        return before.mean(dim=0), self._transferred(before)[0]

    def mean_gates(self, views: Views, tasks: Sequence[str]) -> tuple[Gate, ...]:
        """What each task takes from its own bottom and from the task before it."""
        taken = self._transferred(self.bottoms(views.base))[1]
        weights = torch.full((len(tasks), len(tasks)), torch.nan)
        weights[0, 0] = 1.0
        for at, both in enumerate(taken):
            weights[at + 1, at : at + 2] = both.mean(dim=0)
        return (Gate("transfer", tuple(tasks), tuple(tasks), weights),)

    def _transferred(self, before: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(T, N, m), and for each task but the first its weights (N, 2): before it, its own."""
        z, taken = [before[0]], []
        for transfer, own in zip(self.transfers, before[1:], strict=True):
            u = torch.stack([transfer(z[-1]), own], dim=1)  # (N, 2, m)
            scores = (self.key(u) * self.query(u)).sum(dim=-1) / math.sqrt(self.width)  # (N, 2)
            weights = torch.softmax(scores, dim=-1)
            taken.append(weights)
            z.append((weights.unsqueeze(-1) * self.value(u)).sum(dim=1))
        return torch.stack(z), taken

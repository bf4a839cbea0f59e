"""From a task's vector to its logit: all towers in training, one task's head in serving.

    (T, N, m) --Towers--> logits (N, T)
    Representation.tensors() --head of task t--> logit (N,)

Heads are frozen copies: they hold a task's own parameters and nothing of the backbone.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from training.mixer_mpt import MptMixer, fuse
from training.mlp import Layers, StackedMLP
from training.representation import join
from training.split import Split


class Towers(nn.Module):
    """T towers MLP(units) -> 1."""

    def __init__(self, tasks: int, width: int, units: Sequence[int]) -> None:
        super().__init__()
        self.stack = StackedMLP(tasks, width, Layers(units, out=1))

    def forward(self, vectors: Split) -> Tensor:
        """(N, T) logits of T stacked views, or of one view that every tower reads."""
        logits: Tensor = self.stack(vectors).squeeze(-1)  # (T, N)
        return logits.transpose(0, 1)

    def frozen_copy(self) -> Towers:
        """The same towers, apart from the model and never trained again."""
        return copy.deepcopy(self).requires_grad_(requires_grad=False).eval()


class TowerHead(nn.Module):
    """A task whose pre-tower vector is in the representation: its tower is all it needs."""

    def __init__(self, towers: Towers, task: int) -> None:
        super().__init__()
        self.task = task
        self.tower = towers.stack.only(task)

    def forward(
        self,
        h_user: Tensor | None,
        h_item: Tensor | None,
        row_user: Tensor,
        shared: Tensor,
        specific: Tensor,
    ) -> Tensor:
        """(N,) logits from specific (N, T, m); the other arguments are not read."""
        logits: Tensor = self.tower(Split.rows(specific[:, self.task]))  # (1, N, 1)
        return logits[0].squeeze(-1)


class MptHead(nn.Module):
    """An mpt task over the plain bottom: gate t on h, mask E_t, tower t."""

    def __init__(self, mixer: MptMixer, towers: Towers, task: int) -> None:
        super().__init__()
        self.task = task
        self.gate = mixer.gates.only(task)
        self.tower = towers.stack.only(task)
        self.mask: Tensor
        self.register_buffer("mask", mixer.task_embedding.detach()[task].clone())  # (m,)

    def forward(
        self,
        h_user: Tensor | None,
        h_item: Tensor | None,
        row_user: Tensor,
        shared: Tensor,
        specific: Tensor,
    ) -> Tensor:
        """(N,) logits. A part of h that has width 0 is None."""
        gates = torch.softmax(self.gate(join(h_user, h_item, row_user))[0], dim=-1)  # (N, 2)
        fused = fuse(gates, specific[:, self.task], self.mask, shared)  # (N, m)
        logits: Tensor = self.tower(Split.rows(fused))  # (1, N, 1)
        return logits[0].squeeze(-1)

"""MPT-Rec's mixer (arXiv 2408.17214): one shared and T specific experts, multiplied by task masks.

    x_s = MLP_s(base)   x_t = MLP_t(own_t)   g_t = softmax(W_t view_t)
    f_t = g_t0 (x_t * E_t) + g_t1 x_s

E_t are masks here and keys of the prompts later; prompts mix x_t without the mask.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.bottoms import Views
from training.mixer import Mixed, Mixer
from training.mlp import Layers, StackedMLP


class MptMixer(Mixer):
    """Gate index 0 weighs the specific expert, index 1 the shared one."""

    def __init__(self, tasks: int, in_width: int, experts: Layers, gate: Layers) -> None:
        super().__init__()
        self.width = experts.width
        self.shared_expert = StackedMLP(1, in_width, experts)
        self.specific_experts = StackedMLP(tasks, in_width, experts)
        self.gates = StackedMLP(tasks, in_width, gate, penalised=False)
        self.task_embedding = nn.Parameter(torch.randn(tasks, self.width))

    @property
    def keys(self) -> Tensor:
        return self.task_embedding

    def mix(self, views: Views) -> Mixed:
        shared, specific = self._experts(views)
        return Mixed(self._fused(views, shared, specific), shared)

    def represent(self, views: Views) -> tuple[Tensor, Tensor]:
        """x_s and the raw x_t; but f_t where the gates read more than h, which heads do not see."""
        shared, specific = self._experts(views)
        if not views.coincide:
            specific = self._fused(views, shared, specific)
        return shared, specific

    def expert_stacks(self) -> tuple[StackedMLP, ...]:
        return self.specific_experts, self.shared_expert

    def _experts(self, views: Views) -> tuple[Tensor, Tensor]:
        return self.shared_expert(views.base)[0], self.specific_experts(views.own)

    def _fused(self, views: Views, shared: Tensor, specific: Tensor) -> Tensor:
        gates = self.gates(views.gate).softmax(dim=-1)  # (T, N, 2)
        return fuse(gates, specific, self.task_embedding.unsqueeze(1), shared)


def fuse(gates: Tensor, specific: Tensor, mask: Tensor, shared: Tensor) -> Tensor:
    """g_0 (x * E) + g_1 x_s along the last axis; gates (.., 2), the others (.., m)."""
    return gates[..., :1] * (specific * mask) + gates[..., 1:] * shared

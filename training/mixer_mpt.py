"""MPT-Rec's mixer (arXiv 2408.17214): one shared and T specific experts, multiplied by task masks.

    x_s = MLP_s(base)   x_t = MLP_t(own_t)   g_t = softmax(W_t view_t)
    f_t = g_t0 (x_t * E_t) + g_t1 x_s

E_t are masks here and keys of the prompts later; prompts mix x_t without the mask.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from training.bottoms import Views
from training.mixer import Gate, Mixed, Mixer
from training.mlp import Layers, StackedMLP, evaluate
from training.split import Split


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
        shared, fused = self._fused(views)
        return Mixed(fused, shared)

    def represent(self, views: Views) -> tuple[Tensor, Tensor]:
        """x_s and the raw x_t; but f_t where the gates read more than h, which heads do not see."""
        if views.coincide:
            shared, specific = evaluate(self._experts(views))
            return shared.squeeze(0), specific
        return self._fused(views)

    def mean_gates(self, views: Views, tasks: Sequence[str]) -> tuple[Gate, ...]:
        found = torch.softmax(self.gates(views.gate), dim=-1).mean(dim=1)  # (T, 2)
        weights = torch.full((len(tasks), len(tasks)), torch.nan)
        weights.diagonal().copy_(found[:, 0])
        weights = torch.cat([weights, found[:, 1:].cpu()], dim=1)  # (T, T + 1)
        return (Gate("gates", tuple(tasks), (*tasks, "shared"), weights),)

    def expert_stacks(self) -> tuple[StackedMLP, ...]:
        return self.specific_experts, self.shared_expert

    def _fused(self, views: Views) -> tuple[Tensor, Tensor]:
        """x_s (N, m) and f_t (T, N, m)."""
        readers = [*self._experts(views), (self.gates, views.gate)]
        found, specific, gates = evaluate(readers)
        shared, weights = found.squeeze(0), torch.softmax(gates, dim=-1)  # (N, m), (T, N, 2)
        return shared, fuse(weights, specific, self.task_embedding.unsqueeze(1), shared)

    def _experts(self, views: Views) -> list[tuple[StackedMLP, Split]]:
        return [(self.shared_expert, views.base), (self.specific_experts, views.own)]


def fuse(gates: Tensor, specific: Tensor, mask: Tensor, shared: Tensor) -> Tensor:
    """g_0 (x * E) + g_1 x_s along the last axis; gates (.., 2), the others (.., m)."""
    return gates[..., :1] * (specific * mask) + gates[..., 1:] * shared

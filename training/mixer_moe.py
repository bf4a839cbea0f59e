"""Experts that belong to no task: Shared-Bottom, and mixtures under one gate or one gate per task.

    shared_bottom  o_t = MLP(view_t)
    omoe, mmoe     o_t = sum_e w_e f_e(view_t), w = softmax of one common gate, or of gate t
                   (Ma et al., KDD 2018)

Representation.shared is the plain mean of the experts on base.
"""

from __future__ import annotations

import torch
from torch import Tensor

from training.bottoms import Views
from training.mixer import Mixed, Mixer, mix_own, mix_pool
from training.mlp import Layers, StackedMLP
from training.split import unflatten


class SharedBottomMixer(Mixer):
    """One perceptron for all tasks."""

    def __init__(self, tasks: int, in_width: int, experts: Layers) -> None:
        super().__init__()
        self.tasks = tasks
        self.width = experts.width
        self.bottom = StackedMLP(1, in_width, experts)

    def mix(self, views: Views) -> Mixed:
        if views.coincide:
            shared = self.bottom(views.base)[0]  # (N, m)
            return Mixed(shared.expand(self.tasks, -1, -1), shared)
        rows = self.bottom(views.gate.unstacked())[0]  # (T * N, m)
        return Mixed(unflatten(rows, 0, self.tasks), None)

    def expert_stacks(self) -> tuple[StackedMLP, ...]:
        return (self.bottom,)

    def represent(self, views: Views) -> tuple[Tensor, Tensor]:
        mixed = self.mix(views)
        shared = self.bottom(views.base)[0] if mixed.shared is None else mixed.shared
        return shared, mixed.specific


class MixtureMixer(Mixer):
    """E experts under gates: one gate for all tasks (omoe) or one per task (mmoe)."""

    def __init__(
        self, tasks: int, in_width: int, experts: Layers, gate: Layers, *, gate_per_task: bool
    ) -> None:
        super().__init__()
        self.tasks = tasks
        self.width = experts.width
        self.experts = StackedMLP(gate.width, in_width, experts)
        gates = tasks if gate_per_task else 1
        self.gates = StackedMLP(gates, in_width, gate, penalised=False)

    def mix(self, views: Views) -> Mixed:
        if views.coincide:
            return Mixed(self._mix_once(views, self.experts(views.base)), None)
        rows = views.gate.unstacked()
        experts = unflatten(self.experts(rows), 1, self.tasks).transpose(0, 1)  # (T, E, N, m)
        weights = self._weights(views)  # (T, N, E)
        return Mixed(mix_own(weights, experts), None)

    def expert_stacks(self) -> tuple[StackedMLP, ...]:
        return (self.experts,)

    def represent(self, views: Views) -> tuple[Tensor, Tensor]:
        experts = self.experts(views.base)  # (E, N, m)
        if views.coincide:
            return experts.mean(dim=0), self._mix_once(views, experts)
        return experts.mean(dim=0), self.mix(views).specific

    def _mix_once(self, views: Views, experts: Tensor) -> Tensor:
        mixed = mix_pool(self._weights(views), experts)
        return mixed.expand(self.tasks, -1, -1)

    def _weights(self, views: Views) -> Tensor:
        """(T, N, E), or (1, N, E) where one gate reads one view."""
        if self.gates.groups == self.tasks:
            return torch.softmax(self.gates(views.gate), dim=-1)
        weights = self.gates(views.gate.unstacked())[0].softmax(dim=-1)  # (N or T * N, E)
        return unflatten(weights, 0, 1 if views.coincide else self.tasks)

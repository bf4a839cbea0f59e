"""Experts that belong to no task: Shared-Bottom, and mixtures under one gate or one gate per task.

    shared_bottom  o_t = MLP(view_t)
    omoe, mmoe     o_t = sum_e w_e f_e(view_t), w = softmax of one common gate, or of gate t
                   (Ma et al., KDD 2018)

Representation.shared is the plain mean of the experts on base.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from training.bottoms import Views
from training.mixer import Gate, Mixed, Mixer, mix_own, mix_pool
from training.mlp import Layers, StackedMLP, evaluate
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
            shared = self.bottom(views.base).squeeze(0)  # (N, m)
            return Mixed(shared.expand(self.tasks, -1, -1), shared)
        rows = self.bottom(views.gate.unstacked()).squeeze(0)  # (T * N, m)
        return Mixed(unflatten(rows, 0, self.tasks), None)

    def expert_stacks(self) -> tuple[StackedMLP, ...]:
        return (self.bottom,)

    def represent(self, views: Views) -> tuple[Tensor, Tensor]:
        mixed = self.mix(views)
        shared = self.bottom(views.base).squeeze(0) if mixed.shared is None else mixed.shared
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
            return Mixed(self._once(views)[0], None)
        experts = self.experts(views.gate.unstacked())  # (E, T * N, m)
        own = unflatten(experts, 1, self.tasks).transpose(0, 1)  # (T, E, N, m)
        return Mixed(mix_own(self._weights(views), own), None)

    def mean_gates(self, views: Views, tasks: Sequence[str]) -> tuple[Gate, ...]:
        weights = self._weights(views).mean(dim=1)  # (T, E) or (1, E)
        readers = tuple(tasks) if len(weights) == self.tasks else ("all tasks",)
        experts = tuple(f"expert {at + 1}" for at in range(self.experts.groups))
        return (Gate("gates", readers, experts, weights),)

    def expert_stacks(self) -> tuple[StackedMLP, ...]:
        return (self.experts,)

    def represent(self, views: Views) -> tuple[Tensor, Tensor]:
        if views.coincide:
            specific, experts = self._once(views)
            return experts.mean(dim=0), specific
        return self.experts(views.base).mean(dim=0), self.mix(views).specific

    def _weights(self, views: Views) -> Tensor:
        """(T, N, E), or (1, N, E) where one gate reads one view."""
        if self.gates.groups == self.tasks or views.coincide:
            gates = self.gates(views.gate)
        else:
            gates = unflatten(self.gates(views.gate.unstacked()).squeeze(0), 0, self.tasks)
        return torch.softmax(gates, dim=-1)

    def _once(self, views: Views) -> tuple[Tensor, Tensor]:
        """Where all tasks read one view: (T, N, m), and the experts (E, N, m)."""
        experts, gates = evaluate([(self.experts, views.base), (self.gates, views.gate)])
        mixed = mix_pool(torch.softmax(gates, dim=-1), experts)  # (T, N, m) or (1, N, m)
        return mixed.expand(self.tasks, -1, -1), experts

"""Experts of each task beside shared ones, in one or several layers.

    cgc, ple  o_t = mixture of task t's K experts and the S shared ones (Tang et al., RecSys 2020)
    aftb      o_t = mixture of all T * K + S experts, the other tasks' detached: all forward,
              task-specific backward (STEM-Net, arXiv 2308.13537)

Layer 0 reads the bottom's views. A later layer reads o_t for its own experts and, where layer 0
read base, the shared stream o_0 that was gated on base; its gates read o_t (aftb: o_t + o_0, the
form STEM-Net's gates have on embeddings). The last layer has no shared stream.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from training.bottoms import Views
from training.mixer import Mixed, Mixer, mix_own, mix_pool
from training.mlp import Layers, StackedMLP
from training.split import Split, unflatten


@dataclass(frozen=True, slots=True)
class LayerShape:
    """What all layers of one model have in common. gate.out is ignored: it follows from the sizes.

    stream names the experts that o_0 mixes; isolate detaches the specific ones in it.
    """

    tasks: int
    specific: int  # K
    shared: int  # S
    experts: Layers
    gate: Layers
    all_forward: bool  # aftb
    stream: Literal["all", "shared"]
    isolate: bool = False

    def gate_over(self, choices: int) -> Layers:
        """The gates' shape for a number of experts."""
        return Layers(self.gate.units, out=choices, bias=self.gate.bias)


@dataclass(frozen=True, slots=True)
class Evaluated:
    """Outputs of one layer's experts."""

    specific: Tensor  # (T, K, N, m)
    shared: Tensor  # (S, N, m)


class ExpertLayer(nn.Module):
    """One layer. Expert order in a mixture: specific ones task by task, then the shared ones."""

    def __init__(self, shape: LayerShape, in_width: int, *, last: bool) -> None:
        super().__init__()
        self.shape = shape
        t, k, s = shape.tasks, shape.specific, shape.shared
        self.specific = StackedMLP(t * k, in_width, shape.experts)
        self.shared = StackedMLP(s, in_width, shape.experts)
        own_gate = shape.gate_over((t * k if shape.all_forward else k) + s)
        self.gates = StackedMLP(t, in_width, own_gate, penalised=False)
        self.stream_gate: StackedMLP | None = None
        if not last:
            stream_gate = shape.gate_over((t * k if shape.stream == "all" else 0) + s)
            self.stream_gate = StackedMLP(1, in_width, stream_gate, penalised=False)

    def experts(self, views: Views) -> Evaluated:
        """All experts on their views."""
        specific = unflatten(self.specific(views.own), 0, self.shape.tasks)
        return Evaluated(specific, self.shared(views.base))

    def mix(self, views: Views, experts: Evaluated) -> Tensor:
        """o_t, (T, N, m)."""
        weights = torch.softmax(self.gates(views.gate), dim=-1)  # (T, N, X)
        if self.shape.all_forward:
            return self._mix_all(weights, experts)
        k = self.shape.specific
        own = mix_own(weights[..., :k], experts.specific)
        return own + mix_pool(weights[..., k:], experts.shared)

    def stream(self, views: Views, experts: Evaluated) -> Tensor:
        """o_0, (N, m); only layers that have a successor can be asked."""
        if self.stream_gate is None:
            raise ValueError("the last layer has no shared stream")
        weights = torch.softmax(self.stream_gate(views.base), dim=-1)  # (1, N, X)
        pool = experts.shared
        if self.shape.stream == "all":
            specific = experts.specific.detach() if self.shape.isolate else experts.specific
            pool = torch.cat([specific.flatten(0, 1), pool])  # (T * K + S, N, m)
        return mix_pool(weights, pool)[0]

    def _mix_all(self, weights: Tensor, experts: Evaluated) -> Tensor:
        specific = experts.specific
        pool = torch.cat([specific.detach().flatten(0, 1), experts.shared])
        mixed = mix_pool(weights, pool)
        if not specific.requires_grad:
            return mixed
        # Adds exactly zero to the value, and to task t's own experts the gradient of their share.
        t = self.shape.tasks
        foreign_too = unflatten(weights.detach()[..., : -self.shape.shared], -1, t)  # (T, N, T, K)
        own = foreign_too.diagonal(dim1=0, dim2=2).permute(2, 0, 1)  # (T, N, K)
        return mixed + mix_own(own, specific - specific.detach())


class LayeredMixer(Mixer):
    """One or more ExpertLayers.

    Args:
        shape: of every layer.
        in_width: of the bottom's views.
        layers: how many.
        by_expert: represent task t by the mean of its own experts instead of o_t.
    """

    def __init__(
        self, shape: LayerShape, in_width: int, layers: int, *, by_expert: bool = False
    ) -> None:
        super().__init__()
        self.width = shape.experts.width
        self.by_expert = by_expert
        self.layers = nn.ModuleList(
            ExpertLayer(shape, in_width if i == 0 else self.width, last=i == layers - 1)
            for i in range(layers)
        )

    def mix(self, views: Views) -> Mixed:
        layer, views = self._up_to_last(views)
        return Mixed(layer.mix(views, layer.experts(views)), None)

    def represent(self, views: Views) -> tuple[Tensor, Tensor]:
        """The mean of the last layer's shared experts, and o_t (or the mean of t's own experts)."""
        layer, views = self._up_to_last(views)
        experts = layer.experts(views)
        if self.by_expert:
            return experts.shared.mean(dim=0), experts.specific.mean(dim=1)
        return experts.shared.mean(dim=0), layer.mix(views, experts)

    def expert_stacks(self) -> tuple[StackedMLP, ...]:
        first, *later = self.layers
        if later or not isinstance(first, ExpertLayer):
            return super().expert_stacks()
        return first.specific, first.shared

    def _up_to_last(self, views: Views) -> tuple[ExpertLayer, Views]:
        """The last layer and the views it reads."""
        *earlier, last = (layer for layer in self.layers if isinstance(layer, ExpertLayer))
        for layer in earlier:
            experts = layer.experts(views)
            own, shared = layer.mix(views, experts), layer.stream(views, experts)
            gate = own + shared if layer.shape.all_forward else own  # (T, N, m)
            views = Views(Split.rows(own), Split.rows(gate), Split.rows(shared))
        return last, views

"""Experts of each task beside shared ones, in one or several layers.

    cgc, ple  o_t = mixture of task t's K experts and the S shared ones (Tang et al., RecSys 2020)
    aftb      o_t = mixture of all T * K + S experts, the other tasks' detached: all forward,
              task-specific backward (STEM-Net, arXiv 2308.13537)

Layer 0 reads the bottom's views. A later layer reads o_t for its own experts and, where layer 0
read base, the shared stream o_0 that was gated on base; its gates read o_t (aftb: o_t + o_0, the
form STEM-Net's gates have on embeddings). The last layer has no shared stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from training.bottoms import Views
from training.mixer import Gate, Mixed, Mixer, mix_own, mix_pool
from training.mlp import Layers, StackedMLP, evaluate
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
    """One layer's experts, and its gates' weights."""

    specific: Tensor  # (T, K, N, m)
    shared: Tensor  # (S, N, m)
    weights: Tensor  # (T, N, X)
    stream: Tensor | None  # (1, N, X), of layers that have a successor


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

    def evaluate(self, views: Views) -> Evaluated:
        """Experts and gates on their views."""
        readers = [(self.specific, views.own), (self.shared, views.base), (self.gates, views.gate)]
        if self.stream_gate is not None:
            readers.append((self.stream_gate, views.base))
        specific, shared, *gates = evaluate(readers)
        weights = [torch.softmax(gate, dim=-1) for gate in gates]
        stream = weights[1] if self.stream_gate is not None else None
        return Evaluated(unflatten(specific, 0, self.shape.tasks), shared, weights[0], stream)

    def mix(self, found: Evaluated) -> Tensor:
        """o_t, (T, N, m)."""
        if self.shape.all_forward:
            return self._mix_all(found)
        k = self.shape.specific
        own = mix_own(found.weights[..., :k], found.specific)
        return own + mix_pool(found.weights[..., k:], found.shared)

    def stream(self, found: Evaluated) -> Tensor:
        """o_0, (N, m); only layers that have a successor can be asked."""
        if found.stream is None:
            raise ValueError("the last layer has no shared stream")
        pool = found.shared
        if self.shape.stream == "all":
            specific = found.specific.detach() if self.shape.isolate else found.specific
            pool = torch.cat([specific.flatten(0, 1), pool])  # (T * K + S, N, m)
        return mix_pool(found.stream, pool).squeeze(0)

    def mean_gate(self, found: Evaluated, tasks: Sequence[str], name: str) -> Gate:
        """The layer's gates, and that of its shared stream, over all T * K + S experts."""
        t, k, s = self.shape.tasks, self.shape.specific, self.shape.shared
        mean = found.weights.mean(dim=1)  # (T, X)
        weights = mean
        if not self.shape.all_forward:
            own = mean.new_full((t, t, k), torch.nan)
            own[torch.arange(t), torch.arange(t)] = mean[:, :k]
            weights = torch.cat([own.flatten(1), mean[:, k:]], dim=1)
        readers = tuple(tasks)
        if found.stream is not None:
            stream = found.stream.mean(dim=1)  # (1, X)
            deaf = stream.new_full((1, t * k + s - stream.shape[1]), torch.nan)
            weights = torch.cat([weights, torch.cat([deaf, stream], dim=1)])
            readers = (*readers, "shared stream")
        experts = [_numbered(task, at, k) for task in tasks for at in range(k)]
        experts += [_numbered("shared", at, s) for at in range(s)]
        return Gate(name, readers, tuple(experts), weights)

    def _mix_all(self, found: Evaluated) -> Tensor:
        specific, weights = found.specific, found.weights
        pool = torch.cat([specific.detach().flatten(0, 1), found.shared])
        mixed = mix_pool(weights, pool)
        if not specific.requires_grad:
            return mixed
        # Adds exactly zero to the value, and to task t's own experts the gradient of their share.
        t = self.shape.tasks
        foreign_too = unflatten(weights.detach()[..., : -self.shape.shared], -1, t)  # (T, N, T, K)
        own = foreign_too.diagonal(dim1=0, dim2=2).permute(2, 0, 1)  # (T, N, K)
        return mixed + mix_own(own, specific - specific.detach())


def _numbered(name: str, at: int, of: int) -> str:
    return name if of == 1 else f"{name} {at + 1}"


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
        return Mixed(layer.mix(layer.evaluate(views)), None)

    def represent(self, views: Views) -> tuple[Tensor, Tensor]:
        """The mean of the last layer's shared experts, and o_t (or the mean of t's own experts)."""
        layer, views = self._up_to_last(views)
        found = layer.evaluate(views)
        specific = found.specific.mean(dim=1) if self.by_expert else layer.mix(found)
        return found.shared.mean(dim=0), specific

    def mean_gates(self, views: Views, tasks: Sequence[str]) -> tuple[Gate, ...]:
        gates = []
        for at, layer in enumerate(self._each_layer()):
            found = layer.evaluate(views)
            gates.append(layer.mean_gate(found, tasks, f"layer {at + 1}"))
            if found.stream is not None:
                views = _next_views(layer, found)
        return tuple(gates)

    def expert_stacks(self) -> tuple[StackedMLP, ...]:
        first, *later = self.layers
        if later or not isinstance(first, ExpertLayer):
            return super().expert_stacks()
        return first.specific, first.shared

    def _up_to_last(self, views: Views) -> tuple[ExpertLayer, Views]:
        """The last layer and the views it reads."""
        *earlier, last = self._each_layer()
        for layer in earlier:
            views = _next_views(layer, layer.evaluate(views))
        return last, views

    def _each_layer(self) -> list[ExpertLayer]:
        return [layer for layer in self.layers if isinstance(layer, ExpertLayer)]


def _next_views(layer: ExpertLayer, found: Evaluated) -> Views:
    """What the layer above reads."""
    mixed, stream = layer.mix(found), layer.stream(found)
    own = Split.rows(mixed)
    gate = Split.rows(mixed + stream) if layer.shape.all_forward else own
    return Views(own, gate, Split.rows(stream))

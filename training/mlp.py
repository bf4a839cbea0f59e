"""G perceptrons of one shape, held as stacked tensors and evaluated in batched products.

    Split --StackedMLP--> (G, N, o)

Experts, gates and towers are all of this form, so no model loops over tasks or experts.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.split import Split, unflatten

Init = Literal["torch", "xavier"]


@dataclass(frozen=True, slots=True)
class Layers:
    """The shape of a perceptron.

    A ReLU (and dropout) follows every unit; out, if given, is a last layer without activation.
    zero_last starts the last layer at zero, so that the whole gives zero until it has learned.
    """

    units: Sequence[int]
    out: int | None = None
    bias: bool = True
    dropout: Sequence[float] = ()
    zero_last: bool = False

    @property
    def width(self) -> int:
        """Width of what comes out."""
        return self.units[-1] if self.out is None else self.out


class StackedMLP(nn.Module):
    """G perceptrons with weights (G, out, in) and biases (G, out) per layer.

    Args:
        groups: G.
        in_width: D of the input; its columns stand as in Split, user part first.
        layers: units, output layer, bias, dropout.
        penalised: whether MPT-Rec's L2 reaches the weights (experts and towers, never gates).
    """

    def __init__(
        self, groups: int, in_width: int, layers: Layers, *, penalised: bool = True
    ) -> None:
        super().__init__()
        widths = [*layers.units] if layers.out is None else [*layers.units, layers.out]
        pairs = list(zip([in_width, *widths], widths, strict=False))
        self.groups = groups
        self.width = layers.width
        self.penalised = penalised
        self.activated = len(layers.units)
        self.dropout = tuple(layers.dropout)
        self.zero_last = layers.zero_last
        self.weights = nn.ParameterList(torch.empty(groups, o, i) for i, o in pairs)
        self.biases = nn.ParameterList(torch.empty(groups, o) for _, o in pairs if layers.bias)
        self.reset("torch")

    def reset(self, init: Init) -> None:
        """Draw new weights: PyTorch's Linear default, or Xavier-normal with zero biases."""
        for weight in self.weights:
            fan_out, fan_in = weight.shape[1:]
            if init == "xavier":
                nn.init.normal_(weight, std=math.sqrt(2.0 / (fan_in + fan_out)))
            else:
                nn.init.uniform_(weight, -1.0 / math.sqrt(fan_in), 1.0 / math.sqrt(fan_in))
        for bias, weight in zip(self.biases, self.weights, strict=False):
            bound = 0.0 if init == "xavier" else 1.0 / math.sqrt(weight.shape[2])
            nn.init.uniform_(bias, -bound, bound)
        if self.zero_last:
            nn.init.zeros_(self.weights[-1])
            for bias in self.biases[-1:]:
                nn.init.zeros_(bias)

    def forward(self, x: Split) -> Tensor:
        """(G, N, o): all groups on one view; or, of V stacked views, each by its G / V groups."""
        y = self._activate(self._first(x), 0)
        for layer in range(1, len(self.weights)):
            y = y @ self.weights[layer].mT  # (G, N, out)
            if self.biases:
                y = y + self.biases[layer].unsqueeze(1)
            y = self._activate(y, layer)
        return y

    def only(self, group: int) -> StackedMLP:
        """A frozen copy of one group, itself a stack of one."""
        alone = copy.deepcopy(self)
        alone.groups = 1
        for parameters in (alone.weights, alone.biases):
            for parameter in parameters:
                parameter.data = parameter.data[group : group + 1].clone()
                parameter.grad = None
        alone.requires_grad_(requires_grad=False)
        return alone.eval()

    def _first(self, x: Split) -> Tensor:
        """The first layer, all groups of a view in one product."""
        weight = self.weights[0]  # (G, o, D)
        bias = self.biases[0] if self.biases else None
        if not x.stacked:
            y = x.linear(weight.flatten(0, 1), None if bias is None else bias.flatten())
            return unflatten(y, -1, self.groups).transpose(0, 1)  # (N, G, o) -> (G, N, o)
        views = x.item.shape[0]
        per_view = unflatten(weight, 0, views).flatten(1, 2)  # (V, G/V * o, D)
        y = x.linear(per_view, None if bias is None else bias.reshape(views, -1))
        y = unflatten(y, -1, self.groups // views)  # (V, N, G/V, o)
        return y.transpose(1, 2).flatten(0, 1)

    def _activate(self, y: Tensor, layer: int) -> Tensor:
        if layer >= self.activated:
            return y
        y = torch.relu(y)
        if self.dropout:
            y = functional.dropout(y, self.dropout[layer], self.training)
        return y


def initialise(module: nn.Module, init: Init) -> None:
    """Re-draw every StackedMLP and plain Linear below a module.

    All other parameters stay, and so do subclasses of Linear, which start in a way of their own.
    """
    for part in module.modules():
        if isinstance(part, StackedMLP):
            part.reset(init)
        elif type(part) is nn.Linear:
            part.reset_parameters()
            if init == "xavier":
                nn.init.xavier_normal_(part.weight)
                if part.bias is not None:
                    nn.init.zeros_(part.bias)

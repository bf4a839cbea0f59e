"""G perceptrons of one shape, held as stacked tensors and evaluated in batched products.

    Split --StackedMLP--> (G, N, o)      several stacks, each on its view --evaluate--> the same

Experts, gates and towers are all of this form, so no model loops over tasks or experts.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.split import Split, affine, unflatten

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
        return evaluate([(self, x)])[0]

    def after_first(self, y: Tensor) -> Tensor:
        """(G, N, o) from the first layer's products (G, N, o_1)."""
        y = self._activate(y, 0)
        for layer in range(1, len(self.weights)):
            bias = self.biases[layer] if self.biases else None
            y = affine(y, self.weights[layer], bias)  # (G, N, out)
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

    def named(self, name: str) -> dict[str, Tensor]:
        """The only group's layers as a bank takes them, matrices as [in, out]."""
        tensors = {}
        for at, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            tensors[f"{name}.w{at}"] = weight[0].mT
            tensors[f"{name}.b{at}"] = bias[0]
        return tensors

    def _activate(self, y: Tensor, layer: int) -> Tensor:
        if layer >= self.activated:
            return y
        y = torch.relu(y)
        if self.dropout:
            y = functional.dropout(y, self.dropout[layer], self.training)
        return y


def evaluate(readers: Sequence[tuple[StackedMLP, Split]]) -> list[Tensor]:
    """Each stack on its view; the first layers of those that share a view are one product."""
    views = {id(view): view for _, view in readers}
    firsts: dict[int, Iterator[Tensor]] = {}
    for key, view in views.items():
        firsts[key] = iter(_first_layers([stack for stack, read in readers if read is view], view))
    return [stack.after_first(next(firsts[id(view)])) for stack, view in readers]


def _first_layers(stacks: Sequence[StackedMLP], x: Split) -> list[Tensor]:
    """Of each stack (G, N, o), before activation."""
    views = x.item.shape[0] if x.stacked else 1
    weights = [unflatten(s.weights[0], 0, views).flatten(1, 2) for s in stacks]  # (V, G/V * o, D)
    weight, bias = _side_by_side(weights), None
    if any(s.biases for s in stacks):
        biases = (
            s.biases[0] if s.biases else weight.new_zeros(s.weights[0].shape[:2]) for s in stacks
        )
        bias = _side_by_side([b.reshape(views, -1) for b in biases])
    if not x.stacked:
        weight, bias = weight.squeeze(0), None if bias is None else bias.squeeze(0)
    y = x.linear(weight, bias)  # (.., N, sum of widths)
    widths = [w.shape[1] for w in weights]
    products = [y] if len(stacks) == 1 else torch.split_with_sizes(y, widths, dim=-1)
    found = []
    for stack, product in zip(stacks, products, strict=True):
        if stack.groups == views:  # else an exported graph would copy each product to no end
            found.append(product if x.stacked else product.unsqueeze(0))
            continue
        groups = unflatten(product, -1, stack.groups // views).transpose(-3, -2)  # (.., G/V, N, o)
        found.append(groups.flatten(0, 1) if x.stacked else groups)
    return found


def _side_by_side(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), dim=1)


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

"""The learned modules as functions of one dict of named arrays, which is what a graph is.

    BackboneGraph     FeatureSchema.inputs()              -> h_user, h_item, shared, specific
    HeadGraph         representation                      -> score
    PromptHeadGraph   representation + prompt tensors (P) -> scores

A part of h that has no columns is neither an output nor an input.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from contract.schema import FeatureSchema, TensorSpec
from training.inputs import Inputs
from training.model import MultiTaskModel
from training.prompt import PromptHead
from training.prompt_bank import PromptBank

Arrays = dict[str, Tensor]


def inputs_of(schema: FeatureSchema, arrays: Arrays) -> Inputs:
    """Named arrays as a model's Inputs; the groups a schema lacks get width 0."""
    # shape, not len: a traced len is a constant.
    users = next((t.shape[0] for name, t in arrays.items() if name in _AT_USER), 1)
    rows = arrays["row_user"].shape[0]

    def group(name: str, size: int, dtype: torch.dtype) -> Tensor:
        found = arrays.get(name)
        return torch.zeros((size, 0), dtype=dtype) if found is None else found

    history = arrays.get("history")
    if history is None:
        history = torch.zeros((users, 0, 0, 0), dtype=torch.int32)
    return Inputs(
        user_ids=group("user_ids", users, torch.int32),
        user_dense=group("user_dense", users, torch.float32),
        user_bags=group("user_bags", users, torch.int32),
        history=history,
        item_ids=group("item_ids", rows, torch.int32),
        item_dense=group("item_dense", rows, torch.float32),
        item_bags=group("item_bags", rows, torch.int32),
        row_user=arrays["row_user"],
    )


def arrays_of(inputs: Inputs) -> dict[str, NDArray[Any]]:
    """The inverse: every group by its name, also those that a schema lacks."""
    return {field.name: getattr(inputs, field.name).numpy() for field in fields(inputs)}


_AT_USER = {"user_ids", "user_dense", "user_bags", "history"}


class BackboneGraph(nn.Module):
    """represent(), flattened to tensors."""

    def __init__(self, model: MultiTaskModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, arrays: Arrays) -> tuple[Tensor, ...]:
        representation = self.model.represent(inputs_of(self.model.schema, arrays))
        user, item, _, shared, specific = representation.tensors()
        return tuple(t for t in (user, item, shared, specific) if t is not None)


class HeadGraph(nn.Module):
    """One pre-trained task's probability, (N,)."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, arrays: Arrays) -> tuple[Tensor]:
        return (torch.sigmoid(self.head(*representation_of(arrays))),)


class PromptHeadGraph(nn.Module):
    """The probabilities of P prompts, (N, P)."""

    def __init__(self, bank: PromptBank, names: Sequence[str]) -> None:
        super().__init__()
        self.bank = bank
        self.names = tuple(names)

    def forward(self, arrays: Arrays) -> tuple[Tensor]:
        tensors = {name: arrays[name] for name in self.names}
        return (self.bank(*representation_of(arrays), tensors),)


def representation_of(
    arrays: Arrays,
) -> tuple[Tensor | None, Tensor | None, Tensor, Tensor, Tensor]:
    """h_user, h_item, row_user, shared, specific: what heads and the prompt bank take."""
    return (
        arrays.get("h_user"),
        arrays.get("h_item"),
        arrays["row_user"],
        arrays["shared"],
        arrays["specific"],
    )


def representation_specs(model: MultiTaskModel) -> tuple[TensorSpec, ...]:
    """The representation at a graph boundary."""
    shape = model.prompt_shape()
    specs = []
    if shape.user_width:
        specs.append(TensorSpec("h_user", "float32", ("U", shape.user_width)))
    if shape.item_width:
        specs.append(TensorSpec("h_item", "float32", ("N", shape.item_width)))
    specs.append(TensorSpec("shared", "float32", ("N", shape.width)))
    specs.append(TensorSpec("specific", "float32", ("N", shape.tasks, shape.width)))
    specs.append(TensorSpec("row_user", "int32", ("N",)))
    return tuple(specs)


def prompt_specs(head: PromptHead) -> tuple[TensorSpec, ...]:
    """One prompt's tensors, as any prompt of this backbone must bring them."""
    return tuple(
        TensorSpec(name, "float32", tuple(tensor.shape))
        for name, tensor in head.bank_tensors().items()
    )

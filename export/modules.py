"""The learned modules as functions of one dict of named arrays, which is what a graph is.

    BackboneGraph     FeatureSchema.inputs()              -> h_user, h_item, shared, specific,
                                                             item_values where prompts weigh them
    HeadGraph         representation                      -> score
    PromptFormGraph   prompt tensors (P)                  -> what the prompt head reads of them
    PromptHeadGraph   representation + prepared (P)       -> scores

A part of h that has no columns is neither an output nor an input. Where prompts condition a DTRN
backbone, events and known are outputs of the first and inputs of the last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from contract.schema import FeatureSchema, TensorSpec
from export.graph import example
from training.dtrn_bank import DtrnPromptBank
from training.dtrn_prompt import DtrnPrompt, dtrn_bottom
from training.inputs import Inputs
from training.model import MultiTaskModel
from training.prompt import PromptHead
from training.prompt_bank import PromptBank
from training.prompt_weights import ItemValues
from training.representation import Events, Representation, join

Arrays = dict[str, Tensor]
_HELD = "held."  # a prepared tensor may have the name of one that it was made of


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
    """represent(), flattened to tensors, and what else the prompts read: events, or item values."""

    def __init__(self, model: MultiTaskModel, prompt: PromptHead | DtrnPrompt) -> None:
        super().__init__()
        self.model = model
        self.with_events = isinstance(prompt, DtrnPrompt)
        self.values = _values(prompt)

    def forward(self, arrays: Arrays) -> tuple[Tensor, ...]:
        inputs = inputs_of(self.model.schema, arrays)
        representation = self.model.represent(inputs)
        user, item, _, shared, specific = representation.tensors()
        found = tuple(t for t in (user, item, shared, specific) if t is not None)
        if self.values is not None:
            return (*found, self.values(inputs.item_ids))
        events = representation.events if self.with_events else None
        return found if events is None else (*found, events.tokens, events.known)


class HeadGraph(nn.Module):
    """One pre-trained task's probability, (N,)."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, arrays: Arrays) -> tuple[Tensor]:
        return (torch.sigmoid(self.head(*representation_of(arrays))),)


class PromptFormGraph(nn.Module):
    """What of P prompts hangs on no row, computed once for each.

    Args:
        bank: of the prompt head.
        names: of what it prepares, in the order of the outputs.
    """

    def __init__(self, bank: PromptBank | DtrnPromptBank, names: Sequence[str]) -> None:
        super().__init__()
        self.bank = bank
        self.names = tuple(names)

    def forward(self, arrays: Arrays) -> tuple[Tensor, ...]:
        prepared = self.bank.prepared(arrays)
        # What is handed on as it is would have no name of its own.
        return tuple(prepared[name.removeprefix(_HELD)].clone() for name in self.names)


class PromptHeadGraph(nn.Module):
    """The probabilities of P prompts that were prepared, (N, P)."""

    def __init__(self, bank: PromptBank | DtrnPromptBank) -> None:
        super().__init__()
        self.bank = bank

    def forward(self, arrays: Arrays) -> tuple[Tensor]:
        h_user, h_item, row_user, shared, specific = representation_of(arrays)
        events = Events(arrays["events"], arrays["known"]) if "events" in arrays else None
        seen = Representation(join(h_user, h_item, row_user), shared, specific, None, events)
        bank = {name.removeprefix(_HELD): tensor for name, tensor in arrays.items()}
        return (self.bank.scores(seen, bank),)


def representation_of(
    arrays: Arrays,
) -> tuple[Tensor | None, Tensor | None, Tensor, Tensor, Tensor]:
    """h_user, h_item, row_user, shared, specific: what heads take."""
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


def prepared_specs(
    bank: PromptBank | DtrnPromptBank, stacked: Sequence[TensorSpec]
) -> tuple[TensorSpec, ...]:
    """What a bank prepares of P prompts, whose own tensors are stacked."""
    prepared = bank.prepared({spec.name: example(spec) for spec in stacked})
    return tuple(
        TensorSpec(_HELD + name, "float32", ("P", *tensor.shape[1:]))
        for name, tensor in prepared.items()
    )


def event_specs(model: MultiTaskModel) -> tuple[TensorSpec, ...]:
    """The events of a dtrn bottom at a graph boundary."""
    behaviours, width = len(model.schema.behaviours), dtrn_bottom(model).dtrn.width
    return (
        TensorSpec("events", "float32", ("U", behaviours, "L", width)),
        TensorSpec("known", "float32", ("U", behaviours, "L")),
    )


def value_specs(head: PromptHead | DtrnPrompt) -> tuple[TensorSpec, ...]:
    """The places of item values in the prompts' weights; none where these have no weights."""
    values = _values(head)
    return () if values is None else (TensorSpec("item_values", "int32", ("N", values.fields)),)


def _values(head: PromptHead | DtrnPrompt) -> ItemValues | None:
    if isinstance(head, DtrnPrompt) or head.item_weights is None:
        return None
    return head.item_weights.values


def prompt_specs(head: PromptHead | DtrnPrompt) -> tuple[TensorSpec, ...]:
    """One prompt's tensors, as any prompt of this backbone must bring them."""
    return tuple(
        TensorSpec(name, "float32", tuple(tensor.shape))
        for name, tensor in head.bank_tensors().items()
    )

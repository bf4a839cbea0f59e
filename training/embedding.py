"""One embedding table for all vocabularies, and the blocks of columns that it fills.

    ids, bags --FeatureEmbedding--> fields (U, Fu, w), (N, Fi, w), behaviours (U, M * A, w)

Columns of h stand in the order [dense, categorical and multivalued fields in schema order,
behaviours]; at the user/item split each part keeps that order (split_order gives the permutation).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.nn import functional

from contract.schema import PADDING, FeatureSchema, Place
from training.inputs import Inputs
from training.mlp import Init
from training.split import unflatten


class FeatureEmbedding(nn.Module):
    """The table (V, w) and its lookups; w is d, or d * (T + 1) for one chunk per task and shared.

    The padding row is zero and learns nothing.
    """

    def __init__(self, schema: FeatureSchema, width: int, init: Init) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.empty(schema.table_rows, width))
        nn.init.normal_(self.table, std=1.0 if init == "torch" else 1e-4)
        with torch.no_grad():
            self.table[PADDING] = 0.0
        self.user = PlaceFields.of(schema, "user")
        self.item = PlaceFields.of(schema, "item")

    def look_up(self, rows: Tensor) -> Tensor:
        """Embeddings of table rows: (...) -> (..., w)."""
        if torch.is_grad_enabled() and not self.table.is_cuda:
            found: Tensor = _LookUp.apply(self.table, rows)  # type: ignore[no-untyped-call]
            return found
        return functional.embedding(rows, self.table, padding_idx=PADDING)

    def user_fields(self, inputs: Inputs) -> Tensor:
        """Categorical and multivalued fields at U, in schema order: (U, Fu, w)."""
        return self._fields(self.user, inputs.user_ids, inputs.user_bags)

    def item_fields(self, inputs: Inputs) -> Tensor:
        """Categorical and multivalued fields at N, in schema order: (N, Fi, w)."""
        return self._fields(self.item, inputs.item_ids, inputs.item_bags)

    def behaviour_means(self, history: Tensor) -> Tensor:
        """Mean embedding of each attribute of each behaviour, (U, M * A, w); zeros if empty."""
        events = self.look_up(history).flatten(3)  # (U, M, L, A * w)
        known = known_events(history).to(events.dtype)
        share = known / known.sum(-1, keepdim=True).clamp(min=1.0)
        means = (share.unsqueeze(2) @ events).squeeze(2)  # (U, M, A * w)
        return unflatten(means, -1, history.shape[-1]).flatten(1, 2)

    def _fields(self, place: PlaceFields, ids: Tensor, bags: Tensor) -> Tensor:
        parts = [self.look_up(ids)] if place.categorical else []  # (R, Fc, w)
        start = 0
        for width in place.bag_widths:
            parts.append(self._bag_mean(bags[:, start : start + width]))
            start += width
        fields = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
        if place.in_order:
            return fields
        return torch.cat([fields[:, i : i + 1] for i in place.order], dim=1)

    def _bag_mean(self, bag: Tensor) -> Tensor:
        """(R, W) -> (R, 1, w): mean over what is not padding, zeros for an empty bag."""
        known = bag.ne(PADDING).to(self.table.dtype)  # (R, W)
        share = known / known.sum(-1, keepdim=True).clamp(min=1.0)
        return share.unsqueeze(1) @ self.look_up(bag)


def known_events(history: Tensor) -> Tensor:
    """Which of the places of a history (U, M, L, A) hold an event, (U, M, L) bool.

    An event counts if its first attribute, the item, is not padding.
    """
    return history[..., 0].ne(PADDING)


def behaviour_counts(history: Tensor, length: int) -> Tensor:
    """How many events of each behaviour are known, (U, M): log(1 + count) / log(1 + L); ours.

    A mean over events forgets how many they were.
    """
    count = known_events(history).sum(-1).to(torch.float32)
    return torch.log1p(count) / math.log1p(length)


class _LookUp(torch.autograd.Function):
    """functional.embedding with a gradient several times as fast on a processor.

    A table row's gradient is a sum over the places that looked it up: a bag, for which torch has a
    vectorised kernel, where embedding's own gradient adds place by place.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, table: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.table_rows = len(table)  # type: ignore[attr-defined]  # ctx takes what it is given
        return functional.embedding(rows, table)

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None]:
        (rows,) = ctx.saved_tensors  # type: ignore[attr-defined]
        flat = rows.flatten()
        count = torch.bincount(flat, minlength=ctx.table_rows)  # type: ignore[attr-defined]
        start = count.cumsum(0) - count
        places = torch.argsort(flat, stable=True)
        of_place = gradient.reshape(len(flat), gradient.shape[-1])
        of_row = functional.embedding_bag(places, of_place, start, mode="sum")
        of_row[PADDING] = 0.0
        return of_row, None


@dataclass(frozen=True, slots=True)
class PlaceFields:
    """What is looked up at one place, and how it is put in schema order."""

    categorical: int
    bag_widths: tuple[int, ...]
    order: tuple[int, ...]  # schema position -> position in [categorical, multivalued]

    @classmethod
    def of(cls, schema: FeatureSchema, place: Place) -> PlaceFields:
        """The looked-up fields of a place."""
        categorical, multivalued = schema.categorical(place), schema.multivalued(place)
        looked_up = [f.name for f in categorical] + [f.name for f in multivalued]
        position = {name: i for i, name in enumerate(looked_up)}
        order = tuple(position[f.name] for f in schema.at(place) if f.kind != "dense")
        return cls(len(categorical), tuple(f.max_values for f in multivalued), order)

    @property
    def count(self) -> int:
        """Number of fields."""
        return len(self.order)

    @property
    def in_order(self) -> bool:
        """Whether the lookups already stand in schema order."""
        return self.order == tuple(range(self.count))


def split_order(schema: FeatureSchema, d: int) -> list[int]:
    """For each column of [user part | item part], its column in the unsplit order of h."""
    pseudo = len(schema.behaviours) * len(schema.history_fields)
    names = [f.name for f in schema.fields if f.kind == "dense"]
    widths = dict.fromkeys(names, 1)
    widths |= {f.name: d for f in schema.fields if f.kind != "dense"}
    starts, start = {}, 0
    for name, width in widths.items():
        starts[name] = start
        start += width
    columns: list[int] = []
    places: tuple[Place, Place] = ("user", "item")
    for place in places:
        for wanted in (True, False):
            for field in schema.at(place):
                if (field.kind == "dense") is wanted:
                    columns += range(starts[field.name], starts[field.name] + widths[field.name])
        if place == "user":
            columns += range(start, start + pseudo * d)
    return columns

"""Published results of each model, as arrays: weights, inputs, outputs and gradients.

The files are read from TASKGRAFT_GOLDEN, else from tests/golden. Every size comes from a file's own
meta.json, so any set of the same form can be put there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from contract.schema import CategoricalField, DenseField, FeatureSchema, Side, VocabularySpec
from training.embedding import split_order
from training.inputs import Batch, Inputs
from training.mlp import StackedMLP

FOLDER = Path(os.environ.get("TASKGRAFT_GOLDEN", Path(__file__).parents[1] / "golden"))
Layout = str  # "rows": every field stands at N; "split": user and item fields alternate


@dataclass(frozen=True)
class Golden:
    """One file."""

    arrays: dict[str, npt.NDArray[Any]]
    meta: dict[str, Any]

    @property
    def model(self) -> str:
        return str(self.meta["model"])

    def tensor(self, key: str, dtype: torch.dtype = torch.float64) -> Tensor:
        return torch.from_numpy(np.asarray(self.arrays[key])).to(dtype)

    @property
    def tasks(self) -> list[str]:
        return [f"t{t}" for t in range(self.meta["T"])]

    @property
    def dead(self) -> set[str]:
        return {str(name) for name in self.arrays["meta.dead"] if name}

    def schema(self, layout: Layout) -> FeatureSchema:
        """The file's fields. Layout split lets every other field belong to the user."""
        sides: list[Side] = ["item", "item"] if layout == "rows" else ["user", "item"]
        dense = [
            DenseField(name=name, side=sides[i % 2], minimum=0.0, maximum=1.0)
            for i, name in enumerate(self.meta.get("dense", []))
        ]
        categorical = [
            CategoricalField(name=name, side=sides[i % 2], vocabulary=name)
            for i, name in enumerate(self.meta["fields"])
        ]
        vocabularies = tuple(
            VocabularySpec(name=name, type="int64", size=size)
            for name, size in zip(self.meta["fields"], self.meta["vocab"], strict=True)
        )
        return FeatureSchema(
            vocabularies=vocabularies,
            fields=(*categorical[:1], *dense, *categorical[1:]),
            user_id_type="int64",
            item_id_type="int64",
            user_id_field=None,
            item_id_field=None,
        )

    def batch(self, schema: FeatureSchema, dtype: torch.dtype) -> Batch:
        """The file's rows; users in reverse order, so a forgotten row_user shows."""
        ids = torch.from_numpy(self.arrays["x.ids"]).to(torch.int32)
        columns = {
            name: ids[:, i] + schema.offsets[name] for i, name in enumerate(self.meta["fields"])
        }
        for i, name in enumerate(self.meta.get("dense", [])):
            columns[name] = self.tensor("x.dense", dtype)[:, i]
        n = len(ids)

        def stack(fields: tuple[Any, ...], like: Tensor) -> Tensor:
            chosen = [columns[f.name] for f in fields]
            return torch.stack(chosen, dim=1) if chosen else like.new_empty((n, 0))

        some = torch.empty(0, dtype=dtype)
        bags = ids.new_empty((n, 0))
        inputs = Inputs(
            user_ids=stack(schema.categorical("user"), ids).flip(0),
            user_dense=stack(schema.dense("user"), some).flip(0),
            user_bags=bags,
            history=ids.new_empty((n, 0, 0, 0)),
            item_ids=stack(schema.categorical("item"), ids),
            item_dense=stack(schema.dense("item"), some),
            item_bags=bags,
            row_user=torch.arange(n - 1, -1, -1, dtype=torch.int32),
        )
        labels = self.tensor("y", dtype)
        mask = torch.ones_like(labels, dtype=torch.bool)
        return Batch(inputs, labels, mask, torch.arange(n))

    def groups(self, prefix: str) -> Iterator[str]:
        """Parameter names under a prefix, without 'param.'."""
        start = f"param.{prefix}"
        return (k[len("param.") :] for k in self.arrays if k.startswith(start))

    @property
    def gate_bias(self) -> bool:
        """Whether the published gates have biases."""
        return any(".gate." in f".{k}" and k.endswith(".b0") for k in self.groups(""))


def names_of(*, mpt: bool) -> list[str]:
    """The files there are: those of MPT-Rec, or the others."""
    return [p.stem for p in sorted(FOLDER.glob("*.npz")) if (load(p.stem).model == "mpt") is mpt]


@cache
def load(name: str) -> Golden:
    with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as z:
        arrays = {key: z[key] for key in z.files}
    return Golden(arrays, json.loads(str(arrays["meta.json"])))


@dataclass(frozen=True)
class Slot:
    """Where one published array lives in our model, and how its columns are permuted there."""

    parameter: Tensor
    index: tuple[Any, ...]
    columns: list[int] | None = None

    def write(self, value: Tensor) -> None:
        with torch.no_grad():
            self.parameter[self.index] = value if self.columns is None else value[:, self.columns]

    def read(self, whole: Tensor) -> Tensor:
        """The published array's counterpart in a tensor shaped as the parameter."""
        part = whole[self.index]
        if self.columns is None:
            return part
        back = torch.empty_like(part)
        back[:, self.columns] = part
        return back


def stack_slots(
    stack: StackedMLP, group: int, name: str, columns: list[int] | None = None
) -> dict[str, Slot]:
    """Slots of one perceptron; columns permute its first layer."""
    slots = {}
    for layer, weight in enumerate(stack.weights):
        order = columns if layer == 0 else None
        slots[f"{name}.w{layer}"] = Slot(weight, (group,), order)
    for layer, bias in enumerate(stack.biases):
        slots[f"{name}.b{layer}"] = Slot(bias, (group,))
    return slots


def table_slots(golden: Golden, schema: FeatureSchema, table: Tensor) -> dict[str, Slot]:
    """Slots of the embedding tables; the stem files have T + 1 per field, side by side in ours."""
    d, slots = golden.meta["d"], {}
    for name, size in zip(golden.meta["fields"], golden.meta["vocab"], strict=True):
        rows = slice(schema.offsets[name], schema.offsets[name] + size)
        if f"param.table.{name}" in golden.arrays:
            slots[f"table.{name}"] = Slot(table, (rows,))
            continue
        chunks = [*(str(t) for t in range(golden.meta["T"])), "shared"]
        for c, chunk in enumerate(chunks):
            columns = slice(c * d, (c + 1) * d)
            slots[f"table.{name}.{chunk}"] = Slot(table, (rows, columns))
    return slots


def fill(golden: Golden, table: Tensor, slots: dict[str, Slot], prefix: str = "param.") -> None:
    """Write the published weights; table rows nobody uses become zero."""
    with torch.no_grad():
        table.zero_()
    for name, slot in slots.items():
        slot.write(golden.tensor(prefix + name, slot.parameter.dtype))


def input_columns(golden: Golden, schema: FeatureSchema) -> list[int]:
    """How first layers' columns stand in our model."""
    return split_order(schema, golden.meta["d"])

"""The catalogue: every known item's model inputs, by raw item id.

    raw item ids --find--> rows --ids, dense, bags--> the item arrays of a call

One row more than there are items: the last one stands for an item the catalogue does not know. An
item that training never saw has the OOV embedding row for its id and still its own features.
Cross fields (user x item) come with a request only; their columns hold OOV, 0 and padding here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.arrays import open_array, write_array
from contract.errors import CorruptBundle
from contract.schema import FeatureSchema
from contract.vocabulary import Keys, as_keys, find_keys


class ItemTable:
    """Arrays of I + 1 rows, mapped read-only when opened from files.

    Attributes:
        ids: (I + 1, Fi) int32, embedding-table rows of the categorical item and cross fields.
        dense: (I + 1, Di) float32, scaled.
        bags: (I + 1, Wi) int32, padding 0.
    """

    def __init__(
        self,
        schema: FeatureSchema,
        keys: Keys,
        order: NDArray[np.int32],
        arrays: tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int32]],
    ) -> None:
        self._type = schema.item_id_type
        self._keys = keys  # (I,), sorted
        self._order = order  # (I,), row of each sorted key
        self.ids, self.dense, self.bags = arrays
        columns = [f.name for f in schema.categorical("item")]
        self._event_columns = np.array(
            [columns.index(name) for name in schema.history_fields], dtype=np.intp
        )

    def __len__(self) -> int:
        """I, the unknown row not counted."""
        return len(self._keys)

    @classmethod
    def build(
        cls,
        schema: FeatureSchema,
        raw_ids: Sequence[Any] | NDArray[Any],
        ids: NDArray[np.int32],
        dense: NDArray[np.float32],
        bags: NDArray[np.int32],
    ) -> ItemTable:
        """From one row per distinct raw id; the unknown row is added.

        Raises:
            ValueError: ids that repeat or are of another type, or arrays of another shape.
        """
        by_row = as_keys(raw_ids, schema.item_id_type)
        order = np.argsort(by_row, kind="stable").astype(np.int32)
        keys = by_row[order]
        if np.any(keys[1:] == keys[:-1]):
            raise ValueError("an item id stands twice in the item table")
        unknown = np.array(
            [[schema.oov_row(f.vocabulary) for f in schema.categorical("item")]], dtype=np.int32
        )
        full = (
            np.concatenate([ids.reshape(len(keys), unknown.shape[1]), unknown]),
            np.concatenate([dense, np.zeros((1, dense.shape[1]), dtype=np.float32)]),
            np.concatenate([bags, np.zeros((1, bags.shape[1]), dtype=np.int32)]),
        )
        _check_shapes(schema, len(keys), full)
        return cls(schema, keys, order, full)

    def find(self, raw_ids: Sequence[Any] | NDArray[Any]) -> NDArray[np.int32]:
        """Row of each raw id, len(self) for an unknown one; shape (len(raw_ids),).

        Raises:
            ValueError: an id of the wrong type.
        """
        return self.rows(self.keys(raw_ids))

    def keys(self, raw_ids: Sequence[Any] | NDArray[Any]) -> Keys:
        """Raw ids in the form that rows takes.

        Raises:
            ValueError: an id of the wrong type.
        """
        return as_keys(raw_ids, self._type)

    def rows(self, keys: Keys) -> NDArray[np.int32]:
        """Row of each key, len(self) for an unknown one; one search, however many they are."""
        at, known = find_keys(self._keys, keys)
        unknown = np.int32(len(self))
        if not len(self):
            return np.full(len(keys), unknown, dtype=np.int32)
        return np.where(known, self._order[at], unknown)

    def arrays(self, rows: NDArray[np.int32]) -> dict[str, NDArray[Any]]:
        """The item inputs of a call over these rows."""
        return {
            "item_ids": self.ids[rows],
            "item_dense": self.dense[rows],
            "item_bags": self.bags[rows],
        }

    def events(self, rows: NDArray[np.int32]) -> NDArray[np.int32]:
        """The A attributes of history events, (len(rows), A) embedding-table rows."""
        return self.ids[rows[:, None], self._event_columns]

    def save(self, folder: Path) -> None:
        for name in ("ids", "dense", "bags"):
            write_array(folder / f"items.{name}.npy", getattr(self, name))
        write_array(folder / "items.keys.npy", self._keys)
        write_array(folder / "items.order.npy", self._order)

    @classmethod
    def open(cls, folder: Path, schema: FeatureSchema) -> ItemTable:
        """Map a saved table.

        Raises:
            CorruptBundle: files missing, damaged, or not of this schema.
        """
        kind = "<i8" if schema.item_id_type == "int64" else "|S"
        keys = open_array(folder / "items.keys.npy", kind, 1)
        order = open_array(folder / "items.order.npy", "<i4", 1)
        arrays = (
            open_array(folder / "items.ids.npy", "<i4", 2),
            open_array(folder / "items.dense.npy", "<f4", 2),
            open_array(folder / "items.bags.npy", "<i4", 2),
        )
        try:
            _check_shapes(schema, len(keys), arrays)
        except ValueError as err:
            raise CorruptBundle(f"the item table does not fit the schema: {err}") from err
        return cls(schema, keys, order, arrays)


def _check_shapes(schema: FeatureSchema, items: int, arrays: tuple[NDArray[Any], ...]) -> None:
    expected = (
        (items + 1, len(schema.categorical("item"))),
        (items + 1, len(schema.dense("item"))),
        (items + 1, sum(f.max_values for f in schema.multivalued("item"))),
    )
    for name, array, shape in zip(("ids", "dense", "bags"), arrays, expected, strict=True):
        if array.shape != shape:
            raise ValueError(f"item {name} have shape {array.shape}, expected {shape}")

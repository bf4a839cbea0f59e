"""Schema, vocabularies and catalogue together: all that turns raw values into a model's inputs.

    prepare (training) --save--> lookups/ --copied by export--> bundle --open--> encoder (service)

The very same object encodes in training and in serving, so the two cannot drift apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from contract.errors import CorruptBundle
from contract.item_table import ItemTable
from contract.schema import DenseField, FeatureSchema
from contract.vocabulary import Vocabulary

SCHEMA_FILE = "schema.json"


class Lookups:
    """The fitted encoders of one schema."""

    def __init__(
        self, schema: FeatureSchema, vocabularies: Mapping[str, Vocabulary], items: ItemTable
    ) -> None:
        self.schema = schema
        self.vocabularies = dict(vocabularies)
        self.items = items

    def rows(self, vocabulary: str, values: Sequence[Any] | NDArray[Any]) -> NDArray[np.int32]:
        """Embedding-table rows of raw values, shape (len(values),); unknown values get the OOV row.

        Raises:
            ValueError: a value of the wrong type.
        """
        # Local id 1 stands on the vocabulary's first row.
        offset = np.int32(self.schema.offsets[vocabulary] - 1)
        return self.vocabularies[vocabulary].local(values) + offset

    def scale(self, field: DenseField, values: NDArray[np.float64]) -> NDArray[np.float32]:
        """Min-max scaled and clipped to [0, 1]; NaN (missing) gives 0."""
        span = field.maximum - field.minimum
        # Divided before subtracting, so that finite bounds and values can never overflow.
        scaled = np.clip(values / span - field.minimum / span, 0.0, 1.0)
        return np.nan_to_num(scaled, nan=0.0).astype(np.float32)

    def save(self, folder: Path) -> None:
        """Write schema.json, one pair of arrays per vocabulary, and the item table."""
        folder.mkdir(parents=True, exist_ok=True)
        text = self.schema.model_dump_json(indent=1)
        (folder / SCHEMA_FILE).write_text(text + "\n", encoding="utf-8")
        for vocabulary in self.vocabularies.values():
            vocabulary.save(folder)
        self.items.save(folder)

    @classmethod
    def open(cls, folder: Path) -> Lookups:
        """Map what save wrote.

        Raises:
            CorruptBundle: a file is missing, damaged, or contradicts the schema.
        """
        schema = read_schema(folder / SCHEMA_FILE)
        vocabularies = {v.name: Vocabulary.open(folder, v) for v in schema.vocabularies}
        return cls(schema, vocabularies, ItemTable.open(folder, schema))


def read_schema(path: Path) -> FeatureSchema:
    """Read schema.json.

    Raises:
        CorruptBundle: missing, not JSON, or not a schema.
    """
    try:
        return FeatureSchema.model_validate_json(path.read_bytes())
    except OSError as err:
        raise CorruptBundle(f"{path.name} is missing or unreadable: {err.strerror}") from err
    except ValidationError as err:
        first = err.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise CorruptBundle(f"{path.name} is no feature schema: {where}: {first['msg']}") from err

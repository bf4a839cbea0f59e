"""The feature schema: which fields exist, where they stand, and the arrays they become.

    raw values --Vocabulary, ItemTable--> arrays named by FeatureSchema.inputs() --> backbone.onnx

Letters, used in every signature of the project:

    B rows of a training batch     U users (requests)     N item rows
    d embedding width              T existing tasks       P prompts (grafted tasks)
    M behaviour types              L history length       A attributes of a history event
    m representation width         V rows of the embedding table, all vocabularies together

All vocabularies share one embedding table. Row 0 is padding for all of them; a vocabulary of n keys
owns n + 1 consecutive rows, by falling frequency in the training split, its last row standing for
every unknown (out-of-vocabulary, OOV) value.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Place = Literal["user", "item"]  # U or N
Side = Literal["user", "context", "item", "cross"]
RawType = Literal["int64", "string"]
Dtype = Literal["float32", "int32"]
# pydantic's patterns are Rust's: $ is the end of the text, never before a last newline.
Name = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$")]
TaskName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
PADDING = 0


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, dtype and shape of one array; a letter stands for a size that varies between calls."""

    name: str
    dtype: Dtype
    shape: tuple[int | str, ...]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class VocabularySpec(_Frozen):
    """One id space: the keys' raw type and how many there are (without padding and OOV)."""

    name: Name
    type: RawType
    size: int = Field(ge=0, lt=2**31 - 2)


class CategoricalField(_Frozen):
    """One id per user or row. Several fields may share a vocabulary, and so its embeddings."""

    kind: Literal["categorical"] = "categorical"
    name: Name
    side: Side
    vocabulary: Name


class MultiValuedField(_Frozen):
    """A bag of at most max_values ids; their embeddings are averaged, an empty bag gives zeros."""

    kind: Literal["multivalued"] = "multivalued"
    name: Name
    side: Side
    vocabulary: Name
    max_values: int = Field(ge=1, le=1024)


class DenseField(_Frozen):
    """A number, scaled to (value - minimum) / (maximum - minimum) and clipped to [0, 1].

    The bounds are those of the training split. A missing value counts as the minimum.
    """

    kind: Literal["dense"] = "dense"
    name: Name
    side: Side
    minimum: float = Field(allow_inf_nan=False)
    maximum: float = Field(allow_inf_nan=False)

    @model_validator(mode="after")
    def _ordered(self) -> DenseField:
        if not self.minimum < self.maximum:
            raise ValueError(
                f"field {self.name}: minimum {self.minimum} must be below maximum {self.maximum}"
            )
        return self


FeatureField = Annotated[
    CategoricalField | MultiValuedField | DenseField, Field(discriminator="kind")
]


class FeatureSchema(_Frozen):
    """All inputs of one model, fitted: vocabularies with sizes, dense fields with bounds.

    Args:
        vocabularies: in the order of their rows in the embedding table.
        fields: in the order of their columns.
        behaviours: names of the behaviour sequences (M of them), in the order of their axis.
        history_length: L, the longest history used; older events are cut.
        history_fields: the A item-side categorical fields that describe an event, item id first.
        user_id_type, item_id_type: the raw type of user and item ids in requests and events.
        user_id_field, item_id_field: the fields, if any, that those ids fill themselves.
    """

    vocabularies: tuple[VocabularySpec, ...]
    fields: tuple[FeatureField, ...] = Field(min_length=1)
    behaviours: tuple[Name, ...] = ()
    history_length: int = Field(default=0, ge=0, le=4096)
    history_fields: tuple[Name, ...] = ()
    user_id_type: RawType
    item_id_type: RawType
    user_id_field: Name | None
    item_id_field: Name | None

    @model_validator(mode="after")
    def _consistent(self) -> FeatureSchema:
        for what, names in (
            ("vocabulary", [v.name for v in self.vocabularies]),
            ("field", [f.name for f in self.fields]),
            ("behaviour", list(self.behaviours)),
        ):
            if len(set(names)) != len(names):
                raise ValueError(f"a {what} name stands twice: {sorted(names)}")
        types = {v.name: v.type for v in self.vocabularies}
        by_name = {f.name: f for f in self.fields}
        for field in self.fields:
            if field.kind != "dense" and field.vocabulary not in types:
                raise ValueError(f"field {field.name}: unknown vocabulary {field.vocabulary}")
        parts = {bool(self.behaviours), bool(self.history_fields), bool(self.history_length)}
        if len(parts) != 1:
            raise ValueError(
                "behaviours, history_fields and history_length go together: all or none"
            )
        for name in self.history_fields:
            source = by_name.get(name)
            if source is None or source.kind != "categorical" or source.side != "item":
                raise ValueError(
                    f"history field {name} must be a categorical field of the item side"
                )
        id_fields: tuple[tuple[str | None, Side, RawType], ...] = (
            (self.user_id_field, "user", self.user_id_type),
            (self.item_id_field, "item", self.item_id_type),
        )
        for id_name, side, raw in id_fields:
            if id_name is None:
                continue
            source = by_name.get(id_name)
            if source is None or source.kind != "categorical" or source.side != side:
                raise ValueError(f"{id_name} must be a categorical field of the {side} side")
            if types[source.vocabulary] != raw:
                raise ValueError(f"{id_name}: vocabulary {source.vocabulary} must hold {raw} keys")
        return self

    # --- the embedding table -------------------------------------------------------------------

    @cached_property
    def offsets(self) -> dict[str, int]:
        """First table row of each vocabulary."""
        offsets, row = {}, PADDING + 1
        for vocabulary in self.vocabularies:
            offsets[vocabulary.name] = row
            row += vocabulary.size + 1
        return offsets

    @property
    def table_rows(self) -> int:
        """V: padding, and each vocabulary's keys and OOV row."""
        return 1 + sum(v.size + 1 for v in self.vocabularies)

    def oov_row(self, vocabulary: str) -> int:
        """The table row of a vocabulary's unknown values."""
        size = next(v.size for v in self.vocabularies if v.name == vocabulary)
        return self.offsets[vocabulary] + size

    # --- fields by place ------------------------------------------------------------------------

    def at(self, place: Place) -> tuple[CategoricalField | MultiValuedField | DenseField, ...]:
        """Fields of a place: user and context fields stand at U, item and cross fields at N."""
        sides = ("user", "context") if place == "user" else ("item", "cross")
        return tuple(f for f in self.fields if f.side in sides)

    def categorical(self, place: Place) -> tuple[CategoricalField, ...]:
        """Categorical fields at a place: the columns of user_ids or item_ids."""
        return tuple(f for f in self.at(place) if f.kind == "categorical")

    def dense(self, place: Place) -> tuple[DenseField, ...]:
        """Dense fields at a place: the columns of user_dense or item_dense."""
        return tuple(f for f in self.at(place) if f.kind == "dense")

    def multivalued(self, place: Place) -> tuple[MultiValuedField, ...]:
        """Multi-valued fields at a place: side by side in user_bags or item_bags."""
        return tuple(f for f in self.at(place) if f.kind == "multivalued")

    def inputs(self) -> tuple[TensorSpec, ...]:
        """The arrays of a call, in the order of the graph's inputs; empty groups are left out.

        ids, bags and history hold table rows. Histories stand newest first, padding last.
        """
        specs: list[TensorSpec] = []
        places: tuple[tuple[Place, str], ...] = (("user", "U"), ("item", "N"))
        for place, axis in places:
            widths: tuple[tuple[str, Dtype, int], ...] = (
                ("ids", "int32", len(self.categorical(place))),
                ("dense", "float32", len(self.dense(place))),
                ("bags", "int32", sum(f.max_values for f in self.multivalued(place))),
            )
            specs += [
                TensorSpec(f"{place}_{part}", dtype, (axis, width))
                for part, dtype, width in widths
                if width
            ]
            if place == "user" and self.behaviours:
                shape = ("U", len(self.behaviours), "L", len(self.history_fields))
                specs.append(TensorSpec("history", "int32", shape))
        specs.append(TensorSpec("row_user", "int32", ("N",)))
        return tuple(specs)

    def digest(self) -> str:
        """sha256 of the canonical JSON form: equal for equal schemas."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

"""Raw field values as the arrays of one side: ids, dense, bags, by the encoders of the service.

frame with a column per field --encode--> Encoded, its rows in the same order
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from contract.lookups import Lookups
from contract.schema import (
    PADDING,
    CategoricalField,
    DenseField,
    FeatureSchema,
    MultiValuedField,
    Place,
)
from training.errors import DataError


@dataclass(frozen=True, slots=True)
class Encoded:
    """Arrays of n rows for the fields of one place, columns in the order of the schema."""

    ids: NDArray[np.int32]  # (n, F)
    dense: NDArray[np.float32]  # (n, D)
    bags: NDArray[np.int32]  # (n, W)


def encode(frame: pl.DataFrame, lookups: Lookups, place: Place) -> Encoded:
    """The arrays of a place from the fields that frame has; absent fields count as missing.

    A missing category is out of vocabulary, a missing number its minimum, a missing bag empty.
    """
    schema = lookups.schema
    encoded = blank(schema, place, len(frame))
    for at, categorical in enumerate(schema.categorical(place)):
        if categorical.name in frame.columns:
            encoded.ids[:, at] = _ids(frame.get_column(categorical.name), categorical, lookups)
    for at, dense in enumerate(schema.dense(place)):
        if dense.name in frame.columns:
            encoded.dense[:, at] = _scaled(frame.get_column(dense.name), dense, lookups)
    start = 0
    for multivalued in schema.multivalued(place):
        end = start + multivalued.max_values
        if multivalued.name in frame.columns:
            bag = _bag(frame.get_column(multivalued.name), multivalued, lookups)
            encoded.bags[:, start:end] = bag
        start = end
    return encoded


def blank(schema: FeatureSchema, place: Place, rows: int) -> Encoded:
    """Rows of which nothing is known."""
    unknown = [schema.oov_row(field.vocabulary) for field in schema.categorical(place)]
    width = sum(field.max_values for field in schema.multivalued(place))
    return Encoded(
        np.tile(np.array(unknown, dtype=np.int32), (rows, 1)),
        np.zeros((rows, len(schema.dense(place))), dtype=np.float32),
        np.full((rows, width), PADDING, dtype=np.int32),
    )


def raw_keys(values: pl.Series) -> Sequence[str] | NDArray[np.int64]:
    """A column without nulls as the encoders take it."""
    return values.to_list() if values.dtype == pl.String else values.to_numpy()


def _ids(values: pl.Series, field: CategoricalField, lookups: Lookups) -> NDArray[np.int32]:
    return _rows(values, field.vocabulary, lookups)


def _rows(values: pl.Series, vocabulary: str, lookups: Lookups) -> NDArray[np.int32]:
    # Each distinct value is looked up once; a column of strings is never a column of objects.
    distinct = values.drop_nulls().unique()
    unknown = lookups.schema.oov_row(vocabulary)
    if not len(distinct):
        return np.full(len(values), unknown, dtype=np.int32)
    try:
        found = lookups.rows(vocabulary, raw_keys(distinct))
    except ValueError as err:
        raise DataError(f"vocabulary {vocabulary}: {err}") from err
    rows = values.replace_strict(distinct, pl.Series(found), default=unknown, return_dtype=pl.Int32)
    return rows.to_numpy()


def _scaled(values: pl.Series, field: DenseField, lookups: Lookups) -> NDArray[np.float32]:
    return lookups.scale(field, values.cast(pl.Float64).fill_null(float("nan")).to_numpy())


def _bag(values: pl.Series, field: MultiValuedField, lookups: Lookups) -> NDArray[np.int32]:
    lengths = values.list.len().fill_null(0).to_numpy().astype(np.int64)
    flat = values.filter(values.list.len() > 0).explode(empty_as_null=False)
    bag = np.full((len(values), field.max_values), PADDING, dtype=np.int32)
    if len(flat):
        row = np.repeat(np.arange(len(values)), lengths)
        starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
        bag[row, np.arange(len(flat)) - starts] = _rows(flat, field.vocabulary, lookups)
    return bag


def columns_of(
    schema: FeatureSchema, place: Place, names: Sequence[str]
) -> tuple[list[int], list[int], list[int]]:
    """The columns of ids, dense and bags that the fields of these names fill."""
    ids = [at for at, field in enumerate(schema.categorical(place)) if field.name in names]
    dense = [at for at, field in enumerate(schema.dense(place)) if field.name in names]
    bags: list[int] = []
    start = 0
    for field in schema.multivalued(place):
        if field.name in names:
            bags += range(start, start + field.max_values)
        start += field.max_values
    return ids, dense, bags

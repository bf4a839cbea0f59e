"""Fitting the encoders on the training split alone.

pieces of a log + which rows train --fit--> vocabularies by falling frequency, dense bounds
configuration + Fitted --feature_schema--> FeatureSchema

Each user and item counts as often as it stands in the training rows, as if its attributes stood
there too. Nothing of validation and test is looked at: their news are out of vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import ValidationError

from contract.schema import (
    CategoricalField,
    DenseField,
    FeatureField,
    FeatureSchema,
    MultiValuedField,
    RawType,
    VocabularySpec,
)
from contract.vocabulary import MAX_KEY_BYTES, Vocabulary
from training.config import TrainConfig
from training.data_config import FeatureConfig
from training.errors import ConfigError, DataError
from training.log import ITEM_ROW, USER_ROW, Log
from training.partition import TRAIN, Parts

Bounds = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Fitted:
    """What the training split says: vocabularies by name, (minimum, maximum) by dense field."""

    vocabularies: Mapping[str, Vocabulary]
    bounds: Mapping[str, Bounds]


def fit_encoders(config: TrainConfig, pieces: Iterable[tuple[Log, Parts]]) -> Fitted:
    """Count keys and measure bounds over the training rows.

    Args:
        config: says which fields there are.
        pieces: the log, whole or file by file, and the part of each row.

    Raises:
        ConfigError: fields that share a vocabulary but not its type.
        DataError: keys no vocabulary can hold.
    """
    counted: dict[str, pl.DataFrame] = {}
    extremes: dict[str, list[float]] = {}
    for log, parts in pieces:
        for feature in config.features:
            values, weights = _training_values(feature, log, parts == TRAIN)
            if feature.kind == "dense":
                known = values.filter(pl.Series(weights > 0)).drop_nulls().to_numpy()
                ends = [float(known.min()), float(known.max())] if len(known) else []
                extremes.setdefault(feature.name, []).extend(ends)
            else:
                counts = _count(values, weights)
                counted[feature.name] = _sum([counted.get(feature.name, counts.clear()), counts])
    vocabularies = {}
    for name in dict.fromkeys(f.id_space for f in config.features if f.kind != "dense"):
        sharing = [f for f in config.features if f.kind != "dense" and f.id_space == name]
        vocabularies[name] = _vocabulary(name, sharing, [counted[f.name] for f in sharing])
    return Fitted(vocabularies, {name: _bounds(ends) for name, ends in extremes.items()})


def _training_values(
    feature: FeatureConfig, log: Log, train: NDArray[np.bool_]
) -> tuple[pl.Series, NDArray[np.int64]]:
    """A field's values where they stand, and how many training rows each is for."""
    for frame, pointer in ((log.users, USER_ROW), (log.items, ITEM_ROW)):
        if feature.name in frame.columns:
            rows = log.rows.get_column(pointer).to_numpy()[train]
            return frame.get_column(feature.name), np.bincount(rows, minlength=len(frame))
    return log.rows.get_column(feature.name), train.astype(np.int64)


def _count(values: pl.Series, weights: NDArray[np.int64]) -> pl.DataFrame:
    frame = pl.DataFrame({"key": values, "count": weights}).filter(pl.col("count") > 0)
    if isinstance(values.dtype, pl.List):
        frame = frame.filter(pl.col("key").list.len() > 0).explode("key", empty_as_null=False)
    return _sum([frame.drop_nulls()])


def _sum(counts: list[pl.DataFrame]) -> pl.DataFrame:
    return pl.concat(counts).group_by("key").agg(pl.col("count").sum())


def _vocabulary(name: str, sharing: list[FeatureConfig], counts: list[pl.DataFrame]) -> Vocabulary:
    types = {feature.type for feature in sharing}
    if len(types) > 1:
        names = ", ".join(feature.name for feature in sharing)
        raise ConfigError(f"vocabulary {name}: {names} must have one type, not {sorted(types)}")
    raw_type: RawType = types.pop()
    least = max(feature.min_count for feature in sharing)
    kept = (
        _sum(counts).filter(pl.col("count") >= least).sort("count", "key", descending=[True, False])
    )
    keys = kept.get_column("key")
    spec = VocabularySpec(name=name, type=raw_type, size=len(keys))
    try:
        return Vocabulary.build(spec, keys.to_list())
    except ValueError as err:
        raise DataError(f"{err}; keys longer than {MAX_KEY_BYTES} bytes must be cut") from err


def _bounds(ends: list[float]) -> Bounds:
    if not ends:
        return 0.0, 1.0
    low, high = min(ends), max(ends)
    # A constant column carries nothing; any width makes it 0.
    return (low, high) if low < high else (low, low + max(1.0, abs(low)))


def feature_schema(
    config: TrainConfig,
    id_types: tuple[RawType, RawType],
    vocabularies: Mapping[str, VocabularySpec],
    bounds: Mapping[str, Bounds],
) -> FeatureSchema:
    """The schema of a configuration once the sizes and bounds are known.

    Args:
        config: fields in the order of their columns.
        id_types: raw types of user and item ids.
        vocabularies: by name; those the configuration does not use are left out.
        bounds: by dense field.

    Raises:
        ConfigError: fields, behaviours or history fields that do not fit together.
    """
    history = config.history
    used = dict.fromkeys(f.id_space for f in config.features if f.kind != "dense")
    try:
        return FeatureSchema(
            vocabularies=tuple(vocabularies[name] for name in used),
            fields=tuple(_field(feature, bounds) for feature in config.features),
            behaviours=tuple(b.name for b in history.behaviours) if history else (),
            history_length=history.length if history else 0,
            history_fields=history.fields if history else (),
            user_id_type=id_types[0],
            item_id_type=id_types[1],
            user_id_field=_id_field(config, "user", config.data.user_id),
            item_id_field=_id_field(config, "item", config.data.item_id),
        )
    except ValidationError as err:
        raise ConfigError(f"the features do not make a schema: {err.errors()[0]['msg']}") from err


def _field(feature: FeatureConfig, bounds: Mapping[str, Bounds]) -> FeatureField:
    match feature.kind:
        case "categorical":
            return CategoricalField(
                name=feature.name, side=feature.side, vocabulary=feature.id_space
            )
        case "multivalued":
            return MultiValuedField(
                name=feature.name,
                side=feature.side,
                vocabulary=feature.id_space,
                max_values=feature.max_values,
            )
        case "dense":
            low, high = bounds[feature.name]
            return DenseField(name=feature.name, side=feature.side, minimum=low, maximum=high)


def _id_field(config: TrainConfig, side: str, column: str | None) -> str | None:
    of_side = (f for f in config.features if f.side == side and f.kind == "categorical")
    return next((f.name for f in of_side if column is not None and f.source == column), None)

"""Which rows train, which choose, which judge.

Log.rows + SplitConfig --partition--> one of TRAIN, VALID, TEST per row

An empty part is a DataError. Rows of one time (and user) never come apart, but by column or random.
"""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from training.data_config import DataConfig, SplitConfig
from training.errors import ConfigError, DataError
from training.log import MICROSECONDS, PART, TIME, USER

TRAIN, VALID, TEST = 0, 1, 2
PARTS = ("train", "valid", "test")
Parts = NDArray[np.int8]  # (R,)


def partition(rows: pl.DataFrame, split: SplitConfig, data: DataConfig) -> Parts:
    """The part of each row of a whole log, shape (R,).

    Raises:
        DataError: a part without rows, or a split column with other words than PARTS.
    """
    parts = parts_of(rows, split, data)
    check_parts(np.bincount(parts, minlength=len(PARTS)), split)
    return parts


def parts_of(rows: pl.DataFrame, split: SplitConfig, data: DataConfig) -> Parts:
    """The part of each row, shape (R,); by boundaries or column, any rows of a log will do.

    Raises:
        DataError: a split column with other words than PARTS.
    """
    parts: Parts
    match split.by:
        case "time":
            place = rows.get_column(TIME).rank("min").to_numpy() - 1
            parts = _cut(place / len(rows), split)
        case "user_time":
            # Rows earlier than this one, as a share of the user's rows.
            share = (pl.col(TIME).rank("min").over(USER) - 1) / pl.len().over(USER)
            parts = _cut(rows.select(share.alias("share")).get_column("share").to_numpy(), split)
        case "boundaries":
            times = rows.get_column(TIME).to_numpy()
            starts = (split.valid_from, split.test_from)
            parts = np.zeros(len(rows), dtype=np.int8)
            for start in starts:
                parts += times >= _microseconds(start, data)
        case "column":
            parts = _named(rows.get_column(PART), split)
        case "random":
            place = np.random.default_rng(split.seed).permutation(len(rows))
            parts = _cut(place / len(rows), split)
    return parts


def check_parts(counts: NDArray[np.int64], split: SplitConfig) -> None:
    """Refuse a part without rows, by DataError; counts has the rows of each part."""
    for name, count in zip(PARTS, counts, strict=True):
        if not count:
            raise DataError(
                f"the {name} split is empty (split by {split.by}, {counts.sum()} rows in all); "
                "change the [split] section"
            )


def _cut(share: NDArray[np.float64], split: SplitConfig) -> Parts:
    first_test = 1.0 - split.test
    # Rounded: 8 of 10 rows are 0.8 of them, whatever 1 - 0.1 - 0.1 is in binary.
    bounds = np.round([first_test - split.valid, first_test], 9)
    return np.searchsorted(bounds, np.round(share, 9), side="right").astype(np.int8)


def _named(column: pl.Series, split: SplitConfig) -> Parts:
    unknown = column.filter(~column.is_in(PARTS) | column.is_null())
    if len(unknown):
        raise DataError(
            f"split.column {split.column} holds {unknown[0]!r}; expected one of {', '.join(PARTS)}"
        )
    codes = column.replace_strict(PARTS, (TRAIN, VALID, TEST), return_dtype=pl.Int8)
    return codes.to_numpy()


def _microseconds(start: float | datetime | None, data: DataConfig) -> int:
    if isinstance(start, datetime):
        aware = start if start.tzinfo is not None else start.replace(tzinfo=UTC)
        return round(aware.timestamp() * 1_000_000)
    if start is None:
        raise ConfigError("split.valid_from and split.test_from must both be set")
    return round(start * MICROSECONDS[data.time_unit])

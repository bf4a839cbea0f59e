"""Files and columns: Parquet or CSV shards in, lazily evaluated typed columns out.

pattern --scan--> LazyFrame --derive, expression, typed--> columns of a known type

Whatever the files lack or cannot be read as is a DataError that names file, column and way out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from contract.schema import RawType
from training.data_config import FeatureConfig
from training.errors import DataError

POLARS_TYPES: dict[RawType, pl.DataType] = {"int64": pl.Int64(), "string": pl.String()}
_SHOWN_COLUMNS = 40


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Turn a Polars failure into a DataError about *what*."""
    try:
        yield
    except pl.exceptions.PolarsError as err:
        first_line = str(err).strip().splitlines()[0]
        raise DataError(f"{what}: {first_line}") from err


def scan(folder: Path, pattern: str, header: tuple[str, ...] = ()) -> pl.LazyFrame:
    """Open the shards of one table without reading them.

    Args:
        folder: what pattern is relative to.
        pattern: a file name or a glob; .parquet, .csv or .tsv, the latter two also with .gz.
        header: the columns of CSV files that have no header line.

    Raises:
        DataError: no such file, an unknown or mixed format, or an unreadable file.
    """
    files = shards(folder, pattern)
    formats = {_format(file) for file in files}
    if len(formats) > 1:
        raise DataError(f"{pattern} matches files of several formats: {sorted(formats)}; use one")
    kind = formats.pop()
    with reading(f"cannot read {pattern}"):
        if kind == "parquet":
            frame = pl.scan_parquet(files)
        else:
            frame = pl.scan_csv(
                files,
                separator="\t" if kind == "tsv" else ",",
                has_header=not header,
                new_columns=list(header) or None,
                infer_schema_length=None,
            )
        frame.collect_schema()
    return frame


def shards(folder: Path, pattern: str) -> list[Path]:
    """The files of one table, in the order of their names.

    Raises:
        DataError: none.
    """
    files = sorted(folder.glob(pattern)) if any(c in pattern for c in "*?[") else [folder / pattern]
    if not files or not files[0].is_file():
        raise DataError(
            f"no file matches {pattern} in {folder}: give the folder that holds the data"
        )
    return files


def _format(file: Path) -> str:
    kind = file.name.removesuffix(".gz").rpartition(".")[2].lower()
    if kind not in ("parquet", "csv", "tsv"):
        raise DataError(f"{file.name}: expected a .parquet, .csv or .tsv file (or .gz of the last)")
    return kind


def derive(frame: pl.LazyFrame, derived: Mapping[str, str], what: str) -> pl.LazyFrame:
    """Add columns by SQL expressions, each of which may use the ones before it.

    Raises:
        DataError: an expression that cannot be read, or names an absent column.
    """
    for name, sql in derived.items():
        frame = frame.with_columns(expression(frame, sql, f"{what}: derive.{name}").alias(name))
    return frame


def expression(frame: pl.LazyFrame, sql: str, what: str) -> pl.Expr:
    """A Polars SQL expression over the columns of frame.

    Raises:
        DataError: it cannot be read, names an absent column, or does not fit the columns' types.
    """
    with reading(f"{what}: cannot evaluate {sql!r}"):
        parsed = pl.sql_expr(sql)
        for column in parsed.meta.root_names():
            require(frame, column, what)
        frame.select(parsed).collect_schema()
    return parsed


def require(frame: pl.LazyFrame, column: str, what: str) -> pl.DataType:
    """The type of a column that must be there.

    Raises:
        DataError: it is not; the message lists those that are.
    """
    schema = frame.collect_schema()
    if column not in schema:
        names = schema.names()
        rest = f" and {len(names) - _SHOWN_COLUMNS} more" if len(names) > _SHOWN_COLUMNS else ""
        raise DataError(
            f"{what}: no column {column!r}; there are {', '.join(names[:_SHOWN_COLUMNS])}{rest}"
        )
    return schema[column]


def typed(frame: pl.LazyFrame, feature: FeatureConfig) -> pl.Expr:
    """A feature's raw values in its own type, named by the field; what is missing is null.

    Raises:
        DataError: no such column, or a multivalued one that is neither list nor to be cut.
    """
    what = f"feature {feature.name}"
    dtype = require(frame, feature.source, what)
    column = pl.col(feature.source)
    if feature.kind == "dense":
        number = column.cast(pl.Float64)
        return pl.when(number.is_finite()).then(number).alias(feature.name)
    raw_type = POLARS_TYPES[feature.type]
    if feature.kind == "categorical":
        return column.cast(raw_type).alias(feature.name)
    if feature.separator is not None:
        column = column.cast(pl.String).str.split(feature.separator)
        column = column.list.eval(pl.element().filter(pl.element() != ""))
    elif not isinstance(dtype, pl.List):
        raise DataError(
            f"{what}: column {feature.source} holds {dtype}, expected a list column; "
            "set separator to cut strings"
        )
    values = column.list.drop_nulls().list.head(feature.max_values)
    return values.cast(pl.List(raw_type)).alias(feature.name)

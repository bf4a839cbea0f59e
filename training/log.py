"""The log and its side tables as frames of typed columns.

configuration + files --read_log--> Log: rows (in order of time), users, items, prior

What read_log does at once, training/shards.py does file by file: Sources.read gives rows, Seen
gathers their users and items, Sources.log puts rows, users and items together.

Every SQL expression is evaluated here. Columns that are not features carry a mark that no field
name can have: "@..." for keys and times, "label:..." for tasks, "behaviour:..." for sequences.
A missing column, an impossible type or an empty log is a DataError.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import polars as pl

from contract.schema import RawType
from training.config import TaskConfig, TrainConfig
from training.data_config import DataConfig, FeatureConfig
from training.errors import DataError
from training.tables import POLARS_TYPES, derive, expression, reading, require, scan, typed

USER, ITEM, TIME, PART = "@user", "@item", "@time_us", "@part"
USER_ROW, ITEM_ROW = "@user_row", "@item_row"
MICROSECONDS = {"s": 1_000_000, "ms": 1_000, "us": 1}


def label_column(task: str) -> str:
    return f"label:{task}"


def behaviour_column(behaviour: str) -> str:
    return f"behaviour:{behaviour}"


@dataclass(frozen=True, slots=True)
class Log:
    """All that was read. A field stands in exactly one of rows, users and items.

    Attributes:
        rows: a row per impression, in order of time where there is one; @time_us counts
            microseconds, @user_row and @item_row are row numbers of users and items.
        users: a row per user of log, side table or prior, by @user; without the fields that vary
            from row to row. Empty without data.user_id.
        items: likewise by @item: the catalogue.
        prior: @user, and per behaviour a list of @item values, newest last; None without one.
    """

    rows: pl.DataFrame
    users: pl.DataFrame
    items: pl.DataFrame
    prior: pl.DataFrame | None
    user_type: RawType
    item_type: RawType

    def take(self, rows: list[int]) -> pl.DataFrame:
        """Some of the rows, by number."""
        return self.rows[rows]

    def latest(self, fields: list[str]) -> pl.DataFrame:
        """@user and some fields of the rows, as each user's last row has them."""
        return self.rows.group_by(USER).agg(pl.col(fields).last())


@dataclass(frozen=True, slots=True)
class _Entity:
    """Users or items: the key, and where their fields are found."""

    mark: str  # USER or ITEM
    column: str | None = None  # the key in the log
    raw_type: RawType = "int64"
    id_fields: tuple[str, ...] = ()  # equal to the key
    table: pl.DataFrame | None = None  # mark and the fields of the side table
    gathered: tuple[FeatureConfig, ...] = ()  # constant per key, yet only the log has them

    @property
    def fields(self) -> set[str]:
        """The fields that need no column of the log's rows."""
        found = self.table.columns if self.table is not None else ()
        return {*self.id_fields, *found}


def read_log(config: TrainConfig, folder: Path) -> Log:
    """Read everything a configuration names.

    Raises:
        DataError: a file, column or type that is not as the configuration says, or no rows.
    """
    log = clean(config.data, scan(folder, config.data.log, config.data.columns))
    sources = Sources.open(config, folder, log)
    rows = sources.read(log)
    check_rows(len(rows))
    seen = Seen(sources)
    seen.add(rows)
    return sources.log(rows, seen.users(), seen.items())


@dataclass(frozen=True, slots=True)
class Sources:
    """What rows of a log are read with: the configuration, and the tables beside the log."""

    config: TrainConfig
    users: _Entity
    items: _Entity
    prior: pl.DataFrame | None

    @classmethod
    def open(cls, config: TrainConfig, folder: Path, log: pl.LazyFrame) -> Self:
        """Read the side tables; of the log only its columns matter."""
        users = _entity(config, log, folder, "user")
        items = _entity(config, log, folder, "item")
        return cls(config, users, items, _read_prior(config.data, folder, users, items))

    def read(self, log: pl.LazyFrame) -> pl.DataFrame:
        """The rows of a log or of one of its files, in order of time; keys point nowhere yet."""
        return _read_rows(self.config, log, self.users, self.items)

    def log(self, rows: pl.DataFrame, users: pl.DataFrame, items: pl.DataFrame) -> Log:
        """Rows beside the users and items they are about."""
        rows = rows.drop([feature.name for feature in self.items.gathered])
        rows = _point(_point(rows, users, USER, USER_ROW), items, ITEM, ITEM_ROW)
        return Log(rows, users, items, self.prior, self.users.raw_type, self.items.raw_type)


class Seen:
    """The users and items of the rows so far, and what only these rows say of the items."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._keys: dict[str, pl.Series] = {}
        self._first: dict[str, pl.DataFrame] = {}  # item, time if any, value as first seen

    def add(self, rows: pl.DataFrame) -> None:
        for mark in (USER, ITEM):
            if mark in rows.columns:
                keys = rows.get_column(mark).unique()
                known = self._keys.get(mark, keys.clear())
                self._keys[mark] = pl.concat([known, keys]).unique()
        when = [TIME] if TIME in rows.columns else []
        for feature in self._sources.items.gathered:
            values = rows.select(ITEM, *when, feature.name).drop_nulls(feature.name)
            known_first = self._first.get(feature.name, values.clear())
            both = pl.concat([known_first, values])
            both = both.sort(TIME, maintain_order=True) if when else both
            self._first[feature.name] = both.unique(ITEM, keep="first", maintain_order=True)

    def users(self) -> pl.DataFrame:
        """Log.users."""
        users, prior = self._sources.users, self._sources.prior
        if users.column is None:
            return pl.DataFrame()
        seen = [self._keys[USER]]
        if prior is not None:
            seen.append(prior.get_column(USER))
        return _complete(users, seen)

    def items(self) -> pl.DataFrame:
        """Log.items; an attribute as first seen never looks ahead of any row."""
        items, prior = self._sources.items, self._sources.prior
        if items.column is None:
            return pl.DataFrame()
        seen = [self._keys[ITEM]]
        if prior is not None:
            lists = prior.drop(USER).get_columns()
            seen += [ids.explode(empty_as_null=False).drop_nulls().alias(ITEM) for ids in lists]
        frame = _complete(items, seen)
        for name, first in self._first.items():
            frame = frame.join(first.select(ITEM, name), on=ITEM, how="left", maintain_order="left")
        return frame


def check_rows(count: int) -> None:
    """Refuse a log without rows, by DataError."""
    if not count:
        raise DataError("the log holds no rows; look at data.log and data.where")


def clean(data: DataConfig, log: pl.LazyFrame) -> pl.LazyFrame:
    """Without repeated rows, with derived columns, and only the rows that data.where keeps."""
    if data.unique:
        log = log.unique(maintain_order=True)
    log = derive(log, data.derive, "the log")
    if data.where is not None:
        log = log.filter(expression(log, data.where, "data.where"))
    return log


def _entity(
    config: TrainConfig, log: pl.LazyFrame, folder: Path, side: Literal["user", "item"]
) -> _Entity:
    data = config.data
    of_user = side == "user"
    mark = USER if of_user else ITEM
    key, table_config = (data.user_id, data.users) if of_user else (data.item_id, data.items)
    if key is None:
        return _Entity(mark)
    features = [feature for feature in config.features if feature.side == side]
    ids = [f for f in features if f.kind == "categorical" and f.source == key]
    integer = require(log, key, f"data.{side}_id").is_integer()
    raw_type = ids[0].type if ids else "int64" if integer else "string"
    others = [feature for feature in features if feature not in ids]
    table = None
    if table_config is not None:
        what = f"the {side}s table"
        lazy = derive(scan(folder, table_config.path), table_config.derive, what)
        require(lazy, table_config.key, what)
        found = [f for f in others if f.source in lazy.collect_schema()]
        others = [feature for feature in others if feature not in found]
        keys = pl.col(table_config.key).cast(POLARS_TYPES[raw_type]).alias(mark)
        with reading(what):
            table = lazy.select(keys, *(typed(lazy, feature) for feature in found)).collect()
        if table.get_column(mark).has_nulls() or table.get_column(mark).is_duplicated().any():
            raise DataError(f"{what}: {table_config.key} must be there, and once, in every row")
    gathered = () if of_user else tuple(others)
    return _Entity(mark, key, raw_type, tuple(f.name for f in ids), table, gathered)


def _read_rows(
    config: TrainConfig, log: pl.LazyFrame, users: _Entity, items: _Entity
) -> pl.DataFrame:
    data = config.data
    keys = {entity.mark: entity.column for entity in (users, items) if entity.column is not None}
    columns = [
        pl.col(entity.column).cast(POLARS_TYPES[entity.raw_type]).alias(entity.mark)
        for entity in (users, items)
        if entity.column is not None
    ]
    if data.time is not None:
        keys[TIME] = data.time
        columns.append(_microseconds(log, data.time, MICROSECONDS[data.time_unit]).alias(TIME))
    if config.split.column is not None:
        require(log, config.split.column, "split.column")
        columns.append(pl.col(config.split.column).cast(pl.String).alias(PART))
    elsewhere = users.fields | items.fields
    columns += [typed(log, f) for f in config.features if f.name not in elsewhere]
    for task in config.tasks:
        label = expression(log, task.label, f"task {task.name}")
        columns.append(label.cast(pl.Float32).alias(label_column(task.name)))
    for behaviour in config.history.behaviours if config.history is not None else ():
        event = expression(log, behaviour.where, f"behaviour {behaviour.name}")
        columns.append(
            event.cast(pl.Boolean).fill_null(value=False).alias(behaviour_column(behaviour.name))
        )
    with reading("the log"):
        rows = log.select(columns).collect()
    for mark, column in keys.items():
        if missing := rows.get_column(mark).null_count():
            raise DataError(
                f"{missing} of {len(rows)} rows of the log have no {column}; "
                f'drop them with where = "{column} IS NOT NULL"'
            )
    for task in config.tasks:
        _check_label(task, rows.get_column(label_column(task.name)))
    return rows.sort(TIME, maintain_order=True) if data.time is not None else rows


def _microseconds(log: pl.LazyFrame, column: str, unit: int) -> pl.Expr:
    dtype = require(log, column, "data.time")
    time = pl.col(column)
    if dtype.is_temporal() and dtype not in (pl.Time, pl.Duration):
        return time.dt.epoch("us")
    if dtype.is_integer():
        return time.cast(pl.Int64) * unit
    if dtype.is_float():
        return (time * unit).round().cast(pl.Int64)
    raise DataError(
        f"data.time: column {column} holds {dtype}, expected numbers, dates or datetimes; "
        "convert it in data.derive"
    )


def _check_label(task: TaskConfig, labels: pl.Series) -> None:
    wrong = labels.filter(labels.is_not_null() & ~labels.is_in([0.0, 1.0]))
    if len(wrong):
        raise DataError(
            f"task {task.name}: {task.label!r} gives {wrong[0]:g} in {len(wrong)} rows; "
            "a label is true, false, 0, 1 or null (unknown)"
        )


def _read_prior(
    data: DataConfig, folder: Path, users: _Entity, items: _Entity
) -> pl.DataFrame | None:
    if data.prior is None:
        return None
    if data.prior.optional and not (folder / data.prior.path).exists():
        return None
    what = "the prior table"
    lazy = scan(folder, data.prior.path)
    require(lazy, data.prior.key, what)
    columns = [pl.col(data.prior.key).cast(POLARS_TYPES[users.raw_type]).alias(USER)]
    for behaviour, column in data.prior.behaviours.items():
        if not isinstance(dtype := require(lazy, column, what), pl.List):
            raise DataError(f"{what}: column {column} holds {dtype}, expected lists of item ids")
        ids = pl.col(column).list.drop_nulls()
        columns.append(ids.cast(pl.List(POLARS_TYPES[items.raw_type])).alias(behaviour))
    with reading(what):
        return lazy.select(columns).collect()


def _complete(entity: _Entity, seen: list[pl.Series]) -> pl.DataFrame:
    """Every key once and in order: those of the side table and those seen elsewhere."""
    keys = pl.concat(seen).unique().to_frame()
    frame = keys
    if entity.table is not None:
        new = keys.join(entity.table, on=entity.mark, how="anti")
        frame = pl.concat([entity.table, new], how="diagonal")
    ids = [pl.col(entity.mark).alias(name) for name in entity.id_fields]
    return frame.with_columns(ids).sort(entity.mark)


def _point(rows: pl.DataFrame, frame: pl.DataFrame, mark: str, pointer: str) -> pl.DataFrame:
    if mark not in rows.columns:
        return rows
    numbered = frame.select(mark).with_row_index(pointer)
    return rows.join(numbered, on=mark, how="left", maintain_order="left")

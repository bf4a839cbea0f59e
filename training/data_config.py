"""The data sections of a configuration: the log, the split, the features, the histories.

Part of TrainConfig (training/config.py), which reads the file and checks the sections together.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from contract.schema import Name, RawType, Side


class Section(BaseModel):
    """A frozen part of the file that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TableConfig(Section):
    """A side table (users or items), joined to the log by its key column."""

    path: str
    key: str
    derive: dict[Name, str] = {}


class PriorConfig(Section):
    """Behaviour sequences from before the log: a row per user, lists of item ids, newest last.

    behaviours names the list column of each behaviour. optional = true does without the file.
    """

    path: str
    key: str
    behaviours: dict[Name, str] = Field(min_length=1)
    optional: bool = False


class DataConfig(Section):
    """Where the log is and which of its columns say who, what and when.

    Paths are relative to the data folder given on the command line; globs of Parquet or CSV shards
    are fine. columns names the columns of CSV files that have no header. unique drops repeated
    rows, then derive adds columns by Polars SQL expressions, then where keeps rows.

    Without user_id every row stands alone; without item_id all item fields come with the request.
    A number in the time column counts time_unit; dates and datetimes are read as they are.

    stream reads Parquet shards one at a time, three times, and trains from encoded rows on disk
    (training/shards.py); repeated rows are then found within a shard only.
    """

    log: str
    stream: bool = False
    columns: tuple[str, ...] = ()
    user_id: str | None = None
    item_id: str | None = None
    time: str | None = None
    time_unit: Literal["s", "ms", "us"] = "s"
    derive: dict[Name, str] = {}
    where: str | None = None
    unique: bool = True
    users: TableConfig | None = None
    items: TableConfig | None = None
    prior: PriorConfig | None = None

    @model_validator(mode="after")
    def _joinable(self) -> DataConfig:
        for table, key, given in (
            ("users", "user_id", (self.users, self.user_id)),
            ("items", "item_id", (self.items, self.item_id)),
        ):
            if given[0] is not None and given[1] is None:
                raise ValueError(f"the {table} table is joined by {key}, which is not set")
        return self


class SplitConfig(Section):
    """How rows become train, validation and test.

    time: the log in order of time, cut at the two shares (rows of one time stay together).
    boundaries: cut at two times: train < valid_from <= validation < test_from <= test; numbers in
        the unit of the time column, or dates (UTC where they name no zone).
    user_time: each user's own rows in order of time, cut at the shares.
    column: the split column holds "train", "valid" or "test".
    random: rows at random by seed; only where the data has no time.
    """

    by: Literal["time", "boundaries", "user_time", "column", "random"] = "time"
    valid: float = Field(default=0.1, gt=0.0, lt=1.0)
    test: float = Field(default=0.1, gt=0.0, lt=1.0)
    valid_from: int | float | datetime | None = None
    test_from: int | float | datetime | None = None
    column: str | None = None
    seed: int = 0

    @model_validator(mode="after")
    def _complete(self) -> SplitConfig:
        if self.valid + self.test >= 1.0:
            raise ValueError("valid and test leave nothing to train on: their sum must be below 1")
        if self.by == "boundaries" and (self.valid_from is None or self.test_from is None):
            raise ValueError('by = "boundaries" needs valid_from and test_from')
        if self.by == "column" and self.column is None:
            raise ValueError('by = "column" needs column, the column that holds the split')
        return self


class FeatureConfig(Section):
    """One input field, read from column (by default of the same name).

    Multivalued fields are list columns, or strings to be cut at separator. Fields of one
    vocabulary share its ids; it is named like the field unless said otherwise.
    """

    name: Name
    kind: Literal["categorical", "multivalued", "dense"]
    side: Side
    column: str | None = None
    type: RawType = "string"
    vocabulary: Name | None = None
    min_count: int = Field(default=1, ge=1)
    max_values: int = Field(default=8, ge=1, le=1024)
    separator: str | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _fits_kind(self) -> FeatureConfig:
        changed = {n for n, f in type(self).model_fields.items() if getattr(self, n) != f.default}
        if self.kind == "dense" and changed & {"type", "vocabulary", "min_count"}:
            raise ValueError(f"{self.name}: type, vocabulary and min_count are not for dense")
        if self.kind != "multivalued" and changed & {"max_values", "separator"}:
            raise ValueError(f"{self.name}: max_values and separator are for multivalued only")
        return self

    @property
    def source(self) -> str:
        """The column it is read from."""
        return self.column or self.name

    @property
    def id_space(self) -> str:
        """The vocabulary it uses."""
        return self.vocabulary or self.name


class BehaviourConfig(Section):
    """One behaviour sequence: the user's earlier events for which the SQL condition holds."""

    name: Name
    where: str


class HistoryConfig(Section):
    """The behaviour sequences and the item fields that describe each event, item id first."""

    length: int = Field(default=50, ge=1, le=4096)
    fields: tuple[Name, ...] = Field(min_length=1)
    behaviours: tuple[BehaviourConfig, ...] = Field(min_length=1)


def check_stream(split: SplitConfig, history: HistoryConfig | None, shuffle: str) -> None:
    """Refuse by ValueError what cannot be had from one shard at a time."""
    if split.by not in ("boundaries", "column"):
        raise ValueError(
            f'data.stream cannot split by = "{split.by}", which looks at the whole log at once; '
            'use "boundaries" or "column"'
        )
    if history is not None:
        raise ValueError(
            "data.stream cannot build histories, which look at the whole log at once; leave out "
            "[history], or data.stream"
        )
    if shuffle == "requests":
        raise ValueError('data.stream shuffles by row: set fit.shuffle to "rows" or "off"')


def check_history(data: DataConfig, history: HistoryConfig) -> None:
    """Refuse a history that the data section cannot feed, by ValueError."""
    for key in ("user_id", "item_id", "time"):
        if getattr(data, key) is None:
            raise ValueError(f"history needs data.{key}")
    known = [behaviour.name for behaviour in history.behaviours]
    if data.prior is not None and not set(data.prior.behaviours) <= set(known):
        raise ValueError(
            f"data.prior.behaviours names {sorted(set(data.prior.behaviours) - set(known))}, "
            f"history.behaviours has {known}"
        )

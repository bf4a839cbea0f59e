"""From files to batches: the splits of one log as arrays, cut into request-major batches.

configuration + files --prepare--> Prepared: fitted encoders, three Datasets, profiles
row numbers           --Dataset.batch--> Batch

Rows of one user, moment and context share one row of user tensors, as one request does in the
service. A split in which a task has one class only is a DataError.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from contract.item_table import ItemTable
from contract.lookups import Lookups
from contract.schema import FeatureSchema
from training.config import TrainConfig
from training.encoded import Encoded, blank, columns_of, encode, raw_keys
from training.errors import DataError
from training.inputs import Batch, Inputs
from training.log import ITEM, ITEM_ROW, TIME, USER, USER_ROW, Log, label_column, read_log
from training.partition import PARTS, partition
from training.raw import Profile, profiles, raw_request
from training.requests import group_requests
from training.sequences import Sequences
from training.vocabularies import feature_schema, fit_encoders


class _Arrays(NamedTuple):
    """Encoded as tensors."""

    ids: Tensor  # (n, F) int32
    dense: Tensor  # (n, D) float32
    bags: Tensor  # (n, W) int32

    def take(self, rows: Tensor) -> _Arrays:
        # index_select copies whole rows, several times as fast as [rows].
        return _Arrays(*(values.index_select(0, rows) for values in self))


@dataclass(frozen=True, slots=True)
class _World:
    """What the splits of one log share."""

    log: Log
    lookups: Lookups
    sequences: Sequences | None
    items: _Arrays  # (I + 1, ...), the item table
    item_rows: Tensor  # (log.items,) int64, where each item stands in the item table
    tasks: tuple[str, ...]


class Dataset:
    """One split in memory.

    Attributes:
        tasks: all tasks of the configuration, those with new = true included.
        labels: (R, T_all) float32, 0 where unknown.
        mask: (R, T_all) bool, True where the label is known.
        users: (R,) int64, a number per user, the same in all splits; 0 without users.
        has_users: whether the log names them.
        requests: (R,) int64, a number per request, for shuffling whole requests.
    """

    def __init__(self, world: _World, rows: NDArray[np.int64], part: str) -> None:
        frame = world.log.rows[rows]
        schema = world.lookups.schema
        self._world, self._rows = world, rows
        self.tasks = world.tasks
        self.labels, self.mask = _labels(frame, world.tasks, part)
        self.users, self.has_users = _pointers(frame, USER_ROW), USER_ROW in frame.columns
        group, first = group_requests(frame, world.lookups)
        self._group = torch.from_numpy(group)  # (R,), rows of one group share their user tensors
        # Rows without users may share user tensors, yet they are requests of their own.
        self.requests = self._group if self.has_users else torch.arange(len(rows))
        self._user = _user_arrays(frame[first], world)  # (G, ...)
        self._spans = None
        if world.sequences is not None:
            times = frame.get_column(TIME).to_numpy()[first]
            self._spans = world.sequences.spans(self.users.numpy()[first], times)  # (G, M)
        self._item = None  # (R,) rows of the item table
        if ITEM_ROW in frame.columns:
            self._item = world.item_rows[_pointers(frame, ITEM_ROW)]
        # Fields that no catalogue holds, and the columns they fill.
        self._own_columns = columns_of(schema, "item", frame.columns)
        kept = frame if self._item is None or any(self._own_columns) else frame.clear()
        self._own = _tensors(encode(kept, world.lookups, "item"))  # (R, ...), or none

    def __len__(self) -> int:
        return len(self._rows)

    def batch(self, rows: Tensor, tasks: Sequence[str]) -> Batch:
        """Gather a batch.

        Args:
            rows: (N,) int64, row numbers of this split in any order.
            tasks: the columns of labels and mask, in this order.
        """
        groups, row_user = torch.unique(self._group.index_select(0, rows), return_inverse=True)
        user = self._user.take(groups)
        item = self._item_arrays(rows)
        inputs = Inputs(
            user_ids=user.ids,
            user_dense=user.dense,
            user_bags=user.bags,
            history=self._history(groups),
            item_ids=item.ids,
            item_dense=item.dense,
            item_bags=item.bags,
            row_user=row_user.to(torch.int32),
        )
        columns = torch.tensor([self.tasks.index(task) for task in tasks], dtype=torch.int64)
        return Batch(
            inputs,
            labels=self.labels.index_select(0, rows).index_select(1, columns),
            mask=self.mask.index_select(0, rows).index_select(1, columns),
            sample=rows,
        )

    def raw_request(self, rows: Tensor) -> dict[str, object]:
        """Rows of ONE request as the body of a score request (training/raw.py).

        Raises:
            ValueError: no rows, or rows of several requests.
        """
        if len(torch.unique(self._group[rows])) != 1:
            raise ValueError("raw_request takes rows of exactly one user and moment")
        world = self._world
        chosen = self._rows[rows.numpy()].tolist()
        return raw_request(world.log, world.lookups.schema, world.sequences, chosen)

    @property
    def lookups(self) -> Lookups:
        """What encoded it."""
        return self._world.lookups

    @property
    def item_rows(self) -> Tensor | None:
        """(R,) rows of the item table that hold all of the items' features; None if none do."""
        return None if any(self._own_columns) else self._item

    def _history(self, groups: Tensor) -> Tensor:
        if self._world.sequences is None or self._spans is None:
            return torch.zeros((len(groups), 0, 0, 0), dtype=torch.int32)
        return self._world.sequences.gather(self._spans.take(groups))

    def _item_arrays(self, rows: Tensor) -> _Arrays:
        if self._item is None:
            return self._own.take(rows)
        arrays = self._world.items.take(self._item.index_select(0, rows))
        if any(self._own_columns):
            own = self._own.take(rows)
            for values, mine, columns in zip(arrays, own, self._own_columns, strict=True):
                values[:, columns] = mine[:, columns]
        return arrays


@dataclass(frozen=True, slots=True)
class Prepared:
    """Everything training needs of the data, and what serving starts from."""

    schema: FeatureSchema
    lookups: Lookups
    train: Dataset
    valid: Dataset
    test: Dataset
    _world: _World

    def profiles(self) -> Iterator[Profile]:
        """Every user as of the end of the log: what fills the feature store."""
        return profiles(self._world.log, self.schema, self._world.sequences)


def prepare(config: TrainConfig, data_dir: Path, lookups: Lookups | None = None) -> Prepared:
    """Read, split, fit and encode.

    Args:
        config: a configuration.
        data_dir: what its paths are relative to.
        lookups: encoders fitted before, to be used instead of fitting; the catalogue is theirs.

    Raises:
        ConfigError: features or histories that contradict each other.
        DataError: files, columns, types, an empty split, a task of one class, or lookups of
            another configuration.
    """
    log = read_log(config, data_dir)
    parts = partition(log.rows, config.split, config.data)
    if lookups is None:
        lookups = _fit(config, log, parts == PARTS.index("train"))
    else:
        _check_same(config, log, lookups)
    world = _share(config, log, lookups)
    train, valid, test = (
        Dataset(world, np.flatnonzero(parts == at), part) for at, part in enumerate(PARTS)
    )
    return Prepared(lookups.schema, lookups, train, valid, test, world)


def _fit(config: TrainConfig, log: Log, train: NDArray[np.bool_]) -> Lookups:
    fitted = fit_encoders(config, log, train)
    specs = {name: vocabulary.spec for name, vocabulary in fitted.vocabularies.items()}
    schema = feature_schema(config, (log.user_type, log.item_type), specs, fitted.bounds)
    # The catalogue is encoded by the very look-ups it then becomes part of.
    none = blank(schema, "item", 0)
    empty = ItemTable.build(schema, [], none.ids, none.dense, none.bags)
    if not len(log.items):
        return Lookups(schema, fitted.vocabularies, empty)
    arrays = encode(log.items, Lookups(schema, fitted.vocabularies, empty), "item")
    ids = raw_keys(log.items.get_column(ITEM))
    items = ItemTable.build(schema, ids, arrays.ids, arrays.dense, arrays.bags)
    return Lookups(schema, fitted.vocabularies, items)


def _check_same(config: TrainConfig, log: Log, lookups: Lookups) -> None:
    """Refuse look-ups whose schema this configuration would not give."""
    specs = {spec.name: spec for spec in lookups.schema.vocabularies}
    bounds = {f.name: (f.minimum, f.maximum) for f in lookups.schema.fields if f.kind == "dense"}
    wanted = [f for f in config.features if f.kind != "dense"]
    lacking = [f.name for f in wanted if f.id_space not in specs]
    lacking += [f.name for f in config.features if f.kind == "dense" and f.name not in bounds]
    if not lacking:
        schema = feature_schema(config, (log.user_type, log.item_type), specs, bounds)
        if schema == lookups.schema:
            return
    raise DataError(
        "the configuration's features or histories are not those the encoders were fitted for"
        + (f" (unknown: {', '.join(lacking)})" if lacking else "")
        + "; use the configuration the checkpoint was trained with"
    )


def _share(config: TrainConfig, log: Log, lookups: Lookups) -> _World:
    table = lookups.items
    item_rows = np.zeros(0, dtype=np.int64)
    if len(log.items):
        item_rows = table.find(raw_keys(log.items.get_column(ITEM))).astype(np.int64)
    sequences = None
    if config.history is not None:
        behaviours = lookups.schema.behaviours
        sequences = Sequences.build(log, behaviours, config.history.length, table)
    return _World(
        log=log,
        lookups=lookups,
        sequences=sequences,
        items=_tensors(Encoded(table.ids, table.dense, table.bags)),
        item_rows=torch.from_numpy(item_rows),
        tasks=tuple(task.name for task in config.tasks),
    )


def _user_arrays(first: pl.DataFrame, world: _World) -> _Arrays:
    """The user tensors of each group, from its first row."""
    if USER_ROW in first.columns:
        users = world.log.users[first.get_column(USER_ROW)].drop(USER)
        first = first.hstack(users.get_columns())
    return _tensors(encode(first, world.lookups, "user"))


def _tensors(encoded: Encoded) -> _Arrays:
    # Copied where memory-mapped read-only: torch has no read-only tensors.
    ids, dense, bags = (
        torch.from_numpy(np.require(values, requirements=["C", "W"]))
        for values in (encoded.ids, encoded.dense, encoded.bags)
    )
    return _Arrays(ids, dense, bags)


def _pointers(frame: pl.DataFrame, column: str) -> Tensor:
    if column not in frame.columns:
        return torch.zeros(len(frame), dtype=torch.int64)
    return torch.from_numpy(frame.get_column(column).to_numpy().astype(np.int64))


def _labels(frame: pl.DataFrame, tasks: tuple[str, ...], part: str) -> tuple[Tensor, Tensor]:
    columns = frame.select(label_column(task) for task in tasks)
    for task, column in zip(tasks, columns.iter_columns(), strict=True):
        positive, known = int(column.sum()), len(column) - column.null_count()
        if positive in (0, known):
            raise DataError(
                f"task {task} has one class only in the {part} split: {positive} positive of "
                f"{known} known labels; change its label, or the [split] section"
            )
    mask = np.ascontiguousarray(columns.select(pl.all().is_not_null()).to_numpy())
    labels = np.ascontiguousarray(columns.fill_null(0.0).to_numpy())
    return torch.tensor(labels), torch.tensor(mask)

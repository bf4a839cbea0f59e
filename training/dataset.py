"""From files to batches: the splits of one log as arrays, cut into request-major batches.

configuration + files --prepare--> Prepared: fitted encoders, three Datasets, profiles
row numbers           --Dataset.batch--> Batch

With data.stream the log passes by shard by shard, and a Dataset lies on disk (training/arrays.py).

Rows of one user, moment and context share one row of user tensors, as one request does in the
service. A split in which a task has one class only is a DataError.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from contract.item_table import ItemTable
from contract.lookups import Lookups
from contract.schema import FeatureSchema
from training.arrays import Arrays, SplitArrays, Spool, World, split_arrays
from training.config import TrainConfig
from training.encoded import Encoded, blank, encode, raw_keys
from training.errors import DataError
from training.inputs import Batch, Inputs
from training.log import ITEM, USER, Log, read_log
from training.partition import PARTS, Parts, partition
from training.raw import Profile, profiles, raw_request
from training.sequences import Sequences
from training.shards import Shards
from training.vocabularies import feature_schema, fit_encoders

BLOCK = 4096  # rows that are read at a stretch
Pieces = Iterable[tuple[Log, Parts]]


class Dataset:
    """One split.

    Attributes:
        tasks: all tasks of the configuration, those with new = true included.
        labels: (R, T_all) float32, 0 where unknown.
        mask: (R, T_all) bool, True where the label is known.
        known: (T_all,) how many labels are known, of each task.
        positive: (T_all,) how many of these are 1.
        users: (R,) int64, a number per user, the same in all splits; 0 without users.
        has_users: whether the log names them.
    """

    def __init__(self, world: World, arrays: SplitArrays, part: str) -> None:
        self._world, self._rows = world, arrays.rows
        self.tasks = world.tasks
        self.known, self.positive = _counted(arrays)
        for task, positive, known in zip(self.tasks, self.positive, self.known, strict=True):
            if positive in (0, known):
                raise DataError(
                    f"task {task} has one class only in the {part} split: {positive} positive of "
                    f"{known} known labels; change its label, or the [split] section"
                )
        self.labels, self.mask, self.users = arrays.labels, arrays.mask, arrays.users
        self.has_users = USER in world.log.users.columns
        self._group = arrays.group  # (R,), rows of one group share their user tensors
        self._user, self._spans = arrays.user, arrays.spans  # (G, ...)
        self._item = arrays.item if len(arrays.item) else None  # (R,) rows of the item table
        # Fields that no catalogue holds, and the columns they fill.
        self._own, self._own_columns = arrays.own, world.own_columns  # (R, ...), or none

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def on_disk(self) -> bool:
        """Whether rows are best read in blocks of neighbours."""
        return isinstance(self._world.log, Shards)

    @property
    def requests(self) -> Tensor:
        """(R,) int64, a number per request, for shuffling whole requests."""
        # Rows without users may share user tensors, yet they are requests of their own.
        return self._group if self.has_users else torch.arange(len(self))

    def count_users(self) -> int:
        """How many users the rows are of."""
        seen = torch.zeros(len(self._world.log.users), dtype=torch.bool)
        for users in torch.split(self.users, BLOCK):
            seen[users] = True
        return int(seen.sum())

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
        chosen = self._rows[rows].tolist()
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
        if self._world.sequences is None:
            return torch.zeros((len(groups), 0, 0, 0), dtype=torch.int32)
        return self._world.sequences.gather(self._spans.take(groups))

    def _item_arrays(self, rows: Tensor) -> Arrays:
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
    _world: World

    @property
    def splits(self) -> dict[str, Dataset]:
        """The three parts by name."""
        return {"train": self.train, "valid": self.valid, "test": self.test}

    def profiles(self) -> Iterator[Profile]:
        """Every user as of the end of the log: what fills the feature store."""
        return profiles(self._world.log, self.schema, self._world.sequences)


def prepare(config: TrainConfig, data_dir: Path, lookups: Lookups | None = None) -> Prepared:
    """Read, split, fit and encode: at once, or shard by shard where data.stream says so.

    Args:
        config: a configuration.
        data_dir: what its paths are relative to.
        lookups: encoders fitted before, to be used instead of fitting; the catalogue is theirs.

    Raises:
        ConfigError: features or histories that contradict each other.
        DataError: files, columns, types, an empty split, a task of one class, or lookups of
            another configuration.
    """
    log: Log | Shards
    pieces: Pieces
    if config.data.stream:
        log = pieces = Shards.open(config, data_dir)
    else:
        log = read_log(config, data_dir)
        pieces = [(log, partition(log.rows, config.split, config.data))]
    if lookups is None:
        lookups = _fit(config, log, pieces)
    else:
        _check_same(config, log, lookups)
    world = _share(config, log, lookups)
    splits = zip(PARTS, _encode(world, pieces), strict=True)
    train, valid, test = (Dataset(world, arrays, part) for part, arrays in splits)
    return Prepared(lookups.schema, lookups, train, valid, test, world)


def _encode(world: World, pieces: Pieces) -> list[SplitArrays]:
    """The arrays of each part; those of a streamed log are written to disk as they come."""
    if isinstance(world.log, Log):
        ((log, parts),) = pieces
        return [split_arrays(world, log, np.flatnonzero(parts == at)) for at in range(len(PARTS))]
    with ExitStack() as stack:
        spools = [stack.enter_context(closing(Spool())) for _ in PARTS]
        before = 0
        for log, parts in pieces:
            for at, spool in enumerate(spools):
                if len(rows := np.flatnonzero(parts == at)):
                    spool.add(split_arrays(world, log, rows, before))
            before += len(parts)
        return [spool.mapped() for spool in spools]


def _fit(config: TrainConfig, log: Log | Shards, pieces: Pieces) -> Lookups:
    fitted = fit_encoders(config, pieces)
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


def _check_same(config: TrainConfig, log: Log | Shards, lookups: Lookups) -> None:
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


def _share(config: TrainConfig, log: Log | Shards, lookups: Lookups) -> World:
    table = lookups.items
    item_rows = np.zeros(0, dtype=np.int64)
    if len(log.items):
        item_rows = table.find(raw_keys(log.items.get_column(ITEM))).astype(np.int64)
    sequences = None
    if config.history is not None and isinstance(log, Log):
        behaviours = lookups.schema.behaviours
        sequences = Sequences.build(log, behaviours, config.history.length, table)
    return World(
        log=log,
        lookups=lookups,
        sequences=sequences,
        items=Arrays.of(Encoded(table.ids, table.dense, table.bags)),
        item_rows=torch.from_numpy(item_rows),
        tasks=tuple(task.name for task in config.tasks),
    )


def _counted(arrays: SplitArrays) -> tuple[list[int], list[int]]:
    """Known labels and positive ones, by task."""
    known, positive = torch.zeros((2, arrays.labels.shape[1]), dtype=torch.int64)
    # In blocks: a sum in another type than its tensor's makes a copy of it.
    blocks = (torch.split(tensor, BLOCK) for tensor in (arrays.mask, arrays.labels))
    for mask, labels in zip(*blocks, strict=True):
        known += mask.sum(dim=0)
        positive += labels.sum(dim=0).to(torch.int64)
    return known.tolist(), positive.tolist()

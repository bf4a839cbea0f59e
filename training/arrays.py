"""One split as tensors, in memory or on disk.

rows of a Log --split_arrays--> SplitArrays      per shard, --Spool.add, Spool.mapped--> the same

A Spool's tensors lie in temporary files that have no name: memory-mapped, so that the kernel keeps
the pages it has room for, and gone with the process however it ends. A full disk is a DataError.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from typing import IO, NamedTuple

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from contract.lookups import Lookups
from training.encoded import Encoded, columns_of, encode
from training.errors import DataError
from training.log import ITEM_ROW, TIME, USER, USER_ROW, Log, label_column
from training.requests import group_requests
from training.sequences import Sequences, Spans
from training.shards import Shards


class Arrays(NamedTuple):
    """Encoded as tensors."""

    ids: Tensor  # (n, F) int32
    dense: Tensor  # (n, D) float32
    bags: Tensor  # (n, W) int32

    @classmethod
    def of(cls, encoded: Encoded) -> Arrays:
        # Copied where memory-mapped read-only: torch has no read-only tensors.
        ids, dense, bags = (
            torch.from_numpy(np.require(values, requirements=["C", "W"]))
            for values in (encoded.ids, encoded.dense, encoded.bags)
        )
        return cls(ids, dense, bags)

    def take(self, rows: Tensor) -> Arrays:
        # index_select copies whole rows, several times as fast as [rows].
        return Arrays(*(values.index_select(0, rows) for values in self))


@dataclass(frozen=True, slots=True)
class World:
    """What the splits of one log share."""

    log: Log | Shards
    lookups: Lookups
    sequences: Sequences | None
    items: Arrays  # (I + 1, ...), the item table
    item_rows: Tensor  # (log.items,) int64, where each item stands in the item table
    tasks: tuple[str, ...]

    @property
    def own_columns(self) -> tuple[list[int], list[int], list[int]]:
        """Columns of the item tensors that no catalogue holds: they come with each row."""
        schema, elsewhere = self.lookups.schema, self.log.items.columns
        names = [field.name for field in schema.fields if field.name not in elsewhere]
        return columns_of(schema, "item", names)


class SplitArrays(NamedTuple):
    """R rows of G groups; those of one group share their user tensors."""

    rows: Tensor  # (R,) int64, numbers of the log's rows
    labels: Tensor  # (R, T_all) float32, 0 where unknown
    mask: Tensor  # (R, T_all) bool
    users: Tensor  # (R,) int64
    group: Tensor  # (R,) int64
    item: Tensor  # (R,) int64 rows of the item table, or (0,)
    own_ids: Tensor  # (R, ...) what no catalogue holds, or (0, ...)
    own_dense: Tensor
    own_bags: Tensor
    user_ids: Tensor  # (G, ...)
    user_dense: Tensor
    user_bags: Tensor
    start: Tensor  # (G, M) Spans
    length: Tensor

    @property
    def user(self) -> Arrays:
        return Arrays(self.user_ids, self.user_dense, self.user_bags)

    @property
    def own(self) -> Arrays:
        return Arrays(self.own_ids, self.own_dense, self.own_bags)

    @property
    def spans(self) -> Spans:
        return Spans(self.start, self.length)


def split_arrays(world: World, log: Log, rows: NDArray[np.int64], before: int = 0) -> SplitArrays:
    """Encode some rows.

    Args:
        world: of the whole log.
        log: the whole log, or one shard of it.
        rows: (R,) rows of log, at least one.
        before: rows of the shards before it.
    """
    frame = log.rows[rows]
    users = _pointers(frame, USER_ROW)
    group, first = group_requests(frame, world.lookups)
    none = torch.zeros((len(first), 0), dtype=torch.int64)
    spans = Spans(none, none)
    if world.sequences is not None:
        times = frame.get_column(TIME).to_numpy()[first]
        spans = world.sequences.spans(users.numpy()[first], times)
    labels = frame.select(label_column(task) for task in world.tasks)
    item = torch.zeros(0, dtype=torch.int64)
    if ITEM_ROW in frame.columns:
        item = world.item_rows[_pointers(frame, ITEM_ROW)]
    kept = frame if any(world.own_columns) or not len(item) else frame.clear()
    return SplitArrays(
        torch.from_numpy(rows + before),
        torch.tensor(np.ascontiguousarray(labels.fill_null(0.0).to_numpy())),
        torch.tensor(np.ascontiguousarray(labels.select(pl.all().is_not_null()).to_numpy())),
        users,
        torch.from_numpy(group),
        item,
        *Arrays.of(encode(kept, world.lookups, "item")),
        *_user_arrays(frame[first], log, world.lookups),
        spans.start,
        spans.length,
    )


def _user_arrays(first: pl.DataFrame, log: Log, lookups: Lookups) -> Arrays:
    """The user tensors of each group, from its first row."""
    if USER_ROW in first.columns:
        users = log.users[first.get_column(USER_ROW)].drop(USER)
        first = first.hstack(users.get_columns())
    return Arrays.of(encode(first, lookups, "user"))


def _pointers(frame: pl.DataFrame, column: str) -> Tensor:
    if column not in frame.columns:
        return torch.zeros(len(frame), dtype=torch.int64)
    return torch.from_numpy(frame.get_column(column).to_numpy().astype(np.int64))


class Spool:
    """SplitArrays that grow on disk, in the system's temporary folder."""

    def __init__(self) -> None:
        self._files: list[IO[bytes]] = []
        self._last: SplitArrays | None = None
        self._lengths = [0] * len(SplitArrays._fields)

    def add(self, arrays: SplitArrays) -> None:
        """Append; groups are numbered on."""
        groups = self._lengths[SplitArrays._fields.index("user_ids")]
        arrays = arrays._replace(group=arrays.group + groups)
        try:
            for at, tensor in enumerate(arrays):
                if at == len(self._files):
                    # Unbuffered: a buffer that did not fit fails once more when it is closed.
                    self._files.append(tempfile.TemporaryFile(buffering=0))  # noqa: SIM115
                rest = memoryview(tensor.numpy().tobytes())
                while rest:
                    rest = rest[self._files[at].write(rest) :]
                self._lengths[at] += len(tensor)
        except OSError as err:
            raise DataError(
                f"the encoded rows do not fit into {tempfile.gettempdir()}: {err.strerror}; let "
                "TMPDIR name a folder with more room"
            ) from err
        self._last = arrays

    def close(self) -> None:
        """Close the files; what is mapped stays."""
        for file in self._files:
            file.close()

    def mapped(self) -> SplitArrays:
        """All that was added, as tensors over the files.

        Raises:
            ValueError: nothing was added.
        """
        if self._last is None:
            raise ValueError("nothing was added")
        return SplitArrays(*map(_map, self._files, self._last, self._lengths))


def _map(file: IO[bytes], like: Tensor, length: int) -> Tensor:
    """A tensor over the whole file."""
    shape = (length, *like.shape[1:])
    if 0 in shape:  # nothing cannot be mapped
        return like.new_empty(shape)
    return torch.from_numpy(np.memmap(file, dtype=like.numpy().dtype, mode="r+", shape=shape))

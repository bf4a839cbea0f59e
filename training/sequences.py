"""Behaviour sequences: per user and behaviour, the events strictly before a moment.

Log + item table --Sequences.build--> one flat array of events, newest first within each user
(user, time)     --Sequences.spans--> where each sequence starts and how long it is
spans            --Sequences.gather--> (U, M, L, A) embedding-table rows, padding at the end

A row keeps only a start and a length, so memory is O(events + requests x M). Events of an equal
time never count: rows logged in one second do not see each other's labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from contract.item_table import ItemTable
from training.encoded import raw_keys
from training.log import (
    ITEM,
    ITEM_ROW,
    MICROSECONDS,
    TIME,
    USER,
    USER_ROW,
    Log,
    behaviour_column,
)


@dataclass(frozen=True, slots=True)
class Spans:
    """Sequences of U requests: event numbers start .. start + length - 1, newest first."""

    start: Tensor  # (U, M) int64
    length: Tensor  # (U, M) int64, at most L

    def take(self, requests: Tensor) -> Spans:
        return Spans(self.start.index_select(0, requests), self.length.index_select(0, requests))


@dataclass(frozen=True, slots=True)
class _Events:
    """One behaviour's events by user, then by time, oldest first."""

    moment: NDArray[np.int64]  # (E,) user number x times + rank of the time, rising
    time_us: NDArray[np.int64]  # (E,)
    item: NDArray[np.int64]  # (E,) rows of Log.items


class Sequences:
    """All events of a log.

    Attributes:
        item: (E,) row of Log.items of each event.
        time_us: (E,) when it happened; those of the prior table one second apart, up to
            the first second of the log.
    """

    def __init__(
        self,
        behaviours: list[_Events],
        times: NDArray[np.int64],
        length: int,
        attributes: NDArray[np.int32],
    ) -> None:
        self._moments = [events.moment for events in behaviours]
        sizes = [len(events.moment) for events in behaviours]
        self._ends = np.cumsum(sizes, dtype=np.int64)  # each behaviour's part is stored reversed
        self._times = times  # (times,) sorted, distinct
        self._shape = (length, attributes.shape[1])  # L, A
        self.item = _reversed_parts([events.item for events in behaviours])
        self.time_us = _reversed_parts([events.time_us for events in behaviours])
        # L events of padding, so that a window never runs off the end.
        depth = self._shape[1]
        padded = torch.zeros((len(self.item) + length, depth), dtype=torch.int32)
        padded[: len(self.item)] = torch.from_numpy(attributes[self.item])
        # (E + 1, L * A): row e holds the attributes of events e, e + 1, ..., L of them, flat.
        self._windows = padded.as_strided((len(self.item) + 1, length * depth), (depth, 1))
        ages = np.arange(length * depth) // depth
        # Row n keeps the first n events: all bits set, or none.
        keep = np.where(ages < np.arange(length + 1)[:, None], -1, 0).astype(np.int32)
        self._keep = torch.from_numpy(keep)

    @classmethod
    def build(cls, log: Log, behaviours: tuple[str, ...], length: int, items: ItemTable) -> Self:
        """Sort the events of a log.

        Args:
            log: rows with a column per behaviour.
            behaviours: M names.
            length: L.
            items: gives an event its A attributes; items it lacks have those of the unknown row.
        """
        times = np.unique(log.rows.get_column(TIME).to_numpy())
        events = [_events(log, behaviour, times) for behaviour in behaviours]
        catalogue = items.find(raw_keys(log.items.get_column(ITEM)))
        return cls(events, times, length, items.events(catalogue))

    @property
    def end_us(self) -> int:
        """The first moment after the log."""
        return int(self._times[-1]) + 1

    def spans(self, users: NDArray[np.int64], time_us: NDArray[np.int64]) -> Spans:
        """The sequences of each (user row, time), events strictly earlier than the time."""
        base = users * (len(self._times) + 1)
        before = base + 1 + np.searchsorted(self._times, time_us, side="left")
        start = np.empty((len(users), len(self._moments)), dtype=np.int64)
        length = np.empty_like(start)
        for at, moments in enumerate(self._moments):
            first = np.searchsorted(moments, base, side="left")
            end = np.searchsorted(moments, before, side="left")
            start[:, at] = self._ends[at] - end
            length[:, at] = np.minimum(end - first, self._shape[0])
        return Spans(torch.from_numpy(start), torch.from_numpy(length))

    def gather(self, spans: Spans) -> Tensor:
        """The attributes of each sequence, (U, M, L, A) int32, newest first."""
        # Windows are copied whole and the surplus is masked by bits: no index per event, and
        # index_select copies rows at a stretch where [...] would go value by value.
        windows = self._windows.index_select(0, spans.start.flatten())  # (U * M, L * A)
        windows.bitwise_and_(self._keep.index_select(0, spans.length.flatten()))
        return windows.view(*spans.start.shape, *self._shape)


def _events(log: Log, behaviour: str, times: NDArray[np.int64]) -> _Events:
    # Rank 0 is the prior: before every time of the log.
    chosen = log.rows.filter(pl.col(behaviour_column(behaviour)))
    user = chosen.get_column(USER_ROW).to_numpy().astype(np.int64)
    item = chosen.get_column(ITEM_ROW).to_numpy().astype(np.int64)
    time = chosen.get_column(TIME).to_numpy()
    rank = 1 + np.searchsorted(times, time)
    if log.prior is not None and behaviour in log.prior.columns:
        old_user, old_item, age = _prior_events(log, log.prior, behaviour)
        user, item = np.concatenate([old_user, user]), np.concatenate([old_item, item])
        time = np.concatenate([times[0] - age * MICROSECONDS["s"], time])
        rank = np.concatenate([np.zeros(len(age), dtype=np.int64), rank])
    moment = user * (len(times) + 1) + rank
    # Stable: events of one time keep the order of the log, prior events that of their list.
    order = np.argsort(moment, kind="stable")
    return _Events(moment[order], time[order], item[order])


def _prior_events(
    log: Log, prior: pl.DataFrame, behaviour: str
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """User row, item row, and how many events before the log it was (1 = the last)."""
    length = pl.col(ITEM).list.len().cast(pl.Int64)
    lists = prior.select(USER, pl.col(behaviour).alias(ITEM)).filter(length > 0)
    flat = lists.with_columns(pl.int_ranges(length, 0, -1).alias("age")).explode(
        ITEM, "age", empty_as_null=False
    )
    for frame, key, number in ((log.users, USER, USER_ROW), (log.items, ITEM, ITEM_ROW)):
        numbered = frame.select(key).with_row_index(number)
        flat = flat.join(numbered, on=key, how="left", maintain_order="left")
    columns = (flat.get_column(name) for name in (USER_ROW, ITEM_ROW, "age"))
    user, item, age = (column.to_numpy().astype(np.int64) for column in columns)
    return user, item, age


def _reversed_parts(parts: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.concatenate([part[::-1] for part in parts])

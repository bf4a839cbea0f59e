"""The log in the service's raw form: requests as a client sends them, profiles as stores hold them.

rows of one request --raw_request--> {user_id, item_ids, user, context, items, history}
end of the log      --profiles--> per user: profile fields and behaviour sequences, newest last

The service encodes a raw request to the very arrays the Dataset gives for those rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from contract.schema import FeatureSchema, Side
from training.log import ITEM, MICROSECONDS, TIME, USER, USER_ROW, Log
from training.sequences import Sequences, Spans
from training.shards import Shards

RawId = int | str
Values = dict[str, object]


class Profile(NamedTuple):
    """One user at the end of the log.

    times_s runs beside histories: when each event happened, in seconds of the log's clock.
    """

    user_id: RawId
    fields: Values
    histories: dict[str, list[RawId]]
    times_s: dict[str, list[float]]


def raw_request(
    log: Log | Shards, schema: FeatureSchema, sequences: Sequences | None, rows: list[int]
) -> dict[str, object]:
    """Log rows of one request as one request body; what is missing is left out.

    Without data.user_id or data.item_id the ids are 0, which no encoder knows.
    """
    chosen = log.take(rows)
    first = chosen.row(0, named=True)
    user_row = first.get(USER_ROW)
    known = {**first, **(log.users.row(user_row, named=True) if user_row is not None else {})}
    request: dict[str, object] = {
        "user_id": known.get(USER, 0),
        "item_ids": [0] * len(rows),
        "user": _fields(schema, "user", known),
        "context": _fields(schema, "context", known),
        "history": {},
    }
    if ITEM in chosen.columns:
        request["item_ids"] = chosen.get_column(ITEM).to_list()
    overrides = [
        {**_fields(schema, "item", row), **_fields(schema, "cross", row)}
        for row in chosen.iter_rows(named=True)
    ]
    if any(overrides):
        request["items"] = overrides
    if sequences is not None:
        user, time = np.array([user_row]), np.array([first[TIME]])
        spans = sequences.spans(user, time)
        histories, _ = _histories(log.items.get_column(ITEM), schema, sequences, spans)
        request["history"] = histories
    return request


def profiles(
    log: Log | Shards, schema: FeatureSchema, sequences: Sequences | None
) -> Iterator[Profile]:
    """Every user of log, side table and prior, as of the end of the log."""
    if not len(log.users):
        return
    elsewhere = log.users.columns
    varying = [f.name for f in schema.fields if f.side == "user" and f.name not in elsewhere]
    users = log.users.join(log.latest(varying), on=USER, how="left", maintain_order="left")
    spans, ids = None, list[RawId]()
    if sequences is not None:
        everyone = np.arange(len(users))
        spans = sequences.spans(everyone, np.full(len(users), sequences.end_us))
        ids = log.items.get_column(ITEM).to_list()
    for number, row in enumerate(users.iter_rows(named=True)):
        histories: dict[str, list[RawId]] = {}
        times: dict[str, list[float]] = {}
        if sequences is not None and spans is not None:
            own = spans.take(torch.tensor([number]))
            histories, times = _histories(ids, schema, sequences, own)
        yield Profile(row[USER], _fields(schema, "user", row), histories, times)


def _fields(schema: FeatureSchema, side: Side, row: Values) -> Values:
    # The ids fill their own fields.
    names = {field.name for field in schema.fields if field.side == side}
    names -= {schema.user_id_field, schema.item_id_field}
    return {name: row[name] for name in sorted(names) if row.get(name) is not None}


def _histories(
    ids: pl.Series | list[RawId], schema: FeatureSchema, sequences: Sequences, spans: Spans
) -> tuple[dict[str, list[RawId]], dict[str, list[float]]]:
    """Raw item ids and times of one user's sequences, newest last."""
    histories: dict[str, list[RawId]] = {}
    times: dict[str, list[float]] = {}
    for at, behaviour in enumerate(schema.behaviours):
        events = _oldest_first(int(spans.start[0, at]), int(spans.length[0, at]))
        histories[behaviour] = [ids[item] for item in sequences.item[events].tolist()]
        times[behaviour] = (sequences.time_us[events] / MICROSECONDS["s"]).tolist()
    return histories, times


def _oldest_first(start: int, length: int) -> NDArray[np.int64]:
    return np.arange(start, start + length)[::-1]

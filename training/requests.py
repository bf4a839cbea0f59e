"""Which rows of a split make one request: those whose user tensors are equal.

rows of one split --group_requests--> a number per row, and the first row of each number
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from contract.lookups import Lookups
from training.encoded import columns_of, encode
from training.log import TIME, USER_ROW

Group = NDArray[np.int64]


def group_requests(frame: pl.DataFrame, lookups: Lookups) -> tuple[Group, Group]:
    """Number the requests.

    A request is one user at one moment with one context, as the encoders see it. Without users
    every row is its own request, unless nothing stands on the user's side at all: then one group
    serves all rows.

    Returns:
        group: (R,) numbers 0 .. G - 1.
        first: (G,) the first row of each group.
    """
    schema = lookups.schema
    if not schema.at("user") and not schema.behaviours:
        return np.zeros(len(frame), dtype=np.int64), np.zeros(1, dtype=np.int64)
    if USER_ROW not in frame.columns:
        each = np.arange(len(frame))
        return each, each
    keys = [frame.get_column(name).to_numpy() for name in (USER_ROW, TIME) if name in frame.columns]
    positions = columns_of(schema, "user", frame.columns)
    if any(len(at) for at in positions):
        varying = encode(frame, lookups, "user")
        for values, at in zip((varying.ids, varying.dense, varying.bags), positions, strict=True):
            keys += list(values[:, at].T)
    group = np.zeros(len(frame), dtype=np.int64)
    for key in keys:
        _, code = np.unique(key, return_inverse=True)
        group = np.unique(group * (code.max() + 1) + code, return_inverse=True)[1]
    return group, np.unique(group, return_index=True)[1]

"""A made-up shop for `--quick`: enough rows to run every step of a benchmark, too few to say more.

write_quick_data(folder) --> folder/log.parquet, read by benchmarks/quick_shop.toml
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

_ROWS, _USERS, _ITEMS = 3000, 60, 40
_FEEDBACKS = {"click": 0.0, "stay": 0.5, "buy": 1.0}  # the liking each takes


def write_quick_data(folder: Path) -> Path:
    """Users with tastes meet items with qualities; three feedbacks of falling frequency."""
    rng = np.random.default_rng(0)
    users, items = rng.integers(0, _USERS, _ROWS), rng.integers(0, _ITEMS, _ROWS)
    taste, quality = rng.normal(size=_USERS), rng.normal(size=_ITEMS)
    liking = taste[users] + quality[items] + rng.normal(size=_ROWS)
    frame = pl.DataFrame(
        {
            "user": users,
            "item": items,
            "at": np.arange(_ROWS),
            "mood": rng.choice(["dull", "bright"], _ROWS),
            **{name: liking > least for name, least in _FEEDBACKS.items()},
        }
    )
    folder.mkdir(parents=True, exist_ok=True)
    frame.write_parquet(folder / "log.parquet")
    return folder

"""A shop in miniature: six users, five items, sixty acts; any part can be replaced."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from training.config import TrainConfig

Rows = dict[str, list[Any]]  # Any: columns of several types

FEATURES: list[dict[str, Any]] = [
    {"name": "user", "kind": "categorical", "side": "user", "type": "int64"},
    {"name": "city", "kind": "categorical", "side": "user"},
    {"name": "age", "kind": "dense", "side": "user"},
    {"name": "page", "kind": "categorical", "side": "context"},
    {"name": "item", "kind": "categorical", "side": "item"},
    {"name": "brand", "kind": "categorical", "side": "item"},
    {"name": "tags", "kind": "multivalued", "side": "item", "separator": " ", "max_values": 3},
    {"name": "price", "kind": "dense", "side": "item"},
    {"name": "distance", "kind": "dense", "side": "cross"},
]

SHOP: Mapping[str, Any] = {
    "name": "shop",
    "data": {
        "log": "log.parquet",
        "user_id": "user",
        "item_id": "item",
        "time": "at",
        "users": {"path": "users.parquet", "key": "user"},
        "items": {"path": "items.parquet", "key": "item"},
    },
    "split": {"by": "time", "valid": 0.2, "test": 0.2},
    "tasks": [
        {"name": "click", "label": "act >= 1"},
        {"name": "buy", "label": "act = 2", "new": True},
    ],
    "features": FEATURES,
    "history": {
        "length": 4,
        "fields": ["item", "brand"],
        "behaviours": [{"name": "seen", "where": "true"}, {"name": "bought", "where": "act = 2"}],
    },
}

USERS: Rows = {
    "user": [1, 2, 3, 4, 5],
    "city": ["Rome", "Oslo", "Rome", None, "Lima"],
    "age": [20.0, 30.0, 40.0, 50.0, None],
}
ITEMS: Rows = {
    "item": ["a", "b", "c", "d"],
    "brand": ["x", "y", "x", "z"],
    "tags": ["new sale", "sale", "", None],
    "price": [1.0, 2.0, 3.0, 5.0],
}


def acts(count: int = 60) -> Rows:
    """Users, items and acts in turn, two rows to a second; user 6 and item e have no attributes."""
    return {
        "user": [1 + (n // 2) % 6 for n in range(count)],
        "item": ["abcde"[(n * 2 + n // 7) % 5] for n in range(count)],
        "at": [1_000 + n // 2 for n in range(count)],
        "act": [(n * 5 + n // 4) % 3 for n in range(count)],
        "page": ["home" if n // 2 % 2 else "search" for n in range(count)],
        "distance": [float(n % 8) for n in range(count)],
    }


def write_shop(folder: Path, rows: Rows | None = None) -> Path:
    """Write the three files."""
    pl.DataFrame(rows if rows is not None else acts()).write_parquet(folder / "log.parquet")
    pl.DataFrame(USERS).write_parquet(folder / "users.parquet")
    pl.DataFrame(ITEMS).write_parquet(folder / "items.parquet")
    return folder


def shop_config(**sections: object) -> TrainConfig:
    """The shop's configuration; a section given as a dict is merged, otherwise replaced."""
    merged: dict[str, Any] = dict(SHOP)
    for name, section in sections.items():
        old = merged.get(name)
        if isinstance(section, dict) and isinstance(old, dict):
            merged[name] = {**old, **section}
        else:
            merged[name] = section
    return TrainConfig.model_validate(merged)

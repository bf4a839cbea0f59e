"""A log whose right answers are known.

Every user has a group, every item a kind and a price. A task is a table of groups by kinds: its
label is 1 where table[group, kind] + price + noise * logistic > 0. The new task's table is the sum
of the two old ones, so a good representation of them holds all it needs.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import polars as pl

from training.config import TaskConfig, TrainConfig
from training.dataset import Prepared, prepare
from training.fit import FitResult, fit
from training.metrics import auc

Keys = dict[str, object]
GROUPS, KINDS, USERS, ITEMS = 4, 5, 150, 80
OLD, NEW = ("click", "like"), "share"


@dataclass(frozen=True, slots=True)
class World:
    """A written log; bayes is the best AUC any model can reach on the whole of it, by task."""

    folder: Path
    bayes: dict[str, float]


def write_log(folder: Path, *, rows: int = 6000, noise: float = 0.3, seed: int = 0) -> World:
    """log.parquet: one row per second, in the order of time."""
    rng = np.random.default_rng(seed)
    group, kind = rng.integers(GROUPS, size=USERS), rng.integers(KINDS, size=ITEMS)
    price = rng.uniform(0.0, 1.0, size=ITEMS)
    user, item = rng.integers(USERS, size=rows), rng.integers(ITEMS, size=rows)
    tables = dict(zip(OLD, rng.normal(size=(2, GROUPS, KINDS)), strict=True))
    tables[NEW] = tables[OLD[0]] + tables[OLD[1]]
    columns: Keys = {
        "user": user + 1000,
        "item": item,
        "ts": np.arange(rows) + 1_000_000,
        "group": [f"g{g}" for g in group[user]],
        "kind": [f"k{k}" for k in kind[item]],
        "price": price[item],
    }
    bayes: dict[str, float] = {}
    for task, table in tables.items():
        score = table[group[user], kind[item]] + price[item] - 0.5
        label = score + noise * rng.logistic(size=rows) > 0
        columns[task] = label.astype(np.int64)
        bayes[task] = auc(label, score) or 0.5
    pl.DataFrame(columns).write_parquet(folder / "log.parquet")
    return World(folder, bayes)


def synthetic_config(**sections: object) -> TrainConfig:
    """A small mpt model of the log; a section's keys replace or join those given here."""
    values: Keys = {
        "name": "synthetic",
        "data": {"log": "log.parquet", "user_id": "user", "item_id": "item", "time": "ts"},
        "split": {"by": "time", "valid": 0.15, "test": 0.15},
        "tasks": [
            *({"name": task, "label": task} for task in OLD),
            {"name": NEW, "label": NEW, "new": True},
        ],
        "features": [
            {"name": "group", "kind": "categorical", "side": "user"},
            {"name": "item_id", "kind": "categorical", "side": "item", "column": "item"}
            | {"type": "int64"},
            {"name": "kind", "kind": "categorical", "side": "item"},
            {"name": "price", "kind": "dense", "side": "item"},
        ],
        "history": {
            "length": 4,
            "fields": ["item_id", "kind"],
            "behaviours": [{"name": "clicked", "where": "click = 1"}],
        },
        "model": {"embedding_dim": 4, "expert_units": [32, 16], "tower_units": [8]},
        "fit": {"epochs": 6, "patience": 6, "batch_size": 256, "learning_rate": 0.01},
        "tune": {"epochs": 12, "patience": 12, "batch_size": 256, "learning_rate": 0.01},
    }
    for name, keys in sections.items():
        known = values.get(name, {})
        both = isinstance(known, dict) and isinstance(keys, dict)
        values[name] = {**cast("Keys", known), **cast("Keys", keys)} if both else keys
    return TrainConfig.model_validate(values)


def prepared_world(
    folder: Path, config: TrainConfig, *, rows: int = 6000, noise: float = 0.3
) -> tuple[World, Prepared]:
    """A written log and what it becomes under a configuration."""
    world = write_log(folder, rows=rows, noise=noise)
    return world, prepare(config, folder)


@dataclass(frozen=True, slots=True)
class Fitted:
    """A trained backbone and what it was trained on."""

    world: World
    config: TrainConfig
    prepared: Prepared
    result: FitResult

    @property
    def new_task(self) -> TaskConfig:
        return next(task for task in self.config.tasks if task.new)


def fitted_world(folder: Path) -> Fitted:
    config = synthetic_config()
    world, prepared = prepared_world(folder, config)
    return Fitted(world, config, prepared, fit(config, prepared, run_dir=folder / "run"))

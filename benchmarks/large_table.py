"""A bundle with a large embedding table and a small model: what memory and starting cost.

    bytes --write_large_bundle--> folder/bundle: an invented log of that many users, drawn weights

Nothing is learned: each user stands in the log once, and the network keeps its first weights.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import polars as pl
import torch

from export.bundle import ExportOptions, export_bundle
from export.serving import ServingOptions
from training.checkpoint import Checkpoint, CheckpointCard, read_checkpoint, write_checkpoint
from training.config import TrainConfig
from training.dataset import prepare
from training.model import build_model

_SHOP = Path(__file__).parent / "quick_shop.toml"
_WIDTH = 256
_ITEMS = 1000
_BYTES_PER_USER = 4 * _WIDTH
# The shop keeps three fifths of its rows for training, and only those users get a place.
_TRAINED_SHARE = 0.6


def write_large_bundle(folder: Path, table_bytes: int) -> Path:
    """The bundle's folder; minutes, and some times the table's size in memory."""
    folder.mkdir(parents=True, exist_ok=True)
    _write_log(folder, round(table_bytes / _BYTES_PER_USER / _TRAINED_SHARE))
    document = tomllib.loads(_SHOP.read_text(encoding="utf-8"))
    del document["history"]
    document["model"] = {"embedding_dim": _WIDTH, "expert_units": [64, 32], "tower_units": [16]}
    config = TrainConfig.model_validate(document)
    prepared = prepare(config, folder)
    tasks = tuple(task.name for task in config.tasks if not task.new)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        model = build_model(config.model, prepared.schema, tasks).eval()
    card = CheckpointCard(
        config=config,
        schema=prepared.schema,
        tasks=tasks,
        metrics={},
        seed=0,
        parameters=sum(p.numel() for p in model.parameters()),
        fingerprint="",
        history=(),
    )
    write_checkpoint(folder / "checkpoint", Checkpoint(card, model, prepared.lookups))
    options = ExportOptions(serving=ServingOptions(quantise=False))
    checkpoint = read_checkpoint(folder / "checkpoint")
    return export_bundle(checkpoint, prepared.valid, folder / "bundle", options).folder


def _write_log(folder: Path, users: int) -> None:
    chance = np.random.default_rng(0)
    pl.DataFrame(
        {
            "user": np.arange(users, dtype=np.int64),
            "item": chance.integers(0, _ITEMS, users),
            "at": np.arange(users, dtype=np.int64),
            "mood": np.where(chance.random(users) < 0.5, "calm", "keen"),  # noqa: PLR2004
            **{name: chance.integers(0, 2, users) for name in ("click", "stay", "buy")},
        }
    ).write_parquet(folder / "log.parquet")

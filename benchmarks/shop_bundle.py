"""A bundle of serving size, made from the made-up shop: for figures of serving, not of learning.

train_shop(folder)        --trained for one epoch--> folder/run
write_shop_bundle(folder) --exported-------------> folder/bundle, whose requests take milliseconds
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path

from benchmarks.quick_data import write_quick_data
from export.bundle import export_bundle
from training.checkpoint import read_checkpoint
from training.config import TrainConfig
from training.dataset import prepare
from training.fit import fit

_SHOP = Path(__file__).parent / "quick_shop.toml"
_MODEL: Mapping[str, object] = {
    "bottom": "stem",
    "embedding_dim": 32,
    "expert_units": [512, 256],
    "tower_units": [128],
}
CANDIDATES = 100
REQUEST = {"user_id": 1, "item_ids": [n % 40 for n in range(CANDIDATES)]}


def train_shop(folder: Path, model: Mapping[str, object] = _MODEL) -> None:
    """The shop's log in folder, a model of it in folder/run."""
    folder.mkdir(parents=True, exist_ok=True)
    write_quick_data(folder)
    document = tomllib.loads(_SHOP.read_text(encoding="utf-8"))
    document |= {"model": model, "fit": {"epochs": 1, "batch_size": 512}}
    config = TrainConfig.model_validate(document)
    fit(config, prepare(config, folder), run_dir=folder / "run")


def write_shop_bundle(folder: Path) -> Path:
    """Takes about a minute."""
    train_shop(folder)
    checkpoint = read_checkpoint(folder / "run" / "backbone")
    rows = prepare(checkpoint.card.config, folder, lookups=checkpoint.lookups).test
    return export_bundle(checkpoint, rows, folder / "bundle").folder

"""The bundles that service tests run on, made by the real road.

`python -m tests.builders NAME...` trains, exports and tunes a model of a few hundred parameters on
a log it invents, and writes tests/golden/NAME. They are committed: tests of the service need no
torch, and every later version must still open them.

tiny            has every kind of field, one that only a request can tell among them
tiny_retrained  the same on a later log, with users that the first did not know
wide            knows all of an item from its catalogue, and has products large enough for 8 bits
dtrn            takes prompts that condition it: share is one, skip a plain one
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from contract.prompt import read_prompt
from export.bundle import ExportOptions, ExportResult, export_bundle
from export.prompt import export_prompt
from export.serving import ServingOptions
from training.checkpoint import Checkpoint, read_checkpoint
from training.config import TrainConfig
from training.dataset import Prepared, prepare
from training.fit import fit
from training.tune import tune

GOLDEN = Path(__file__).parent / "golden"
TINY, RETRAINED, WIDE = GOLDEN / "tiny", GOLDEN / "tiny_retrained", GOLDEN / "wide"
DTRN = GOLDEN / "dtrn"
NEW_TASKS = ("share", "skip")
USERS, ITEMS, ROWS = 30, 20, 900
CONFIG: dict[str, Any] = {
    "name": "tiny",
    "data": {
        "log": "log.parquet",
        "user_id": "user",
        "item_id": "item",
        "time": "ts",
        "items": {"path": "items.parquet", "key": "item"},
    },
    "split": {"by": "time", "valid": 0.15, "test": 0.15},
    "tasks": [
        {"name": "click", "label": "click"},
        {"name": "like", "label": "liked"},
        *({"name": name, "label": name, "new": True} for name in NEW_TASKS),
    ],
    "features": [
        {"name": "user_id", "column": "user", "kind": "categorical", "side": "user"},
        {"name": "age", "kind": "dense", "side": "user"},
        {"name": "hobbies", "kind": "multivalued", "side": "user", "max_values": 3},
        {"name": "device", "kind": "categorical", "side": "context"},
        {
            "name": "item_id",
            "column": "item",
            "kind": "categorical",
            "side": "item",
            "type": "int64",
        },
        {"name": "colour", "kind": "categorical", "side": "item"},
        {"name": "price", "kind": "dense", "side": "item"},
        {"name": "distance", "kind": "dense", "side": "cross"},
    ],
    "history": {
        "length": 5,
        "fields": ["item_id", "colour"],
        "behaviours": [
            {"name": "clicked", "where": "click = 1"},
            {"name": "liked", "where": "liked = 1"},
        ],
    },
    "model": {"embedding_dim": 4, "expert_units": [12, 8], "tower_units": [6], "init": "torch"},
    "fit": {"epochs": 2, "batch_size": 128, "learning_rate": 0.01, "l2_embedding": 0.0},
    "tune": {"epochs": 2, "batch_size": 128, "learning_rate": 0.01},
}
WIDE_CONFIG = CONFIG | {
    "name": "wide",
    "features": [f for f in CONFIG["features"] if f["name"] != "distance"],
    "model": {"embedding_dim": 4, "expert_units": [80, 64], "tower_units": [6], "init": "torch"},
}
DTRN_CONFIG = WIDE_CONFIG | {
    "name": "dtrn",
    "model": CONFIG["model"]
    | {
        "bottom": "dtrn",
        "mixer": "mmoe",
        "shared_experts": 2,
        "dtrn": {"width": 8, "condition_width": 4, "hyper_width": 6},
    },
    "tune": CONFIG["tune"] | {"dtrn": True},
}


def write_log(folder: Path, seed: int = 0) -> None:
    """A log with string users, integer items and every kind of field; more users by seed."""
    rng, users = np.random.default_rng(seed), USERS + seed
    user, item = rng.integers(users, size=ROWS), rng.integers(ITEMS, size=ROWS)
    hobbies = [["chess", "dance", "cook"][: n % 4] for n in range(users)]
    pull = np.sin(user) + np.cos(item) + rng.logistic(scale=0.3, size=ROWS)
    pl.DataFrame(
        {
            "user": [f"user-{n}" for n in user],
            "item": item + 100,
            "ts": np.arange(ROWS) // 2 + 1_000_000,
            "age": 20.0 + user,
            "hobbies": [hobbies[n] for n in user],
            "device": np.where(rng.random(ROWS) < 0.5, "phone", "desk"),
            "distance": rng.random(ROWS),
            "click": (pull > 0).astype(np.int64),
            "liked": (pull > 1).astype(np.int64),
            "share": (pull + np.sin(user) > 1).astype(np.int64),
            "skip": (pull < -1).astype(np.int64),
        }
    ).write_parquet(folder / "log.parquet")
    items = np.arange(ITEMS + 5)
    pl.DataFrame(
        {
            "item": items + 100,
            "colour": [("red", "green", "blue")[n % 3] for n in items],
            "price": (items * 7 % 11).astype(np.float64),
        }
    ).write_parquet(folder / "items.parquet")


def trained(
    folder: Path, wanted: Mapping[str, Any] = CONFIG, seed: int = 0
) -> tuple[Checkpoint, Prepared]:
    """A model, the tiny one by default, trained in the folder."""
    write_log(folder, seed)
    config = TrainConfig.model_validate(wanted).seeded(seed)
    fit(config, prepare(config, folder), run_dir=folder / "run")
    checkpoint = read_checkpoint(folder / "run" / "backbone")
    return checkpoint, prepare(config, folder, lookups=checkpoint.lookups)


def exported(
    folder: Path, out: Path, wanted: Mapping[str, Any] = CONFIG, seed: int = 0
) -> tuple[Checkpoint, Prepared, ExportResult]:
    """A model, the tiny one by default, as a bundle at out."""
    checkpoint, prepared = trained(folder, wanted, seed)
    # A hundred rows tell less of AUC than the gate of a real bundle asks for.
    options = ExportOptions(serving=ServingOptions(auc_loss=0.01))
    return checkpoint, prepared, export_bundle(checkpoint, prepared.test, out, options)


def prompt_file(checkpoint: Checkpoint, prepared: Prepared, task: str, bundle: Path) -> bytes:
    """A tuned prompt's file; skip never conditions the backbone."""
    config = checkpoint.card.config
    wanted = next(t for t in config.tasks if t.name == task)
    switches = config.tune.model_copy(update={"dtrn": config.tune.dtrn and task != "skip"})
    result = tune(checkpoint, prepared, wanted, switches)
    return export_prompt(checkpoint, result.prompt, prepared.test, bundle)


def build(out: Path, wanted: Mapping[str, Any], seed: int) -> None:
    """Write one of the folders anew."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        checkpoint, prepared, _ = exported(folder, folder / "bundle", wanted, seed)
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        for task in NEW_TASKS:
            data = prompt_file(checkpoint, prepared, task, folder / "bundle")
            (out / f"{task}.safetensors").write_bytes(data)
            read_prompt(data)
        shutil.copytree(folder / "bundle", out / "bundle")


if __name__ == "__main__":
    known = {
        "tiny": (CONFIG, 0),
        "tiny_retrained": (CONFIG, 6),
        "wide": (WIDE_CONFIG, 0),
        "dtrn": (DTRN_CONFIG, 0),
    }
    for name in sys.argv[1:]:
        build(GOLDEN / name, *known[name])

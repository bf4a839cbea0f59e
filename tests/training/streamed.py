"""Logs as shards, and what holding or streaming them costs.

python -m tests.training.streamed FOLDER --> {case: peak of anonymous memory in bytes}
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import numpy as np
import polars as pl

from training.config import TrainConfig
from training.dataset import prepare
from training.fit import fit
from training.report import split_facts

SHARD, USERS, ITEMS, HELD_OUT = 10_000, 500, 200, 2_000
FEW, MANY = 4, 16
_KEYS: dict[str, object] = {"user_id": "user", "item_id": "item", "time": "ts"}
_CONFIG: dict[str, object] = {
    "name": "streamed",
    "tasks": [{"name": "click", "label": "click"}, {"name": "buy", "label": "buy"}],
    "features": [
        {"name": "user", "kind": "categorical", "side": "user", "type": "int64"},
        {"name": "hour", "kind": "categorical", "side": "context", "type": "int64"},
        {"name": "item", "kind": "categorical", "side": "item", "type": "int64"},
        {"name": "price", "kind": "dense", "side": "cross"},
    ],
    "model": {"mixer": "shared_bottom", "embedding_dim": 4}
    | {"expert_units": [16], "tower_units": [8], "gate_units": []},
    "fit": {"epochs": 1, "batch_size": 2048, "device": "cpu"},
}


def cut(log: pl.DataFrame, folder: Path, shards: int) -> None:
    """log_00.parquet and so on, in the order of the rows."""
    size = -(-len(log) // shards)
    for at, piece in enumerate(log.iter_slices(size)):
        piece.write_parquet(folder / f"log_{at:02}.parquet")


def train(folder: Path, shards: int, *, stream: bool) -> None:
    """Prepare, fit and count on the first shards; held-out rows are as many for any number."""
    pattern = "log_0[0-3].parquet" if shards == FEW else "log_*.parquet"
    end = shards * SHARD
    split = {"by": "boundaries", "valid_from": end - 2 * HELD_OUT, "test_from": end - HELD_OUT}
    data = {**_KEYS, "log": pattern, "stream": stream}
    config = TrainConfig.model_validate({**_CONFIG, "data": data, "split": split})
    prepared = prepare(config, folder)
    fit(config, prepared, run_dir=folder / "run")
    split_facts(prepared, ["click", "buy"])


@contextmanager
def watched() -> Iterator[Callable[[], int]]:
    """The most anonymous memory, of this process, that a thread saw meanwhile; page cache apart."""
    peak, ended = 0, Event()

    def watch() -> None:
        nonlocal peak
        while not ended.wait(0.002):
            status = Path("/proc/self/status").read_text(encoding="ascii")
            line = next(line for line in status.splitlines() if line.startswith("RssAnon"))
            peak = max(peak, int(line.split()[1]) * 1024)

    thread = Thread(target=watch)
    thread.start()
    try:
        yield lambda: peak
    finally:
        ended.set()
        thread.join()


def main() -> None:
    folder = Path(sys.argv[1])
    rng = np.random.default_rng(0)
    rows = MANY * SHARD
    columns = {
        "user": rng.integers(USERS, size=rows),
        "item": rng.integers(ITEMS, size=rows),
        "ts": np.arange(rows),
        "hour": np.arange(rows) // 10 % 24,
        "price": rng.uniform(size=rows),
        "click": rng.integers(2, size=rows),
        "buy": rng.integers(2, size=rows),
    }
    cut(pl.DataFrame(columns), folder, MANY)
    columns.clear()
    peaks = {}
    for name, shards, stream in (
        ("warm", FEW, True),
        ("few", FEW, True),
        ("many", MANY, True),
        ("held", MANY, False),
    ):
        with watched() as peak:
            train(folder, shards, stream=stream)
            peaks[name] = peak()
    sys.stdout.write(json.dumps(peaks))


if __name__ == "__main__":
    main()

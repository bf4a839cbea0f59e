"""The page on one's own data: its blocks are one configuration, and it trains on a made-up shop."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from tests.docs.blocks import DOCS, blocks
from tests.docs.shell import run_page

USERS, PRODUCTS, ROWS = 30, 20, 1200
PAGE = list(blocks(DOCS / "your-data.md"))
LONG, SHORT = "epochs = 30 ", "epochs = 1 "


def write_shop(folder: Path) -> None:
    """Two shards of a log, and its users and products, with the columns that the page names."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    day = 86_400_000
    log = pl.DataFrame(
        {
            "user": random.integers(0, USERS, ROWS),
            "product": random.integers(0, PRODUCTS, ROWS),
            "ts": 1_700_000_000_000 + np.arange(ROWS) * (day // 24),
            "clock": random.integers(0, 2400, ROWS),
            "is_test": random.random(ROWS) < 0.05,
            **{name: random.integers(0, 2, ROWS) for name in ("clicked", "bought", "returned")},
        },
    ).with_columns(pl.col("is_test").cast(pl.Int64))
    log[: ROWS // 2].write_parquet(folder / "log_1.parquet")
    log[ROWS // 2 :].write_parquet(folder / "log_2.parquet")
    cities = ["Bern", "Graz", "Lyon"]
    pl.DataFrame(
        {"user": np.arange(USERS), "city": [cities[number % 3] for number in range(USERS)]}
    ).write_parquet(folder / "users.parquet")
    pl.DataFrame(
        {
            "product": np.arange(PRODUCTS),
            "category": [f"kind {number % 4}" for number in range(PRODUCTS)],
            "categories": ["new|red" if number % 2 else "old" for number in range(PRODUCTS)],
        }
    ).write_csv(folder / "products.csv")


def test_the_pages_blocks_train_on_a_log_of_their_columns(tmp_path: Path, tools: Path) -> None:
    write_shop(tmp_path / "data" / "shop")
    whole = "\n".join(block.text for block in PAGE if block.kind == "toml")
    assert LONG in whole
    (tmp_path / "whole.toml").write_text(whole.replace(LONG, SHORT), encoding="utf-8")
    # The proposal waits for its reader to say what a task is: the page's own file stands in.
    instead = {"taskgraft train shop.toml": "taskgraft train whole.toml"}
    told = run_page(PAGE, tmp_path, tools, instead)
    assert told.code == 0, f"{told.reached}\n{told.errors}"
    proposed = (tmp_path / "shop.toml").read_text(encoding="utf-8")
    assert all(column in proposed for column in ("clicked", "bought", "returned"))
    assert "click" in told.output("taskgraft train")

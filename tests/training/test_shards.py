"""A log read shard by shard is the log."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import polars as pl
import pytest
import torch

from tests.training.small_log import FEATURES, SHOP, Rows, acts, shop_config, write_shop
from tests.training.streamed import cut
from training import epoch
from training.arrays import Spool
from training.config import FitConfig, TrainConfig
from training.dataset import Dataset, Prepared, prepare
from training.epoch import epoch_steps
from training.errors import DataError
from training.fit import fit
from training.inputs import Batch
from training.shards import Shards

ROOT = Path(__file__).parents[2]
SPLIT = {"by": "boundaries", "valid_from": 1_018, "test_from": 1_024}
# city changes from row to row, brand is gathered from the log: nothing stands in a table.
BARE: list[dict[str, Any]] = [f for f in FEATURES if f["name"] in ("user", "item", "distance")]
BARE += [
    {"name": "city", "kind": "categorical", "side": "user"},
    {"name": "brand", "kind": "categorical", "side": "item"},
]


def config(
    log: str = "log_*.parquet", *, stream: bool = True, bare: bool = False, **sections: object
) -> TrainConfig:
    data: dict[str, object] = {"log": log, "stream": stream}
    if bare:
        data |= {"users": None, "items": None}
    features = BARE if bare else FEATURES
    return shop_config(data=data, split=SPLIT, history=None, features=features, **sections)


def write_shards(folder: Path, rows: Rows | None = None, shards: int = 4) -> Path:
    rows = rows or acts()
    rows["city"] = [f"c{n % 7}" for n in range(len(rows["user"]))]
    rows["brand"] = [f"b{n % 3}" if n % 4 else None for n in range(len(rows["user"]))]
    write_shop(folder, rows)
    cut(pl.read_parquet(folder / "log.parquet"), folder, shards)
    return folder


def splits(prepared: Prepared) -> tuple[Dataset, Dataset, Dataset]:
    return prepared.train, prepared.valid, prepared.test


def tensors(batch: Batch) -> list[torch.Tensor]:
    """Per row: a request cut in two by a shard's end has its user tensors twice."""
    inputs = batch.inputs
    user = (inputs.user_ids, inputs.user_dense, inputs.user_bags)
    item = (inputs.item_ids, inputs.item_dense, inputs.item_bags)
    return [*(t[inputs.row_user] for t in user), *item, batch.labels, batch.mask]


@pytest.mark.parametrize("bare", [False, True])
@pytest.mark.parametrize("shards", [1, 4, 7])
def test_streamed_rows_are_encoded_as_those_read_at_once(
    tmp_path: Path, shards: int, *, bare: bool
) -> None:
    write_shards(tmp_path, shards=shards)
    streamed = prepare(config(bare=bare), tmp_path)
    whole = prepare(config(bare=bare, stream=False), tmp_path)
    assert streamed.schema == whole.schema
    assert list(streamed.profiles()) == list(whole.profiles())
    for ours, theirs in zip(splits(streamed), splits(whole), strict=True):
        assert len(ours) == len(theirs)
        assert torch.equal(ours.users, theirs.users)
        order = torch.randperm(len(ours), generator=torch.Generator().manual_seed(0))
        pair = (tensors(each.batch(order, ["buy", "click"])) for each in (ours, theirs))
        for a, b in zip(*pair, strict=True):
            assert torch.equal(a, b)
        for row in order.tolist():
            one = torch.tensor([row])
            assert ours.raw_request(one) == theirs.raw_request(one)


def test_an_item_is_as_first_seen_whatever_the_names_of_the_shards(tmp_path: Path) -> None:
    write_shards(tmp_path)
    for at, file in enumerate(sorted(tmp_path.glob("log_*.parquet"), reverse=True)):
        file.rename(tmp_path / f"turned_{at}.parquet")
    streamed, whole = (
        prepare(config(log="turned_*.parquet", bare=True, stream=stream), tmp_path)
        for stream in (True, False)
    )
    assert streamed.schema == whole.schema
    assert (streamed.lookups.items.ids == whole.lookups.items.ids).all()
    assert list(streamed.profiles()) == list(whole.profiles())


def test_in_the_order_of_the_log_streamed_training_is_training(tmp_path: Path) -> None:
    write_shards(tmp_path)
    model = {"mixer": "mmoe", "embedding_dim": 2, "expert_units": [4], "tower_units": [2]}
    fits = {"shuffle": "off", "epochs": 2, "batch_size": 7, "device": "cpu"}
    results = []
    for stream in (True, False):
        one = config(stream=stream, model=model, fit=fits)
        results.append(fit(one, prepare(one, tmp_path), run_dir=tmp_path / str(stream)).checkpoint)
    ours, theirs = (result.card.history for result in results)
    for a, b in zip(ours, theirs, strict=True):
        assert a.losses == pytest.approx(b.losses, abs=1e-6)
    # Up to rounding: users of a batch are numbered in another order.
    weights = results[1].model.state_dict()
    for name, tensor in results[0].model.state_dict().items():
        torch.testing.assert_close(tensor, weights[name], rtol=0, atol=1e-4)


def test_an_epoch_by_blocks_takes_every_row_once_in_whole_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(epoch, "BLOCK", 4)
    monkeypatch.setattr(epoch, "_BUFFER", 3)
    train = prepare(config(), write_shards(tmp_path)).train
    settings = FitConfig(batch_size=5)
    generator = torch.Generator().manual_seed(0)
    first, second = (list(epoch_steps(train, settings, generator)) for _ in range(2))
    for steps in (first, second):
        assert torch.cat(steps).sort().values.tolist() == list(range(len(train)))
        assert [len(rows) for rows in steps] == [5] * 7 + [1]
    assert not torch.equal(torch.cat(first), torch.cat(second))
    # The first buffer holds three blocks of four neighbours.
    assert len({row // 4 for row in torch.cat(first)[:12].tolist()}) <= 4
    ordered = epoch_steps(train, FitConfig(batch_size=5, shuffle="off"), generator)
    assert torch.cat(list(ordered)).tolist() == list(range(len(train)))


def test_memory_does_not_grow_with_the_rows_of_a_streamed_log(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.training.streamed", str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    peak = json.loads(done.stdout)
    # 120,000 rows more: streamed they cost nothing.
    assert peak["many"] - peak["few"] < 10e6, peak
    assert peak["held"] - peak["many"] > 25e6, peak


def test_shards_of_different_columns_are_refused_by_name(tmp_path: Path) -> None:
    write_shards(tmp_path)
    odd = tmp_path / "log_02.parquet"
    table = pl.read_parquet(odd)
    table.drop("page").write_parquet(odd)
    with pytest.raises(DataError, match=r"log_02.parquet has other columns .*: page is missing"):
        prepare(config(), tmp_path)
    table.cast({"act": pl.Int32}).write_parquet(odd)
    with pytest.raises(DataError, match=r"log_02.parquet .*: act is Int32 there and Int64"):
        prepare(config(), tmp_path)


def test_an_empty_or_damaged_shard_is_refused_by_name(tmp_path: Path) -> None:
    write_shards(tmp_path)
    shard = tmp_path / "log_01.parquet"
    pl.read_parquet(shard).clear().write_parquet(shard)
    with pytest.raises(DataError, match=r"log_01.parquet holds no rows"):
        prepare(config(), tmp_path)
    shard.write_bytes(b"")
    with pytest.raises(DataError, match=r"log_01.parquet cannot be read"):
        prepare(config(), tmp_path)


def test_a_shard_of_which_where_keeps_nothing_is_skipped(tmp_path: Path) -> None:
    write_shards(tmp_path)
    first = pl.read_parquet(tmp_path / "log_00.parquet")
    data = {"log": "log_*.parquet", "stream": True, "where": f"at > {first['at'].to_list()[-1]}"}
    prepared = prepare(shop_config(data=data, split=SPLIT, history=None), tmp_path)
    assert (
        sum(map(len, splits(prepared))) == 44
    )  # the first shard's last second goes on in the next


def test_what_is_wrong_in_one_shard_names_it(tmp_path: Path) -> None:
    rows = acts()
    rows["user"][40] = None
    with pytest.raises(DataError, match=r"log_02.parquet: 1 of 15 rows of the log have no user"):
        prepare(config(), write_shards(tmp_path, rows))


def test_a_shard_that_goes_or_changes_meanwhile_is_named(tmp_path: Path) -> None:
    shards = Shards.open(config(), write_shards(tmp_path))
    shard = tmp_path / "log_03.parquet"
    pl.read_parquet(shard).head(3).write_parquet(shard)
    with pytest.raises(DataError, match=r"log_03.parquet changed .* 15 rows before, 3 now"):
        list(shards)
    shard.unlink()
    with pytest.raises(DataError, match=r"log_03.parquet is gone"):
        list(shards)


def test_csv_shards_are_not_streamed(tmp_path: Path) -> None:
    write_shop(tmp_path)
    pl.DataFrame(acts()).write_csv(tmp_path / "log.csv")
    data = {"log": "log.csv", "stream": True}
    with pytest.raises(DataError, match=r"log.csv: data.stream reads Parquet"):
        prepare(shop_config(data=data, split=SPLIT, history=None), tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split": {"by": "time"}}, 'cannot split by = "time"'),
        ({"history": SHOP["history"]}, "cannot build histories"),
        ({"fit": {"shuffle": "requests"}}, "shuffles by row"),
    ],
)
def test_what_needs_the_whole_log_is_refused(changes: dict[str, object], message: str) -> None:
    base: dict[str, object] = {"data": {"stream": True}, "split": SPLIT, "history": None}
    with pytest.raises(ValueError, match=message):
        shop_config(**{**base, **changes})


def _full_disk(buffering: int) -> IO[bytes]:
    return Path("/dev/full").open("wb", buffering=buffering)


def test_a_full_disk_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.TemporaryFile", _full_disk)
    monkeypatch.setattr("tempfile.gettempdir", lambda: "the-temporary-folder")
    with pytest.raises(DataError, match=r"fit into the-temporary-folder: No space left"):
        prepare(config(), write_shards(tmp_path))


def test_nothing_is_not_mapped() -> None:
    with pytest.raises(ValueError, match="nothing was added"):
        Spool().mapped()

"""Several ranks learn what one does: real processes that talk gloo on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import torch

from benchmarks.ports import free_port
from tests.training.streamed import cut
from tests.training.synthetic import Fitted, write_log
from training.checkpoint import read_checkpoint
from training.config import read_config
from training.dataset import prepare
from training.epoch import Pass
from training.errors import ConfigError
from training.fit import fit
from training.ranks import ALONE, Ranks

ROOT = Path(__file__).parents[2]
CONFIG = """
name = "ranks"
data = { log = "log.parquet", user_id = "user", item_id = "item", time = "ts" }
split = { valid = 0.15, test = 0.15 }
tasks = [
  { name = "click", label = "click" },
  { name = "like", label = "CASE WHEN item % 3 <> 0 THEN like END", weight = 2.0 },
]
features = [
  { name = "group", kind = "categorical", side = "user" },
  { name = "item_id", kind = "categorical", side = "item", column = "item", type = "int64" },
  { name = "kind", kind = "categorical", side = "item" },
  { name = "price", kind = "dense", side = "item" },
]
[model]
embedding_dim = 4
expert_units = [16, 8]
tower_units = [8]
gan = { env_interval = 1 }
[fit]
epochs = 3
batch_size = 131
learning_rate = 0.01
l2_network = 1e-4
l2_embedding = 1e-5
clip_norm = 0.5
average = 0.9
device = "cpu"
"""


def two_ranks(
    folder: Path, run: Path, *more: str, config: str = "ranks.toml"
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--master-addr", "127.0.0.1", "--master-port", str(free_port()), "-m", "training"]
    command += [str(folder / config), "--data", str(folder), "--out", str(run), *more]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240, check=False
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    write_log(folder, rows=1500)
    (folder / "ranks.toml").write_text(CONFIG, encoding="utf-8")
    return folder


def test_two_ranks_reproduce_one(home: Path) -> None:
    done = two_ranks(home, home / "two")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["ranks"] == 2
    two = read_checkpoint(home / "two" / "backbone")
    config = read_config(home / "ranks.toml")
    one = fit(config, prepare(config, home), run_dir=home / "one").checkpoint
    assert len(two.card.history) == len(one.card.history) == 3
    for ours, theirs in zip(two.card.history, one.card.history, strict=True):
        assert ours.losses == pytest.approx(theirs.losses, abs=1e-5)
        assert ours.auc == pytest.approx(theirs.auc, abs=1e-3)
        assert ours.environments == pytest.approx(theirs.environments, abs=5)
        assert ours.best == theirs.best
    weights = one.model.state_dict()
    for name, tensor in two.model.state_dict().items():
        torch.testing.assert_close(tensor, weights[name], rtol=0, atol=1e-3)


def test_two_ranks_reproduce_one_on_a_streamed_log(home: Path) -> None:
    cut(pl.read_parquet(home / "log.parquet"), home, 3)
    text = CONFIG.replace('"log.parquet"', '"log_*.parquet", stream = true')
    bounds = 'by = "boundaries", valid_from = 1001050, test_from = 1001275'
    text = text.replace("valid = 0.15, test = 0.15", bounds).replace("epochs = 3", "epochs = 2")
    (home / "streamed.toml").write_text(text, encoding="utf-8")
    done = two_ranks(home, home / "streamed-two", config="streamed.toml")
    assert done.returncode == 0, done.stderr
    two = read_checkpoint(home / "streamed-two" / "backbone").card.history
    config = read_config(home / "streamed.toml")
    one = fit(config, prepare(config, home), run_dir=home / "streamed-one").checkpoint.card.history
    assert len(two) == len(one) == 2
    for ours, theirs in zip(two, one, strict=True):
        assert ours.losses == pytest.approx(theirs.losses, abs=1e-5)


def test_what_several_ranks_cannot_count_is_refused(home: Path) -> None:
    config = read_config(home / "ranks.toml")
    config = config.model_copy(
        update={"fit": config.fit.model_copy(update={"l2_scope": "batch_rows"})}
    )
    with pytest.raises(ConfigError, match="train on one rank"):
        fit(config, prepare(config, home), run_dir=home / "refused", ranks=Ranks(0, 2))


@pytest.mark.parametrize("rows", [0, 1, 2, 7])
def test_the_slices_of_a_batch_are_the_batch(rows: int) -> None:
    whole = torch.arange(rows)
    slices = [Ranks(rank, 3).own(whole) for rank in range(3)]
    assert torch.equal(torch.cat(slices), whole)
    assert max(map(len, slices)) - min(map(len, slices)) <= 1
    assert torch.equal(ALONE.own(whole), whole)


def test_every_rank_moves_the_shared_stream_alike(fitted: Fitted) -> None:
    settings = fitted.config.fit.model_copy(update={"history_dropout": 0.5})
    states = []
    for rank in range(2):
        generator = torch.Generator().manual_seed(0)
        data = Pass(fitted.prepared.train, ("click", "like"), settings, Ranks(rank, 2))
        batches = [data.batch(torch.arange(n), generator) for n in (100, 1)]
        assert (batches[1] is None) == (rank == 1)
        states.append(generator.get_state())
    assert torch.equal(*states)

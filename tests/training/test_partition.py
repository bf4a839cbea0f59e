"""Splits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from training.data_config import DataConfig, SplitConfig
from training.errors import DataError
from training.log import PART, TIME, USER
from training.partition import Parts, partition

DATA = DataConfig(log="log.parquet", time="at", user_id="user")


def split(rows: dict[str, list[object]], **values: object) -> Parts:
    return partition(pl.DataFrame(rows), SplitConfig.model_validate(values), DATA)


def test_by_time_the_shares_are_cut_at_moments() -> None:
    parts = split({TIME: list(range(10))}, by="time", valid=0.1, test=0.2)
    assert parts.tolist() == [0] * 7 + [1] + [2] * 2


def test_rows_of_one_moment_stay_together() -> None:
    parts = split({TIME: [0, 1, 2, 3, 3, 3, 6, 7, 8, 9]}, by="time", valid=0.5, test=0.1)
    assert parts.tolist() == [0, 0, 0, 0, 0, 0, 1, 1, 1, 2]


def test_by_user_time_each_users_last_rows_judge() -> None:
    rows: dict[str, list[object]] = {USER: [1, 2] * 10, TIME: list(range(20))}
    parts = split(rows, by="user_time", valid=0.1, test=0.1)
    assert parts.tolist() == [0] * 16 + [1] * 2 + [2] * 2


def test_boundaries_belong_to_the_later_part() -> None:
    rows: dict[str, list[object]] = {TIME: [second * 1_000_000 for second in range(5)]}
    assert split(rows, by="boundaries", valid_from=2, test_from=4).tolist() == [0, 0, 1, 1, 2]


def test_a_boundary_may_be_a_date_with_or_without_its_zone() -> None:
    noon = datetime(2022, 5, 4, 12, tzinfo=UTC)
    times = [noon - timedelta(hours=5), noon - timedelta(hours=4), noon]
    rows: dict[str, list[object]] = {TIME: [round(t.timestamp() * 1e6) for t in times]}
    parts = split(rows, valid_from="2022-05-04T16:00:00+08:00", test_from="2022-05-04T12:00:00",
                  by="boundaries")  # fmt: skip
    assert parts.tolist() == [0, 1, 2]


def test_a_split_column_says_it_in_words() -> None:
    rows: dict[str, list[object]] = {PART: ["test", "train", "valid"]}
    assert split(rows, by="column", column="part").tolist() == [2, 0, 1]


@pytest.mark.parametrize("word", ["dev", None])
def test_another_word_in_the_split_column_is_refused(word: str | None) -> None:
    with pytest.raises(DataError, match="expected one of train, valid, test"):
        split({PART: ["train", word]}, by="column", column="part")


def test_random_parts_depend_on_the_seed_alone() -> None:
    rows: dict[str, list[object]] = {"x": [0] * 100}
    first, again = split(rows, by="random", seed=3), split(rows, by="random", seed=3)
    other = split(rows, by="random", seed=4)
    assert np.bincount(first).tolist() == [80, 10, 10]
    assert (first == again).all()
    assert (first != other).any()


def test_an_empty_part_is_refused() -> None:
    with pytest.raises(DataError, match="the valid split is empty"):
        split({TIME: [1, 1, 1]}, by="time")

"""The log and its side tables."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from tests.training.small_log import acts, shop_config, write_shop
from training.errors import DataError
from training.log import ITEM, ITEM_ROW, TIME, USER, USER_ROW, read_log


def test_repeated_rows_are_dropped_unless_told_otherwise(tmp_path: Path) -> None:
    rows = acts()
    twice = {name: values + values[:5] for name, values in rows.items()}
    write_shop(tmp_path, twice)
    assert len(read_log(shop_config(), tmp_path).rows) == 60
    assert len(read_log(shop_config(data=_data(unique=False)), tmp_path).rows) == 65


def _data(**changes: object) -> dict[str, object]:
    return changes


def test_rows_come_in_order_of_time(tmp_path: Path) -> None:
    write_shop(tmp_path, {name: values[::-1] for name, values in acts().items()})
    times = read_log(shop_config(), tmp_path).rows.get_column(TIME)
    assert times.is_sorted()
    assert times[0] == 1_000 * 1_000_000


@pytest.mark.parametrize("unit", ["s", "ms", "us"])
def test_times_are_microseconds_whatever_the_column_counts(tmp_path: Path, unit: str) -> None:
    write_shop(tmp_path)
    times = read_log(shop_config(data=_data(time_unit=unit)), tmp_path).rows.get_column(TIME)
    assert times[0] == 1_000 * {"s": 1_000_000, "ms": 1_000, "us": 1}[unit]


def test_a_datetime_column_is_a_time(tmp_path: Path) -> None:
    rows = acts()
    rows["at"] = [datetime.fromtimestamp(second, tz=UTC) for second in rows["at"]]
    times = read_log(shop_config(), write_shop(tmp_path, rows)).rows.get_column(TIME)
    assert times[0] == 1_000 * 1_000_000


def test_users_and_items_hold_side_table_and_log_alike(tmp_path: Path) -> None:
    log = read_log(shop_config(), write_shop(tmp_path))
    assert log.users.get_column(USER).to_list() == [1, 2, 3, 4, 5, 6]
    assert log.items.get_column(ITEM).to_list() == ["a", "b", "c", "d", "e"]
    assert log.items.get_column("brand").to_list() == ["x", "y", "x", "z", None]
    row = log.rows.row(7, named=True)
    assert log.users.row(row[USER_ROW], named=True)[USER] == row[USER]
    assert log.items.row(row[ITEM_ROW], named=True)[ITEM] == row[ITEM]


def test_an_item_attribute_of_the_log_is_taken_as_first_seen(tmp_path: Path) -> None:
    rows = acts()
    rows["brand"] = [None if n < 2 else f"brand{n}" for n in range(60)]
    write_shop(tmp_path, rows)
    log = read_log(
        shop_config(data=_data(items=None), features=_features("item", "brand")), tmp_path
    )
    brands = dict(log.items.select(ITEM, "brand").iter_rows())
    first: dict[str, str] = {}
    for item, brand in zip(rows["item"], rows["brand"], strict=True):
        if brand is not None:
            first.setdefault(item, brand)
    assert brands == first
    assert "brand" not in log.rows.columns


def _features(*names: str) -> list[object]:
    return [f for f in shop_config().features if f.name in names]


def test_where_and_derive_shape_the_log(tmp_path: Path) -> None:
    data = _data(derive={"double": "act * 2"}, where="double = 4")
    log = read_log(shop_config(data=data), write_shop(tmp_path))
    assert 0 < len(log.rows) < 60
    assert log.rows.get_column("label:buy").to_list() == [1.0] * len(log.rows)


def test_an_unknown_label_stays_unknown(tmp_path: Path) -> None:
    rows = acts()
    rows["act"][0] = None
    log = read_log(shop_config(), write_shop(tmp_path, rows))
    assert log.rows.get_column("label:click").null_count() == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": {"user_id": "who"}}, "data.user_id: no column 'who'"),
        ({"data": {"where": "act > 9"}}, "no rows"),
        ({"data": {"time": "page"}}, "holds String, expected numbers, dates or datetimes"),
        ({"data": {"users": {"path": "users.parquet", "key": "age"}}}, "once, in every row"),
        ({"tasks": [{"name": "t", "label": "act"}]}, "task t: 'act' gives 2 in"),
        ({"tasks": [{"name": "t", "label": "page"}]}, "the log: conversion from `str` to `f32`"),
        ({"split": {"column": "part"}}, "split.column: no column 'part'"),
    ],
)
def test_what_the_log_lacks_is_said_by_name(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    write_shop(tmp_path)
    with pytest.raises(DataError, match=message):
        read_log(shop_config(**changes), tmp_path)


def test_rows_without_a_key_are_refused_with_the_way_out(tmp_path: Path) -> None:
    rows = acts()
    rows["user"][3] = None
    with pytest.raises(DataError, match=r'1 of 60 rows .* where = "user IS NOT NULL"'):
        read_log(shop_config(), write_shop(tmp_path, rows))


def test_a_prior_table_brings_users_and_items_of_its_own(tmp_path: Path) -> None:
    write_shop(tmp_path)
    prior = {"user": [1, 9], "old": [["z", "a"], ["b"]]}
    pl.DataFrame(prior).write_parquet(tmp_path / "prior.parquet")
    table = {"path": "prior.parquet", "key": "user", "behaviours": {"seen": "old"}}
    log = read_log(shop_config(data=_data(prior=table)), tmp_path)
    assert 9 in log.users.get_column(USER)
    assert "z" in log.items.get_column(ITEM)


def test_only_an_optional_prior_table_may_be_absent(tmp_path: Path) -> None:
    write_shop(tmp_path)
    table = {"path": "prior.parquet", "key": "user", "behaviours": {"seen": "old"}}
    with pytest.raises(DataError, match="no file matches"):
        read_log(shop_config(data=_data(prior=table)), tmp_path)
    assert (
        read_log(shop_config(data=_data(prior={**table, "optional": True})), tmp_path).prior is None
    )

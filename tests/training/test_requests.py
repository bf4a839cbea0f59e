"""Which rows share one row of user tensors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.training.small_log import FEATURES, acts, shop_config, write_shop
from training.config import TrainConfig
from training.dataset import prepare
from training.log import read_log
from training.requests import group_requests

ALONE = {"user_id": None, "item_id": None, "time": None, "users": None, "items": None}


def grouped(config: TrainConfig, folder: Path) -> tuple[list[int], list[int]]:
    lookups = prepare(config, folder).lookups
    group, first = group_requests(read_log(config, folder).rows, lookups)
    assert np.array_equal(group[first], np.arange(len(first)))
    return group.tolist(), first.tolist()


def without_users(side: str) -> TrainConfig:
    page = [{**f, "side": side} for f in FEATURES if f["name"] == "page"]
    return shop_config(data=ALONE, split={"by": "random"}, features=page, history=None)


def test_one_user_at_one_moment_is_one_request(tmp_path: Path) -> None:
    group, first = grouped(shop_config(), write_shop(tmp_path))
    assert len(first) == 30
    assert group[0::2] == group[1::2]


def test_the_first_row_of_a_group_is_its_earliest(tmp_path: Path) -> None:
    _, first = grouped(shop_config(), write_shop(tmp_path))
    assert sorted(first) == list(range(0, 60, 2))


def test_rows_without_anything_on_the_users_side_are_one_group(tmp_path: Path) -> None:
    assert grouped(without_users("item"), write_shop(tmp_path)) == ([0] * 60, [0])


@pytest.mark.parametrize("side", ["user", "context"])
def test_rows_of_unknown_users_stand_alone(tmp_path: Path, side: str) -> None:
    group, _ = grouped(without_users(side), write_shop(tmp_path))
    assert group == list(range(60))


def test_only_what_the_encoders_tell_apart_makes_another_request(tmp_path: Path) -> None:
    rows = {**acts(), "page": ["home", "search"] * 30}
    write_shop(tmp_path, rows)
    rare = [{**f, "min_count": 99} if f["name"] == "page" else f for f in FEATURES]
    assert len(grouped(shop_config(), tmp_path)[1]) == 60
    assert len(grouped(shop_config(features=rare), tmp_path)[1]) == 30

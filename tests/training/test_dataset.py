"""From files to batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor

from contract.lookups import Lookups
from tests.training.small_log import FEATURES, acts, shop_config, write_shop
from training.dataset import prepare
from training.errors import DataError
from training.inputs import Inputs


def test_labels_and_mask_follow_the_tasks_asked_for(tmp_path: Path) -> None:
    rows = acts()
    rows["act"][1] = None
    train = prepare(shop_config(), write_shop(tmp_path, rows)).train
    assert train.tasks == ("click", "buy")
    wanted = torch.tensor([1, 4, 1])
    batch = train.batch(wanted, ["buy", "click"])
    assert batch.mask.tolist() == [[False, False], [True, True], [False, False]]
    act = rows["act"][4]
    assert batch.labels.tolist() == [[0, 0], [float(act == 2), float(act >= 1)], [0, 0]]
    assert batch.sample.tolist() == wanted.tolist()


def tiled(inputs: Inputs) -> list[Tensor]:
    """User tensors brought to rows, then item tensors."""
    row_user = inputs.row_user
    user = (inputs.user_ids, inputs.user_dense, inputs.user_bags, inputs.history)
    rest = (inputs.item_ids, inputs.item_dense, inputs.item_bags)
    return [*(values[row_user] for values in user), *rest]


def test_a_batch_in_any_order_holds_what_its_rows_hold_alone(tmp_path: Path) -> None:
    train = prepare(shop_config(), write_shop(tmp_path)).train
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(1))
    together = tiled(train.batch(order, ["click"]).inputs)
    for at, row in enumerate(order.tolist()):
        alone = tiled(train.batch(torch.tensor([row]), ["click"]).inputs)
        for values, own in zip(together, alone, strict=True):
            assert torch.equal(values[at], own[0])


def test_rows_of_one_user_and_moment_share_their_user_tensors(tmp_path: Path) -> None:
    train = prepare(shop_config(), write_shop(tmp_path)).train
    assert len(torch.unique(train.requests)) == len(train) // 2
    batch = train.batch(torch.arange(len(train)), ["click"])
    assert len(batch.inputs.user_ids) == len(train) // 2
    assert batch.inputs.row_user.dtype == torch.int32


def test_another_context_is_another_request(tmp_path: Path) -> None:
    rows = {**acts(), "page": ["home", "search"] * 30}
    train = prepare(shop_config(), write_shop(tmp_path, rows)).train
    assert len(torch.unique(train.requests)) == len(train)


def test_a_user_has_one_number_in_all_splits(tmp_path: Path) -> None:
    prepared = prepare(shop_config(), write_shop(tmp_path))
    users = torch.cat([prepared.train.users, prepared.valid.users, prepared.test.users])
    assert users.tolist() == [(n // 2) % 6 for n in range(60)]


def test_an_item_unseen_in_training_keeps_its_features(tmp_path: Path) -> None:
    rows = acts()
    rows["item"] = [*("abc" * 20)[:59], "d"]
    prepared = prepare(shop_config(), write_shop(tmp_path, rows))
    items = prepared.test.batch(torch.tensor([len(prepared.test) - 1]), ["click"]).inputs
    assert items.item_ids[0, 0] == prepared.schema.oov_row("item")
    assert items.item_dense[0, 0] == 1.0  # d costs more than all that training saw


def test_saved_lookups_give_the_same_arrays_again(tmp_path: Path) -> None:
    prepared = prepare(shop_config(), write_shop(tmp_path))
    prepared.lookups.save(tmp_path / "lookups")
    again = prepare(shop_config(), tmp_path, Lookups.open(tmp_path / "lookups"))
    assert again.schema == prepared.schema
    rows = torch.arange(len(again.test))
    for one, other in zip(
        tiled(prepared.test.batch(rows, ["click"]).inputs),
        tiled(again.test.batch(rows, ["click"]).inputs),
        strict=True,
    ):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    "changes",
    [
        {"features": [*FEATURES, {"name": "act", "kind": "categorical", "side": "context"}]},
        {"features": FEATURES[1:]},
        {"history": {"length": 5}},
    ],
)
def test_lookups_of_another_configuration_are_refused(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    lookups = prepare(shop_config(), write_shop(tmp_path)).lookups
    with pytest.raises(DataError, match="fitted for"):
        prepare(shop_config(**changes), tmp_path, lookups)


def test_a_task_of_one_class_is_refused_by_name_and_split(tmp_path: Path) -> None:
    rows = acts()
    rows["act"][:36] = [1] * 36
    with pytest.raises(DataError, match="task click has one class only in the train split: 36"):
        prepare(shop_config(), write_shop(tmp_path, rows))


def test_a_csv_log_gives_what_the_parquet_log_gives(tmp_path: Path) -> None:
    first = prepare(shop_config(), write_shop(tmp_path))
    pl.read_parquet(tmp_path / "log.parquet").write_csv(tmp_path / "log.csv")
    other = prepare(shop_config(data={"log": "log.csv"}), tmp_path)
    assert other.schema.digest() == first.schema.digest()
    np.testing.assert_array_equal(other.train.labels, first.train.labels)


def test_an_empty_batch_keeps_its_shapes(tmp_path: Path) -> None:
    train = prepare(shop_config(), write_shop(tmp_path)).train
    batch = train.batch(torch.tensor([], dtype=torch.int64), [])
    assert batch.inputs.history.shape == (0, 2, 4, 2)
    assert batch.inputs.item_ids.shape == (0, 2)
    assert batch.labels.shape == (0, 0)

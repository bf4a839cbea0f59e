"""Raw values to arrays."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from contract.lookups import Lookups
from tests.training.small_log import acts, shop_config, write_shop
from training.dataset import prepare
from training.encoded import columns_of, encode


@pytest.fixture
def lookups(tmp_path: Path) -> Lookups:
    rows = acts()
    rows["item"] = list("abcd" * 15)
    return prepare(shop_config(), write_shop(tmp_path, rows)).lookups


def test_missing_and_unknown_categories_are_out_of_vocabulary(lookups: Lookups) -> None:
    frame = pl.DataFrame({"brand": ["x", None, "never seen"]})
    encoded = encode(frame, lookups, "item")
    brand = [field.name for field in lookups.schema.categorical("item")].index("brand")
    unknown = lookups.schema.oov_row("brand")
    known = lookups.rows("brand", ["x"])[0]
    assert encoded.ids[:, brand].tolist() == [known, unknown, unknown]
    assert (encoded.ids[:, 1 - brand] == lookups.schema.oov_row("item")).all()


def test_numbers_are_scaled_and_clipped_and_missing_ones_are_the_minimum(lookups: Lookups) -> None:
    frame = pl.DataFrame({"price": [1.0, 3.0, 99.0, None]})
    price = [field.name for field in lookups.schema.dense("item")].index("price")
    assert encode(frame, lookups, "item").dense[:, price].tolist() == [0.0, 0.5, 1.0, 0.0]


def test_bags_keep_their_order_and_are_padded_at_the_end(lookups: Lookups) -> None:
    frame = pl.DataFrame({"tags": [["sale", "new"], [], None, ["odd"]]})
    sale, new = lookups.rows("tags", ["sale", "new"]).tolist()
    odd = lookups.schema.oov_row("tags")
    assert encode(frame, lookups, "item").bags.tolist() == [
        [sale, new, 0],
        [0, 0, 0],
        [0, 0, 0],
        [odd, 0, 0],
    ]


def test_columns_of_finds_where_fields_stand(lookups: Lookups) -> None:
    assert columns_of(lookups.schema, "item", ["brand", "distance"]) == ([1], [1], [])
    assert columns_of(lookups.schema, "item", ["tags"]) == ([], [], [0, 1, 2])

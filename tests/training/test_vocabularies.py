"""Encoders are fitted on the training split alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.training.small_log import FEATURES, acts, shop_config, write_shop
from training.config import TrainConfig
from training.errors import ConfigError, DataError
from training.log import ITEM, Log, read_log
from training.partition import TRAIN, VALID
from training.vocabularies import Fitted, fit_encoders


def fit(config: TrainConfig, folder: Path, rows: int = 60) -> tuple[Fitted, Log]:
    """Fit on the first rows of the log."""
    log = read_log(config, folder)
    parts = np.where(np.arange(len(log.rows)) < rows, TRAIN, VALID).astype(np.int8)
    return fit_encoders(config, [(log, parts)]), log


def test_keys_stand_by_falling_frequency_and_ties_by_key(tmp_path: Path) -> None:
    rows = {name: values[:8] for name, values in acts().items()}
    rows["item"] = ["d", "d", "d", "b", "b", "a", "a", "c"]
    fitted, _ = fit(shop_config(), write_shop(tmp_path, rows))
    assert fitted.vocabularies["item"].local(["d", "a", "b", "c", "?"]).tolist() == [1, 2, 3, 4, 5]


def test_an_attribute_counts_as_often_as_its_item_is_shown(tmp_path: Path) -> None:
    rows = {name: values[:8] for name, values in acts().items()}
    rows["item"] = ["d", "d", "d", "b", "b", "a", "a", "a"]
    fitted, _ = fit(shop_config(), write_shop(tmp_path, rows))
    # x stands at a and c: three rows, like z, before it by key.
    assert fitted.vocabularies["brand"].local(["x", "z", "y"]).tolist() == [1, 2, 3]
    assert fitted.vocabularies["tags"].local(["sale", "new"]).tolist() == [1, 2]


def test_what_only_later_rows_hold_is_unknown(tmp_path: Path) -> None:
    fitted, log = fit(shop_config(), write_shop(tmp_path), rows=2)
    shown = set(log.rows.get_column(ITEM).head(2))
    assert fitted.vocabularies["item"].spec.size == len(shown) < 5


def test_bounds_are_those_of_the_training_rows(tmp_path: Path) -> None:
    rows = acts()
    rows["distance"] = [5.0, 7.0] * 5 + [100.0] * 50
    fitted, _ = fit(shop_config(), write_shop(tmp_path, rows), rows=10)
    assert fitted.bounds["distance"] == (5.0, 7.0)


def test_a_constant_or_missing_column_still_has_a_width(tmp_path: Path) -> None:
    rows = acts()
    rows["distance"] = [7.0] * 60
    rows["nothing"] = pl.Series([None] * 60, dtype=pl.Float64).to_list()
    features = [*FEATURES, {"name": "nothing", "kind": "dense", "side": "context"}]
    fitted, _ = fit(shop_config(features=features), write_shop(tmp_path, rows))
    assert fitted.bounds["distance"] == (7.0, 14.0)
    assert fitted.bounds["nothing"] == (0.0, 1.0)


def test_rare_keys_are_left_out(tmp_path: Path) -> None:
    rows = {name: values[:8] for name, values in acts().items()}
    rows["item"] = ["d", "d", "d", "b", "b", "a", "a", "c"]
    features = [{**f, "min_count": 2} if f["name"] == "item" else f for f in FEATURES]
    fitted, _ = fit(shop_config(features=features), write_shop(tmp_path, rows))
    assert fitted.vocabularies["item"].spec.size == 3


def test_fields_of_one_vocabulary_count_together(tmp_path: Path) -> None:
    place = {"name": "place", "kind": "categorical", "side": "context", "column": "page"}
    features = [*FEATURES, {**place, "vocabulary": "page"}]
    fitted, _ = fit(shop_config(features=features), write_shop(tmp_path))
    assert fitted.vocabularies["page"].spec.size == 2
    assert "place" not in fitted.vocabularies


def test_fields_of_one_vocabulary_have_one_type(tmp_path: Path) -> None:
    other = {"name": "act", "kind": "categorical", "side": "context", "type": "int64"}
    features = [*FEATURES, {**other, "vocabulary": "page"}]
    with pytest.raises(ConfigError, match="page, act must have one type"):
        fit(shop_config(features=features), write_shop(tmp_path))


def test_a_key_too_long_for_a_vocabulary_is_refused(tmp_path: Path) -> None:
    rows = acts()
    rows["page"][0] = "x" * 300
    rows["page"][1] = "y" * 300
    with pytest.raises(DataError, match="longer than 256 bytes"):
        fit(shop_config(), write_shop(tmp_path, rows))

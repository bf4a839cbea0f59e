"""Log rows as a client would send them, users as a store would hold them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from service.encoder import Encoder
from service.features import UserFeatures
from service.messages import ScoreRequest
from tests.training.small_log import FEATURES, acts, shop_config, write_shop
from training.dataset import Dataset, Prepared, prepare

NOTHING_STORED = UserFeatures(profile={}, histories={}, items={})


def as_request(body: dict[str, Any]) -> ScoreRequest:
    return ScoreRequest(
        user_id=body["user_id"],
        item_ids=body["item_ids"],
        user=body["user"],
        context=body["context"],
        history=body["history"],
        items=body.get("items"),
    )


def assert_encodes_alike(prepared: Prepared, dataset: Dataset) -> None:
    encoder = Encoder(prepared.lookups)
    for request in torch.unique(dataset.requests):
        rows = torch.nonzero(dataset.requests == request).flatten()
        trained = dataset.batch(rows, dataset.tasks).inputs
        served = encoder.encode(as_request(dataset.raw_request(rows)), NOTHING_STORED)
        if "history" in served:
            padded = np.zeros(trained.history.shape, dtype=np.int32)
            padded[:, :, : served["history"].shape[2]] = served["history"]
            served["history"] = padded
        for spec in prepared.schema.inputs():
            expected = getattr(trained, spec.name).numpy()
            np.testing.assert_array_equal(served[spec.name], expected, err_msg=spec.name)
            assert served[spec.name].dtype == expected.dtype


def test_the_service_encodes_a_raw_request_to_the_arrays_of_training(tmp_path: Path) -> None:
    prepared = prepare(shop_config(), write_shop(tmp_path))
    for dataset in (prepared.train, prepared.valid, prepared.test):
        assert_encodes_alike(prepared, dataset)


def test_rows_that_stand_alone_bring_their_fields_along(tmp_path: Path) -> None:
    features = [
        {**feature, "side": "item"}
        for feature in FEATURES
        if feature["name"] in ("page", "distance", "item")
    ]
    config = shop_config(
        data={"user_id": None, "item_id": None, "time": None, "users": None, "items": None},
        split={"by": "random", "valid": 0.3, "test": 0.3},
        features=features,
        history=None,
    )
    prepared = prepare(config, write_shop(tmp_path))
    assert_encodes_alike(prepared, prepared.test)
    assert prepared.test.raw_request(torch.tensor([0]))["user_id"] == 0
    assert list(prepared.profiles()) == []


def test_rows_of_several_requests_are_no_request(tmp_path: Path) -> None:
    test = prepare(shop_config(), write_shop(tmp_path)).test
    with pytest.raises(ValueError, match="exactly one"):
        test.raw_request(torch.arange(len(test)))


def test_profiles_hold_fields_and_the_last_events_of_every_user(tmp_path: Path) -> None:
    prepared = prepare(shop_config(), write_shop(tmp_path))
    profiles = {profile.user_id: profile for profile in prepared.profiles()}
    assert sorted(profiles) == [1, 2, 3, 4, 5, 6]
    assert profiles[1].fields == {"city": "Rome", "age": 20.0}
    assert profiles[6].fields == {}
    rows = acts()
    own = [n for n in range(60) if rows["user"][n] == 1]
    assert profiles[1].histories["seen"] == [rows["item"][n] for n in own][-4:]
    assert profiles[1].times_s["seen"] == [float(rows["at"][n]) for n in own][-4:]
    bought = [rows["item"][n] for n in own if rows["act"][n] == 2]
    assert profiles[1].histories["bought"] == bought[-4:]


def test_a_user_field_of_the_log_is_profiled_as_last_seen(tmp_path: Path) -> None:
    features = [*FEATURES, {"name": "mood", "kind": "categorical", "side": "user"}]
    rows = {**acts(), "mood": [f"mood{n}" for n in range(60)]}
    prepared = prepare(shop_config(features=features), write_shop(tmp_path, rows))
    last = max(n for n in range(60) if rows["user"][n] == 2)
    profiles = {profile.user_id: profile for profile in prepared.profiles()}
    assert profiles[2].fields["mood"] == f"mood{last}"
    assert_encodes_alike(prepared, prepared.test)


def test_prior_events_have_rising_times_before_the_log(tmp_path: Path) -> None:
    write_shop(tmp_path)
    pl.DataFrame({"user": [9], "old": [["a", "b"]]}).write_parquet(tmp_path / "prior.parquet")
    table = {"path": "prior.parquet", "key": "user", "behaviours": {"seen": "old"}}
    prepared = prepare(shop_config(data={"prior": table}), tmp_path)
    (only,) = (profile for profile in prepared.profiles() if profile.user_id == 9)
    assert only.histories == {"seen": ["a", "b"], "bought": []}
    assert only.times_s["seen"] == [998.0, 999.0]

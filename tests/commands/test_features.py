"""A log's users in the feature store, as training saw them at the end of the log."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from commands.features import fill, record_of
from service.features import UserFeatures
from service.parts import open_feature_store
from service.settings import Settings
from tests.builders import CONFIG, USERS, write_log
from training.config import TrainConfig
from training.data_config import DataConfig
from training.dataset import Prepared, prepare
from training.raw import Profile


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    folder = tmp_path_factory.mktemp("log")
    write_log(folder)
    return prepare(TrainConfig.model_validate(CONFIG), folder)


def test_every_user_is_in_the_store_with_profile_and_histories(
    prepared: Prepared, tmp_path: Path
) -> None:
    data = TrainConfig.model_validate(CONFIG).data
    settings = Settings(bundle=tmp_path, feature_store=f"embedded:{tmp_path / 'features'}")
    assert fill(settings, prepared, data) == USERS

    async def read(user: str) -> UserFeatures:
        store = open_feature_store(settings, prepared.schema, print)
        try:
            return await store.read(user)
        finally:
            await store.close()

    for profile in prepared.profiles():
        found = asyncio.run(read(str(profile.user_id)))
        assert dict(found.profile) == profile.fields
        histories = {name: items.tolist() for name, items in found.histories.items()}
        assert histories == profile.histories


@pytest.mark.parametrize(("unit", "time"), [("s", 3), ("ms", 2_500), ("us", 2_500_000)])
def test_times_keep_the_unit_of_the_log(unit: str, time: int) -> None:
    data = DataConfig.model_validate({"log": "x", "time_unit": unit})
    seconds = 3.0 if unit == "s" else 2.5
    profile = Profile(7, {}, {"liked": [1]}, {"liked": [seconds]})
    record = record_of(profile, data)
    assert record.user == "7"
    ids, times = record.histories["liked"]
    assert (list(ids), times.tolist()) == ([1], [time])

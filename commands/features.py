"""`taskgraft features`: a log's users, as of its end, into the service's feature store.

checkpoint, log --prepare--> profiles --record_of--> FeatureStore.load

Times keep the unit of the log, so events posted later must come in it too.
"""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import cast

import numpy as np
from numpy.typing import NDArray

from commands.feature_store import load_records
from commands.screen import Screen, pairs
from service.environment import read_settings
from service.features import UserRecord
from service.packing import FieldValue
from service.settings import Settings
from training.checkpoint import read_checkpoint
from training.data_config import DataConfig
from training.dataset import Prepared, prepare
from training.raw import Profile

_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000}


def load(screen: Screen, folder: Path, data_dir: Path, store: str | None) -> None:
    """Replace the profiles and histories of all users of a checkpoint's log."""
    checkpoint = read_checkpoint(folder)
    config = checkpoint.card.config
    prepared = prepare(config, data_dir, checkpoint.lookups)
    # A store needs no bundle, settings do; the checkpoint's folder stands in.
    chosen = {} if store is None else {"feature_store": store}
    settings = read_settings(bundle=folder, **chosen)
    started = perf_counter()
    count = fill(settings, prepared, config.data)
    facts = {
        "users": count,
        "seconds": perf_counter() - started,
        "unit of times": config.data.time_unit,
    }
    screen.show(facts, pairs(f"{config.name}: loaded into the feature store", facts))


def fill(settings: Settings, prepared: Prepared, data: DataConfig) -> int:
    """Load every user into the store that the settings name; how many there were."""
    records = (record_of(profile, data) for profile in prepared.profiles())
    return load_records(settings, prepared.schema, records)


def record_of(profile: Profile, data: DataConfig) -> UserRecord:
    """A profile as the store takes it."""
    per_second = _PER_SECOND[data.time_unit]
    histories = {
        behaviour: (
            ids,
            np.rint(np.array(profile.times_s[behaviour]) * per_second).astype(np.int64),
        )
        for behaviour, ids in profile.histories.items()
    }
    # The schema's fields are what a store can hold.
    fields = cast(dict[str, FieldValue], profile.fields)
    return UserRecord(str(profile.user_id), fields, histories)


def _times(seconds: list[float], per_second: int) -> NDArray[np.int64]:
    return np.rint(np.array(seconds, dtype=np.float64) * per_second).astype(np.int64)

"""Records into the feature store that the settings name.

records --load_records--> FeatureStore.load --> how many they were
                              └--> StoreUnavailable, InvalidField
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from contract.schema import FeatureSchema
from service.features import Record
from service.packing import Corruption
from service.parts import open_feature_store
from service.settings import Settings


def load_records(settings: Settings, schema: FeatureSchema, records: Iterable[Record]) -> int:
    """Load all records; how many they were."""

    async def load() -> int:
        store = open_feature_store(settings, schema, _ignore)
        try:
            return await store.load(records)
        finally:
            await store.close()

    return asyncio.run(load())


def _ignore(reason: Corruption) -> None:
    """Nothing is read here."""

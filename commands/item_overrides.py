"""`taskgraft features items`: fields that override the item table, from a file into the store.

bundle, JSON lines --read_overrides--> ItemRecord --> FeatureStore.load
                        └--> InvalidField: which line, and what this bundle has instead
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import orjson

from commands.feature_store import load_records
from commands.screen import Screen, pairs
from contract.bundle import open_bundle
from contract.schema import FeatureSchema
from service.environment import read_settings
from service.errors import InvalidField
from service.features import ItemRecord

_ID = "item_id"


def load(screen: Screen, bundle: Path, file: Path, store: str | None) -> None:
    """Replace the overrides of the items that the file names; all of it is checked first."""
    schema = open_bundle(bundle).lookups.schema
    records = list(read_overrides(file, schema))
    chosen = {} if store is None else {"feature_store": store}
    count = load_records(read_settings(bundle=bundle, **chosen), schema, records)
    facts = {"items": count}
    screen.show(facts, pairs("overrides loaded into the feature store", facts))


def read_overrides(file: Path, schema: FeatureSchema) -> Iterator[ItemRecord]:
    """Each line's item and fields.

    Raises:
        InvalidField: a line that is no JSON object, names no item, or a field that is no item's.
    """
    known = {f.name for f in schema.fields if f.side in ("item", "cross")} - {schema.item_id_field}
    for number, line in enumerate(file.read_bytes().splitlines(), 1):
        where = f"line {number}"
        try:
            fields = orjson.loads(line)
        except orjson.JSONDecodeError as err:
            raise InvalidField(where, f"is not JSON: {err}") from err
        item = fields.pop(_ID, None) if isinstance(fields, dict) else None
        if not isinstance(item, (int, str)):
            raise InvalidField(where, f'expected an object like {{"{_ID}": 7, "field": value}}')
        if unknown := fields.keys() - known:
            names = ", ".join(sorted(known)) or "none"
            raise InvalidField(where, f"no such field: {min(unknown)}; this bundle has {names}")
        yield ItemRecord(str(item), fields)

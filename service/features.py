"""Features kept per user: what a feature store promises, and what passes through one.

    Event, UserRecord, fields --FeatureStore--> (one round trip) --> UserFeatures
                                  ├--> InvalidField      something that cannot be stored
                                  └--> StoreUnavailable  no answer in time: score without it

Raw ids go in and come out. A stored value that is not sound counts as absent: the read tells the
reason to `on_corrupt` and never fails for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from service.errors import InvalidField
from service.packing import (
    Corruption,
    CorruptValue,
    Fields,
    IdArray,
    Items,
    Layout,
    history_key,
    item_key,
    item_row,
    pack_fields,
    pack_history,
    pack_items,
    profile_key,
    unpack_fields,
    unpack_history,
)

History = NDArray[np.int64] | NDArray[np.bytes_]  # (n,) raw item ids, newest last
OnCorrupt = Callable[[Corruption], None]


@dataclass(frozen=True, slots=True)
class Event:
    """A user did something to an item.

    Attributes:
        item: an integer or a string, by the schema's item_id_type.
        ts: when, an int64 in the caller's unit: seconds or milliseconds, but always the same.
    """

    user: str
    item: int | str
    behaviour: str
    ts: int


@dataclass(frozen=True, slots=True)
class UserRecord:
    """All that is known of a user, to seed a store.

    Attributes:
        histories: per behaviour the item ids (n,) and their times (n,) int64, in any order.
    """

    user: str
    profile: Fields = field(default_factory=dict)
    histories: Mapping[str, tuple[IdArray, NDArray[np.int64]]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ItemRecord:
    """Fields that override the item table for one item, all that it has."""

    item: str
    fields: Fields


Record = UserRecord | ItemRecord


@dataclass(frozen=True, slots=True, weakref_slot=True)
class UserFeatures:
    """What the store knows; whatever it does not know is empty.

    Attributes:
        histories: every behaviour of the layout; read-only, possibly strided views.
        items: fields that override the item table, for the asked items that have any.
        stored: the user's values as the store holds them; empty if one of them was not sound.
        encoded: what an encoder made of the user, kept by whoever made it; shared by all answers
            that were made of the same values.
    """

    profile: Fields
    histories: Mapping[str, History]
    items: Mapping[str, Fields]
    stored: Sequence[bytes | None] = field(default=(), compare=False, repr=False)
    encoded: dict[object, Any] = field(default_factory=dict, compare=False, repr=False)


NO_FEATURES = UserFeatures(profile={}, histories={}, items={})


# User, items, what is known of the user: FeatureStore.read without a wait.
ReadNow = Callable[[str, Sequence[str], UserFeatures | None], UserFeatures]


class FeatureStore(Protocol):
    """Histories, profiles and item overrides, shared by all workers."""

    async def read(
        self, user: str, items: Sequence[str] = (), known: UserFeatures | None = None
    ) -> UserFeatures:
        """Everything about a user, and the overrides of the items, in one round trip.

        What was known of the user is given back if nothing has changed since.

        Raises:
            StoreUnavailable: no answer within the read budget, or the breaker is open.
        """

    async def append(self, events: Sequence[Event]) -> None:
        """Add events; each (user, behaviour) changes as a whole, all see it afterwards.

        A history is kept sorted by ts, so a late event takes its place. A repeated (item, ts)
        changes nothing, so a call that failed half way can be made again.

        Raises:
            InvalidField: an event names an unknown behaviour or holds an impossible value; no event
                was stored.
            StoreUnavailable: not all events were stored.
        """

    async def load(self, records: Iterable[Record]) -> int:
        """Replace what the records hold; returns how many they were. To seed, not to serve."""

    async def ping(self) -> None:
        """Raises StoreUnavailable unless the store answers."""

    async def close(self) -> None: ...


def read_keys(layout: Layout, user: str, items: Sequence[str]) -> list[bytes]:
    """The keys of a read, in the order that assemble expects."""
    return [*layout.keys(user), *map(item_key, items)]


def assemble(
    layout: Layout,
    keys: Sequence[bytes],
    items: Sequence[str],
    values: Sequence[bytes | None],
    on_corrupt: OnCorrupt,
    known: UserFeatures | None = None,
) -> UserFeatures:
    """Checks and unpacks what a store returned for read_keys(layout, user, items).

    What is known of the user is given back if it was made of the same values.
    """
    after = 1 + len(layout.behaviours)
    sound = True

    def refuse(err: CorruptValue) -> None:
        nonlocal sound
        sound = False
        on_corrupt(err.reason)

    def fields(at: int) -> Fields:
        value = values[at]
        if value is None:
            return {}
        try:
            return unpack_fields(keys[at], value)
        except CorruptValue as err:
            refuse(err)
            return {}

    def history(at: int) -> Items:
        value = values[at]
        if value is not None:
            try:
                return unpack_history(layout, keys[at], value)
            except CorruptValue as err:
                refuse(err)
        return np.empty(0, layout.item)

    if known is None or values[:after] != known.stored:
        profile = fields(0)
        histories = {b: history(at)["id"] for at, b in enumerate(layout.behaviours, 1)}
        known = UserFeatures(profile, histories, {}, values[:after] if sound else ())
    overrides = {name: found for at, name in enumerate(items, after) if (found := fields(at))}
    return known if overrides == known.items else replace(known, items=overrides)


def pack_events(layout: Layout, events: Sequence[Event]) -> dict[bytes, Items]:
    """The events by key, in the order they came.

    Raises:
        InvalidField: an event that cannot be stored.
    """
    rows: dict[bytes, list[tuple[int | bytes, int]]] = {}
    for at, event in enumerate(events):
        where = f"events[{at}]"
        if event.behaviour not in layout.behaviours:
            known = ", ".join(layout.behaviours) or "none"
            raise InvalidField(
                f"{where}.behaviour", f"{event.behaviour!r}; expected one of {known}"
            )
        row = item_row(layout, event.item, event.ts, where)
        rows.setdefault(history_key(event.user, event.behaviour), []).append(row)
    return {key: np.array(found, layout.item) for key, found in rows.items()}


def pack_record(layout: Layout, record: Record) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of all that a record holds.

    Raises:
        InvalidField: a value that cannot be stored.
    """
    if isinstance(record, ItemRecord):
        key = item_key(record.item)
        yield key, pack_fields(key, record.fields, f"item {record.item}")
        return
    where = f"user {record.user}"
    if record.profile:
        key = profile_key(record.user)
        yield key, pack_fields(key, record.profile, f"{where}.profile")
    for behaviour, (ids, times) in record.histories.items():
        if behaviour not in layout.behaviours:
            raise InvalidField(where, f"unknown behaviour {behaviour!r}")
        key = history_key(record.user, behaviour)
        yield key, pack_history(layout, key, pack_items(layout, ids, times, where))


def chunks(records: Iterable[Record], size: int) -> Iterator[list[Record]]:
    rest = iter(records)
    while chunk := list(islice(rest, size)):
        yield chunk

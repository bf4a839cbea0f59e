"""The stored form of behaviours, profiles and item overrides: one for every feature store.

    history arrays, field dicts --pack_*--> key, value --unpack_*--> the same again
                                                       └--> CorruptValue(reason): counts as absent

Keys: `v1:{<user>}:<behaviour>`, `v1:{<user>}:@profile`, `v1:item:{<item>}`. The layout's version
leads; the braces keep a user's keys in one cluster slot, so braces inside ids are escaped.

Values: magic "TG", version, item width, crc32 of the key (the owner), then the body. A history is
items of one width in order of time, newest last: the id, then its time as a little-endian int64.
The time makes a repeated event recognisable. An integer id takes 8 bytes. A string id takes a fixed
number of bytes, padded by NUL: a hash would be shorter but not give the id back, and items of one
width are read without a loop. Raw ids stand here, never vocabulary rows, which die with their
bundle. Fields (item width 0) are a JSON object.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import orjson
from numpy.typing import NDArray

from contract.schema import FeatureSchema, RawType
from service.errors import ConfigError, InvalidField

Corruption = Literal["magic", "version", "width", "owner", "length", "too_long", "json", "type"]
Scalar = str | int | float | bool | None
FieldValue = Scalar | list[Scalar]
Fields = Mapping[str, FieldValue]
Items = NDArray[np.void]  # (n,) rows of Layout.item: id and ts
IdArray = NDArray[np.int64] | Sequence[int | str | bytes]

MAX_EVENTS = 4096  # the schema's longest history
MAX_FIELD_BYTES = 64 * 1024
INT64 = range(-(2**63), 2**63)
_HEAD = struct.Struct("<2sBBI")
_MAGIC, _VERSION, _NO_ITEMS = b"TG", 1, 0


class CorruptValue(Exception):
    """A stored value that was not written here for this key."""

    def __init__(self, reason: Corruption) -> None:
        super().__init__(reason)
        self.reason: Corruption = reason


@dataclass(frozen=True, slots=True)
class Layout:
    """What is kept for each user, and how wide an item is.

    Args:
        behaviours: the behaviour sequences of a user.
        item_id_type: the raw type of item ids.
        cap: events kept per user and behaviour; the newest stay.
        id_bytes: the longest string id in UTF-8. To change it makes older histories unreadable.
    """

    behaviours: tuple[str, ...]
    item_id_type: RawType
    cap: int
    id_bytes: int = 40
    item: np.dtype[np.void] = field(init=False)

    def __post_init__(self) -> None:
        if not 1 <= self.cap <= MAX_EVENTS:
            raise ConfigError(f"the history cap is {self.cap}; it must be within 1..{MAX_EVENTS}")
        if not 8 <= self.id_bytes <= 247:  # noqa: PLR2004  the width is one byte, the time takes 8
            raise ConfigError(f"string ids of {self.id_bytes} bytes; they must be within 8..247")
        kind = "<i8" if self.item_id_type == "int64" else f"S{self.id_bytes}"
        object.__setattr__(self, "item", np.dtype([("id", kind), ("ts", "<i8")]))

    @classmethod
    def of(cls, schema: FeatureSchema, cap: int | None = None) -> Layout:
        """The layout of a model's histories; without a cap, as long as the model reads."""
        if cap is None:
            cap = max(1, schema.history_length)
        return cls(schema.behaviours, schema.item_id_type, cap)

    @property
    def width(self) -> int:
        """Bytes of one item."""
        return self.item.itemsize

    def keys(self, user: str) -> list[bytes]:
        """The profile's key, then one per behaviour."""
        prefix = _user_prefix(user)
        return [prefix + b"@profile", *(prefix + b.encode() for b in self.behaviours)]


def history_key(user: str, behaviour: str) -> bytes:
    return _user_prefix(user) + behaviour.encode()


def profile_key(user: str) -> bytes:
    return _user_prefix(user) + b"@profile"  # no behaviour's name holds an @


def item_key(item: str) -> bytes:
    return b"v1:item:{" + _escaped(item) + b"}"


def _user_prefix(user: str) -> bytes:
    return b"v1:{" + _escaped(user) + b"}:"


def _escaped(name: str) -> bytes:
    """The id without braces; a lone % stands for the empty id, since {} would be no hash tag."""
    raw = name.encode("utf-8", "surrogatepass")
    return raw.replace(b"%", b"%25").replace(b"{", b"%7B").replace(b"}", b"%7D") or b"%"


# --- histories --------------------------------------------------------------------------------


def history_head(layout: Layout, key: bytes) -> bytes:
    """The 8 bytes that begin every sound history under this key."""
    return _HEAD.pack(_MAGIC, _VERSION, layout.width, zlib.crc32(key))


def item_row(layout: Layout, item: object, ts: object, where: str) -> tuple[int | bytes, int]:
    """One event as a row of Layout.item.

    Raises:
        InvalidField: an id or a time that the layout cannot hold.
    """
    if layout.item_id_type == "int64":
        return _int64(item, f"{where}.item_id"), _int64(ts, f"{where}.ts")
    raw = item.encode("utf-8", "surrogatepass") if isinstance(item, str) else item
    if not isinstance(raw, bytes):
        raise InvalidField(f"{where}.item_id", f"{item!r}; expected a string")
    if not 1 <= len(raw) <= layout.id_bytes or b"\0" in raw:
        raise InvalidField(
            f"{where}.item_id",
            f"an id of {len(raw)} bytes; expected 1..{layout.id_bytes} without NUL",
        )
    return raw, _int64(ts, f"{where}.ts")


def _int64(value: object, where: str) -> int:
    # True is an int to Python, and an id or a time to nobody.
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value not in INT64:
        raise InvalidField(where, f"{value!r}; expected a 64-bit integer")
    return int(value)


def pack_items(layout: Layout, ids: IdArray, times: NDArray[np.int64], where: str) -> Items:
    """A whole history's items in the given order: ids (n,), times (n,).

    Raises:
        InvalidField: an id that the layout cannot hold, or lengths that differ.
    """
    if len(ids) != len(times):
        raise InvalidField(where, f"{len(ids)} ids but {len(times)} times")
    if not _at_once(layout, ids):
        rows = [item_row(layout, i, t, where) for i, t in zip(ids, times.tolist(), strict=True)]
        return np.array(rows, layout.item)
    items = np.empty(len(ids), layout.item)
    items["id"], items["ts"] = ids, times
    return items


def _at_once(layout: Layout, ids: IdArray) -> bool:
    """Whether numpy may copy the ids without a look at each: seeding would be slow otherwise."""
    if layout.item_id_type == "int64":
        return isinstance(ids, np.ndarray) and ids.dtype == np.int64
    names = [i for i in ids if isinstance(i, str) and i.isascii()]
    if len(names) < len(ids) or "\0" in "".join(names):
        return False
    return all(1 <= length <= layout.id_bytes for length in set(map(len, names)))


def pack_history(layout: Layout, key: bytes, items: Items) -> bytes:
    """The value of a whole history: ordered by time, trimmed to the newest."""
    ordered = items[np.argsort(items["ts"], kind="stable")][-layout.cap :]
    return history_head(layout, key) + ordered.tobytes()


def unpack_history(layout: Layout, key: bytes, value: bytes) -> Items:
    """A read-only view into the value, oldest first.

    Raises:
        CorruptValue: not a history of this key in this layout.
    """
    _check_head(key, value, layout.width)
    body = len(value) - _HEAD.size
    if body > MAX_EVENTS * layout.width:
        raise CorruptValue("too_long")
    if body % layout.width:
        raise CorruptValue("length")
    return np.frombuffer(value, layout.item, offset=_HEAD.size)


def merge(layout: Layout, key: bytes, value: bytes | None, items: Items) -> bytes:
    """The history with the items added: sorted by time, repeats left out, trimmed to the newest.

    Events of equal time stand in the order they came. A repeat is recognised for as long as the
    event itself is kept; an older one falls to the cap at once. A corrupt value starts afresh.
    The Redis script does the same, byte for byte.
    """
    try:
        rows = [] if value is None else unpack_history(layout, key, value).tolist()
    except CorruptValue:
        rows = []
    for row in items.tolist():
        _insert(rows, row)
    return history_head(layout, key) + np.array(rows[-layout.cap :], layout.item).tobytes()


def _insert(rows: list[tuple[Any, int]], row: tuple[Any, int]) -> None:
    """Most events are the newest, so the search begins at the end."""
    place = len(rows)
    while place and rows[place - 1][1] > row[1]:
        place -= 1
    same = place
    while same and rows[same - 1][1] == row[1]:
        if rows[same - 1] == row:
            return
        same -= 1
    rows.insert(place, row)


# --- fields -----------------------------------------------------------------------------------


def pack_fields(key: bytes, fields: Fields, where: str) -> bytes:
    """The value of a profile or of an item's overrides.

    Raises:
        InvalidField: a value that is no scalar or list of scalars, or too many of them.
    """
    try:
        body = orjson.dumps(dict(fields))
    except (orjson.JSONEncodeError, RecursionError) as err:
        raise InvalidField(where, f"cannot be stored: {err}") from err
    if len(body) > MAX_FIELD_BYTES:
        raise InvalidField(where, f"{len(body)} bytes of JSON; at most {MAX_FIELD_BYTES}")
    if not _flat(fields):
        raise InvalidField(where, "a nested value; expected scalars and lists of scalars")
    return _HEAD.pack(_MAGIC, _VERSION, _NO_ITEMS, zlib.crc32(key)) + body


def unpack_fields(key: bytes, value: bytes) -> dict[str, FieldValue]:
    """The fields again.

    Raises:
        CorruptValue: not fields written for this key.
    """
    _check_head(key, value, _NO_ITEMS)
    if len(value) > _HEAD.size + MAX_FIELD_BYTES:
        raise CorruptValue("too_long")
    try:
        fields = orjson.loads(memoryview(value)[_HEAD.size :])
    except orjson.JSONDecodeError as err:
        raise CorruptValue("json") from err
    if not isinstance(fields, dict) or not _flat(fields):
        raise CorruptValue("json")
    return fields


def _flat(fields: Fields) -> bool:
    return all(
        value is None
        or isinstance(value, (str, int, float))
        or (
            isinstance(value, list)
            and all(v is None or isinstance(v, (str, int, float)) for v in value)
        )
        for value in fields.values()
    )


def _check_head(key: bytes, value: bytes, width: int) -> None:
    if len(value) < _HEAD.size:
        raise CorruptValue("length")
    magic, version, found_width, owner = _HEAD.unpack_from(value)
    if magic != _MAGIC:
        raise CorruptValue("magic")
    if version != _VERSION:
        raise CorruptValue("version")
    if found_width != width:
        raise CorruptValue("width")
    if owner != zlib.crc32(key):
        raise CorruptValue("owner")

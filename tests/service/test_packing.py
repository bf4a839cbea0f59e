"""The stored form: what goes in comes out, and nothing else gets through."""

from __future__ import annotations

import string
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.schema import RawType
from service.errors import ConfigError, InvalidField
from service.packing import (
    INT64,
    MAX_EVENTS,
    CorruptValue,
    Layout,
    history_head,
    history_key,
    item_key,
    merge,
    pack_fields,
    pack_history,
    pack_items,
    profile_key,
    unpack_fields,
    unpack_history,
)

INTEGERS = Layout(("click", "buy"), "int64", cap=5)
STRINGS = Layout(("click", "buy"), "string", cap=5)
KEY = history_key("ann", "click")

int64s = st.integers(INT64.start, INT64.stop - 1)
names = st.text(min_size=1, max_size=10).filter(lambda name: "\0" not in name)
scalars = st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
fields = st.dictionaries(st.text(), scalars | int64s | st.lists(scalars))


def value_of(layout: Layout, ids: list[int] | list[str], times: list[int]) -> bytes:
    return pack_history(
        layout, KEY, pack_items(layout, ids, np.array(times, np.int64), where="test")
    )


@given(st.lists(st.tuples(int64s, int64s), max_size=5))
def test_integer_histories_come_back_in_order_of_time(events: list[tuple[int, int]]) -> None:
    value = value_of(INTEGERS, [i for i, _ in events], [t for _, t in events])
    ordered = sorted(events, key=lambda event: event[1])
    assert unpack_history(INTEGERS, KEY, value).tolist() == ordered


@given(st.lists(st.tuples(names, int64s), max_size=5))
def test_string_histories_come_back_in_order_of_time(events: list[tuple[str, int]]) -> None:
    value = value_of(STRINGS, [i for i, _ in events], [t for _, t in events])
    ordered = [(i.encode(), t) for i, t in sorted(events, key=lambda event: event[1])]
    assert unpack_history(STRINGS, KEY, value).tolist() == ordered


@given(fields)
def test_fields_come_back_as_they_went_in(profile: dict[str, object]) -> None:
    key = profile_key("ann")
    packed = pack_fields(key, profile, "profile")  # type: ignore[arg-type]
    assert unpack_fields(key, packed) == profile


@pytest.mark.parametrize("layout", [INTEGERS, STRINGS])
@pytest.mark.parametrize("head", [b"", b"TG", b"TG\1"])
@given(value=st.binary(max_size=200))
def test_arbitrary_bytes_are_no_history_of_ours(layout: Layout, head: bytes, value: bytes) -> None:
    with pytest.raises(CorruptValue):
        unpack_history(layout, KEY, head + value)


@pytest.mark.parametrize("layout", [INTEGERS, STRINGS])
@given(body=st.binary(max_size=200) | st.binary(max_size=4).map(lambda part: part * 48))
def test_under_a_sound_head_only_the_length_can_be_wrong(layout: Layout, body: bytes) -> None:
    value = history_head(layout, KEY) + body
    if len(body) % layout.width:
        with pytest.raises(CorruptValue, match="length"):
            unpack_history(layout, KEY, value)
    else:
        assert unpack_history(layout, KEY, value).tobytes() == body


@given(st.binary(max_size=60).filter(lambda body: not body.lstrip().startswith(b"{")))
def test_arbitrary_bytes_under_a_sound_head_are_no_fields(body: bytes) -> None:
    key = profile_key("ann")
    with pytest.raises(CorruptValue, match="json"):
        unpack_fields(key, pack_fields(key, {}, "profile")[:8] + body)


def test_each_corruption_has_its_reason() -> None:
    good = value_of(INTEGERS, [1, 2], [1, 2])
    owner = struct.pack("<I", zlib.crc32(KEY))
    spoilt = {
        b"": "length",
        b"xx" + good[2:]: "magic",
        b"TG\2" + good[3:]: "version",
        b"TG\1\10" + good[4:]: "width",
        good[:4] + bytes(4) + good[8:]: "owner",
        good[:-1]: "length",
        b"TG\1\20" + owner + bytes(16 * (MAX_EVENTS + 1)): "too_long",
    }
    for value, reason in spoilt.items():
        with pytest.raises(CorruptValue, match=reason):
            unpack_history(INTEGERS, KEY, value)


@pytest.mark.parametrize("body", [b"[]", b"1", b'{"a":{"b":1}}', b'{"a":[[1]]}', b"{", b"\xff"])
def test_fields_that_are_no_flat_object_are_corrupt(body: bytes) -> None:
    key = profile_key("ann")
    with pytest.raises(CorruptValue, match="json"):
        unpack_fields(key, pack_fields(key, {}, "profile")[:8] + body)


@pytest.mark.parametrize(
    "other", [history_key("bob", "click"), history_key("ann", "buy"), item_key("ann")]
)
def test_a_value_under_another_key_is_nobodys(other: bytes) -> None:
    """Another user's, and also the same user's of another behaviour."""
    with pytest.raises(CorruptValue, match="owner"):
        unpack_history(INTEGERS, other, value_of(INTEGERS, [1], [1]))


@given(st.text(alphabet=string.ascii_letters + "{}%:@"), st.text(alphabet="ab{}%:@"))
def test_different_ids_have_different_keys_in_one_slot_each(one: str, other: str) -> None:
    """The hash tag of a cluster is what stands between the first { and the next }."""
    key = history_key(one, "click")
    tag = key[key.index(b"{") + 1 : key.index(b"}")]
    assert tag
    assert profile_key(one)[4 : 4 + len(tag)] == tag
    every = {history_key(u, b) for u in (one, other) for b in ("click", "buy")}
    every |= {profile_key(one), profile_key(other), item_key(one), item_key(other)}
    assert len(every) == 8 if one != other else 4


@pytest.mark.parametrize(
    ("item_type", "item"),
    [
        ("int64", 2**63),
        ("int64", "5"),
        ("int64", True),
        ("int64", 1.0),
        ("string", 5),
        ("string", ""),
        ("string", "x" * 41),
        ("string", "a\0b"),
    ],
)
def test_an_id_that_the_layout_cannot_hold_is_refused(item_type: RawType, item: object) -> None:
    with pytest.raises(InvalidField, match=r"seed\.item_id"):
        pack_items(Layout(("click",), item_type, 5), [item], np.array([1]), "seed")  # type: ignore[list-item]


@pytest.mark.parametrize("value", [{"a": {}}, {"a": [[1]]}, {"a": "x" * 70_000}, {"a": 2**70}])
def test_fields_that_cannot_be_read_again_are_refused(value: dict[str, object]) -> None:
    with pytest.raises(InvalidField, match="profile"):
        pack_fields(KEY, value, "profile")  # type: ignore[arg-type]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=12))
def test_merging_one_by_one_equals_merging_at_once(events: list[tuple[int, int]]) -> None:
    """Without a cap in the way: a set of events, sorted by time."""
    wide = Layout(("click",), "int64", cap=100)
    items = np.array(events, wide.item)
    stepwise: bytes | None = merge(wide, KEY, None, items[:0])
    for at in range(len(items)):
        stepwise = merge(wide, KEY, stepwise, items[at : at + 1])
    assert stepwise == merge(wide, KEY, None, items)
    rows = unpack_history(wide, KEY, stepwise).tolist()
    assert rows == sorted(dict.fromkeys(events), key=lambda event: event[1])


@pytest.mark.parametrize("arguments", [{"cap": 0}, {"cap": 4097}, {"cap": 1, "id_bytes": 248}])
def test_an_impossible_layout_is_refused(arguments: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        Layout(("click",), "string", **arguments)

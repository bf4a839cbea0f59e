"""Nothing that a store holds is lost by a program that reads it and stores it again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from service.stored_json import StoredJson


@dataclass(frozen=True, slots=True)
class Inner:
    number: float
    note: Mapping[str, int | str] = field(default_factory=dict)
    last: Inner | None = None


@dataclass(frozen=True, slots=True)
class Outer:
    by_name: Mapping[str, Inner]
    several: tuple[Inner, ...] = ()


STORED = StoredJson[Outer](Outer)
WHOLE = Outer({"a": Inner(0.1, {"x": 1, "y": "z"}, Inner(1e-5))}, (Inner(2.0), Inner(3.0)))


def test_what_was_dumped_is_loaded_whole() -> None:
    assert STORED.load_whole(STORED.dump(WHOLE)) == WHOLE


@pytest.mark.parametrize(
    "content",
    [
        b'{"by_name":{"a":{"number":1}}}',
        b'{"by_name": {"a": {"note": {}, "number": 1.0}}, "several": []}',
        b'{"by_name":{"a":{"number":1e0,"last":{"number":100000.0}}}}',
    ],
)
def test_defaults_may_be_missing_and_numbers_and_spaces_written_otherwise(content: bytes) -> None:
    assert STORED.load_whole(content) == STORED.load(content)


@pytest.mark.parametrize(
    ("content", "where"),
    [
        (b'{"by_name":{},"new":1}', "$ has the unknown field 'new'"),
        (b'{"by_name":{"a":{"number":1,"new":null}}}', "$.by_name.a has the unknown field 'new'"),
        (
            b'{"by_name":{},"several":[{"number":1},{"number":2,"last":{"number":3,"new":{}}}]}',
            "$.several[1].last has the unknown field 'new'",
        ),
    ],
)
def test_an_unknown_field_is_refused_at_any_depth(content: bytes, where: str) -> None:
    with pytest.raises(ValueError, match=re.escape(where)):
        STORED.load_whole(content)


def test_a_report_may_say_more_than_is_known_here() -> None:
    assert STORED.load(b'{"by_name":{"a":{"number":1,"new":2}},"new":3}').by_name["a"].number == 1


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"[" * 100_000])
def test_what_is_of_another_form_is_a_value_error(content: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # any reason
        STORED.load_whole(content)

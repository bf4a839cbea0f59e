"""Request bodies: what is read, what is refused, and where."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from contract.schema import FeatureSchema
from service.decoder import RequestDecoder
from service.errors import InvalidField, Malformed, TooLarge
from service.features import Event
from tests.fakes import example_schema
from tests.live_server import settings_for_tests

SETTINGS = settings_for_tests(max_items=3, max_events=2, max_deadline_ms=500, default_deadline_ms=9)


def decoder(schema: FeatureSchema | None = None) -> RequestDecoder:
    return RequestDecoder(schema or example_schema(), SETTINGS)


def body(**changes: Any) -> bytes:  # noqa: ANN401  any JSON
    return json.dumps({"user_id": 1, "item_ids": [1, 2]} | changes).encode()


def event(**changes: Any) -> bytes:  # noqa: ANN401  any JSON
    given = {"user_id": 1, "item_id": 2, "behaviour": "buy", "ts": 5} | changes
    return json.dumps({"events": [given]}).encode()


def refused_at(raw: bytes, schema: FeatureSchema | None = None) -> str:
    with pytest.raises(InvalidField) as caught:
        decoder(schema).score(raw)
    return caught.value.where


def test_a_whole_request_is_read() -> None:
    request = decoder().score(
        body(
            tasks=["click"],
            context={"class": "a", "hour": None},
            user={"age": 30},
            items=[{"tags": ["x"]}, {}],
            history={"view": [3, 1]},
            rank={"weights": {"click": 1}, "top_k": 1},
            deadline_ms=20,
        )
    )
    assert request.item_ids == [1, 2]
    assert request.context == {"class": "a", "hour": None}
    assert request.items == [{"tags": ["x"]}, {}]
    assert request.history == {"view": [3, 1]}
    assert request.rank is not None
    assert request.rank.weights == {"click": 1.0}


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"user_id": "1"}, "user_id"),
        ({"user_id": 1.0}, "user_id"),
        ({"user_id": True}, "user_id"),
        ({"user_id": None}, "user_id"),
        ({"user_id": 2**63}, "user_id"),
        ({"user_id": -(2**63) - 1}, "user_id"),
        ({"user_id": 10**4000}, "user_id"),
        ({"item_ids": []}, "item_ids"),
        ({"item_ids": [1, "2"]}, "item_ids[1]"),
        ({"item_ids": 1}, "item_ids"),
        ({"tasks": []}, "tasks"),
        ({"tasks": ["a", "a"]}, "tasks"),
        ({"tasks": [""]}, "tasks[0]"),
        ({"tasks": ["a" * 65]}, "tasks[0]"),
        ({"items": [{}]}, "items"),
        ({"items": []}, "items"),
        ({"context": {"class": {"deep": 1}}}, "context.class"),
        ({"context": {"hour": 3, "class": True}}, "context.class"),
        ({"context": []}, "context"),
        ({"user": {"age": 3, "tags": [1, True]}}, "user.tags[1]"),
        ({"items": [{"tags": "x"}, {"tags": {}}]}, "items[1].tags"),
        ({"user": {"x" * 99: {}}}, "user." + "x" * 64),
        ({"history": {"sold": [1]}}, "history.sold"),
        ({"history": {"view": 1}}, "history.view"),
        ({"history": {"view": [0] * 4097}}, "history.view"),
        ({"rank": {}}, "rank"),
        ({"rank": {"weights": {}}}, "rank.weights"),
        ({"rank": {"weights": {"a": "b"}}}, "rank.weights.a"),
        ({"rank": {"weights": {"a": 1e300}}}, "rank.weights.a"),
        ({"rank": {"weights": {"a": 1}, "top_k": 0}}, "rank.top_k"),
        ({"deadline_ms": 0}, "deadline_ms"),
        ({"deadline_ms": 501}, "deadline_ms"),
        ({"userid": 1}, "body"),
    ],
)
def test_what_cannot_stand_is_refused_with_its_place(changes: dict[str, Any], where: str) -> None:
    assert refused_at(body(**changes)) == where


@pytest.mark.parametrize(
    "raw",
    [
        b'{"user": {"age": {}}, "user": 3, "user_id": 1, "item_ids": [1]}',
        b'{"user": {"age": {}}, "item_ids": 1}',
        b'{"user": {"age": {}}, "big": 1e999}',
        b'{"user": {"age": {}}, "user_id": "' + b"x" * (64 << 10) + b'"}',
    ],
)
def test_a_field_that_cannot_be_named_is_refused_all_the_same(raw: bytes) -> None:
    assert refused_at(raw) == "user[...]"


@pytest.mark.parametrize("raw", [b"[]", b"null", b"1", b'"x"', b"{}"])
def test_json_that_is_no_request_is_an_invalid_body(raw: bytes) -> None:
    assert refused_at(raw) == "body"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"\xef\xbb\xbf" + body(),
        body() + b"x",
        b'{"user_id":NaN}',
        b'{"user_id":1,"item_ids":[1],"context":{"class":"\xff"}}',
        b'{"user_id":1,"item_ids":[1],"context":{"class":"\\ud800"}}',
        b'{"user_id":1,"item_ids":[1],"context":{"\xc3":1}}',
        '{"user_id":1}'.encode("utf-16"),
    ],
)
def test_what_is_no_json_in_utf8_is_malformed(raw: bytes) -> None:
    with pytest.raises(Malformed, match="not JSON in UTF-8"):
        decoder().score(raw)


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'{"context":', b'{"item_ids":['])
def test_deep_nesting_is_refused_not_followed(opening: bytes) -> None:
    with pytest.raises((Malformed, InvalidField)):
        decoder().score(opening * 100_000)


def test_a_repeated_key_counts_once_the_last_time() -> None:
    assert decoder().score(b'{"user_id":1,"user_id":2,"item_ids":[1]}').user_id == 2


def test_string_ids_are_any_text_but_empty_too_long_or_with_nul() -> None:
    strings = example_schema("string", "string")
    request = decoder(strings).score(body(user_id="Zoë", item_ids=["a/b", " "]))
    assert request.item_ids == ["a/b", " "]
    assert refused_at(body(user_id=1, item_ids=["a"]), strings) == "user_id"
    assert refused_at(body(user_id="", item_ids=["a"]), strings) == "user_id"
    assert refused_at(body(user_id="a\0", item_ids=["a"]), strings) == "user_id"
    assert refused_at(body(user_id="a", item_ids=["a", "\0"]), strings) == "item_ids"
    assert refused_at(body(user_id="a", item_ids=["x" * 257]), strings) == "item_ids[0]"


def test_events_are_read_with_the_user_as_a_string() -> None:
    assert decoder().events(event(user_id=7)) == [Event("7", 2, "buy", 5)]


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"behaviour": "sold"}, "events[0].behaviour"),
        ({"ts": 2**63}, "events[0].ts"),
        ({"ts": 1.5}, "events[0].ts"),
        ({"item_id": "2"}, "events[0].item_id"),
        ({"note": "x"}, "events[0]"),
    ],
)
def test_an_event_that_cannot_be_is_refused_with_its_place(
    changes: dict[str, Any], where: str
) -> None:
    with pytest.raises(InvalidField) as caught:
        decoder().events(event(**changes))
    assert caught.value.where == where


@pytest.mark.parametrize(("count", "error"), [(0, InvalidField), (3, TooLarge)])
def test_there_is_a_least_and_a_most_of_events(count: int, error: type[Exception]) -> None:
    events = json.loads(event())["events"] * count
    with pytest.raises(error, match="events: "):
        decoder().events(json.dumps({"events": events}).encode())


def test_more_items_than_a_request_may_hold_are_too_many() -> None:
    with pytest.raises(TooLarge, match="item_ids: at most 3 in one request"):
        decoder().score(body(item_ids=[1, 2, 3, 4]))


def test_event_ids_hold_no_nul() -> None:
    strings = decoder(example_schema("string", "string"))
    with pytest.raises(InvalidField, match="NUL"):
        strings.events(event(user_id="a\0", item_id="b"))
    with pytest.raises(InvalidField, match="NUL"):
        strings.events(event(user_id="a", item_id="\0"))


@pytest.mark.parametrize(
    ("unit", "per_second"), [("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)]
)
def test_an_event_of_the_far_future_is_refused_where_the_unit_is_known(
    unit: str, per_second: int
) -> None:
    settings = settings_for_tests(event_time_unit=unit, event_future_s=60)
    knowing = RequestDecoder(example_schema(), settings)
    soon, late = (int((time.time() + ahead) * per_second) for ahead in (50, 90))
    assert knowing.events(event(ts=soon))[0].ts == soon
    with pytest.raises(InvalidField, match="further in the future than 60 s") as caught:
        knowing.events(event(ts=late))
    assert caught.value.where == "events[0].ts"
    assert decoder().events(event(ts=late))[0].ts == late

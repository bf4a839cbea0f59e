"""POST /v1/events."""

from __future__ import annotations

import httpx
import msgspec

from service.features import Event
from service.messages import EventsAnswer
from tests.fakes import FakeParts

EVENT = {"user_id": 1, "item_id": 2, "behaviour": "buy", "ts": 5}


async def test_events_are_stored_before_they_are_acknowledged(
    public: httpx.AsyncClient, parts: FakeParts
) -> None:
    answer = await public.post("/v1/events", json={"events": [EVENT, EVENT | {"ts": 6}]})
    assert answer.status_code == 202
    assert msgspec.json.decode(answer.content, type=EventsAnswer).accepted == 2
    assert parts.events.kept == [Event("1", 2, "buy", 5), Event("1", 2, "buy", 6)]


async def test_one_invalid_event_and_none_is_stored(
    public: httpx.AsyncClient, parts: FakeParts
) -> None:
    answer = await public.post("/v1/events", json={"events": [EVENT, EVENT | {"ts": "now"}]})
    assert answer.status_code == 422
    assert answer.json()["error"]["where"] == "events[1].ts"
    assert parts.events.kept == []


async def test_a_store_that_is_down_is_said_so(public: httpx.AsyncClient, parts: FakeParts) -> None:
    parts.events.down = True
    answer = await public.post("/v1/events", json={"events": [EVENT]})
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "1"

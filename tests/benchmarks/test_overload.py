"""The measurement of overload: it hears every answer, and one bad stretch breaks a goal."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from benchmarks.open_loop import Caller, get, post
from benchmarks.overload import LOADS, Found, figures_of
from tests.fakes import FakeParts
from tests.live_server import live_server

BODY = b'{"user_id": 1, "item_ids": [1, 2], "tasks": ["click"]}'
GOOD = Found(
    goodput=0.95,
    efficiency=0.95,
    admitted=[0.5] * 100,
    statuses=Counter({200: 100, 429: 7}),
    health=[0.01] * 100,
    asking=0.1,
)


async def test_every_request_of_a_flow_is_heard() -> None:
    with live_server(FakeParts().open) as live:
        host, port = live.public.removeprefix("http://").split(":")
        address = host, int(port)
        for request, status in ((post("/v1/score", BODY), 200), (get("/v1/none"), 404)):
            caller = Caller(address, request)
            heard = await caller.flow(200.0, 0.2)
            assert [one.status for one in heard] == [status] * 40
            assert {one.status for one in await caller.saturate(4, 0.1)} == {status}
            caller.close()


async def test_what_cannot_be_asked_is_heard_as_failed() -> None:
    heard = await Caller(("127.0.0.1", 1), get("/")).flow(100.0, 0.1)
    assert [one.status for one in heard] == [0] * 10


@pytest.mark.parametrize(
    ("spoilt", "name"),
    [
        (replace(GOOD, goodput=0.5), "goodput"),
        (replace(GOOD, admitted=[0.5] * 90 + [2.0] * 10), "admitted_p99"),
        (replace(GOOD, health=[0.01] * 90 + [0.2] * 10), "health_p99"),
        (replace(GOOD, statuses=Counter({200: 100, 504: 1})), "others"),
    ],
)
def test_a_bad_stretch_breaks_its_goal(spoilt: Found, name: str) -> None:
    for found, holds in ((GOOD, True), (spoilt, False)):
        rounds = [dict.fromkeys(LOADS, GOOD) | {3: found}]
        figures = {figure.name: figure for figure in figures_of(rounds, 1000)}
        assert figures[f"overload/3x/{name}"].holds is holds
        assert figures[f"overload/1x/{name}"].holds is True

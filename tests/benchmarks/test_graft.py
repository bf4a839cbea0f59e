"""The measurement of grafting: it counts what fails and what disagrees."""

from __future__ import annotations

import asyncio

import pytest

from benchmarks.graft import Found, figures_of
from benchmarks.graft_load import Heard, Load
from tests.fakes import FakeParts
from tests.live_server import LiveServer, live_server

BODY = b'{"user_id": 1, "item_ids": [1, 2], "tasks": ["click"]}'


async def flow(live: LiveServer, body: bytes) -> list[Heard]:
    host, port = live.public.removeprefix("http://").split(":")
    load = Load(host, int(port), body, rate=200.0, task="click", connections=4)
    async with load.running(), asyncio.timeout(30):
        while len(load.heard) < 20:  # noqa: ASYNC110  # no event
            await asyncio.sleep(0.01)
    return load.heard


async def test_every_request_is_heard_with_its_version_and_scores() -> None:
    with live_server(FakeParts().open) as live:
        heard = await flow(live, BODY)
        refused = await flow(live, b"{")
    assert {(one.status, one.version, one.scores) for one in heard} == {(200, 0, (0.5, 0.5))}
    assert {one.status for one in refused} == {400}
    assert all(one.latency_s > 0 for one in heard)


@pytest.mark.parametrize(
    ("spoilt", "name"),
    [(Heard(0.0, 0.01, 200, 1, (0.6,)), "inconsistent"), (Heard(0.0, 0.01, 0), "failed")],
)
def test_one_answer_that_disagrees_or_fails_breaks_the_goal(spoilt: Heard, name: str) -> None:
    good = [Heard(0.0, 0.01, 200, 1, (0.5,))] * 10
    for heard, holds in ((good, True), ([*good, spoilt], False)):
        found = Found(quiet=good, swapping=heard, swap_s=[0.01], pss_kib=[100.0, 100.0])
        figures = {figure.name: figure for figure in figures_of(found)}
        assert figures[f"graft/{name}"].holds is holds

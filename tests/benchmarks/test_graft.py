"""The measurement of grafting: it counts what fails and what disagrees."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from benchmarks.graft import Found, figures_of
from benchmarks.graft_load import Heard, Load
from benchmarks.graft_swaps import Swap
from tests.fakes import FakeParts
from tests.live_server import LiveServer, live_server

BODY = b'{"user_id": 1, "item_ids": [1, 2], "tasks": ["click"]}'


async def flow(live: LiveServer, body: bytes) -> list[Heard]:
    host, port = live.public.removeprefix("http://").split(":")
    load = Load([(host, int(port))], [body], rate=200.0, task="click", connections=4)
    async with load.running(), asyncio.timeout(30):
        while len(load.heard) < 20:  # noqa: ASYNC110  # no event
            await asyncio.sleep(0.01)
    return load.heard


async def test_every_request_is_heard_with_its_version_and_scores() -> None:
    with live_server(FakeParts().open) as live:
        heard = await flow(live, BODY)
        refused = await flow(live, b"{")
    told = {(one.status, one.version, one.scores) for one in heard}
    assert told == {(200, 0, hash((0.5, 0.5)))}
    assert {one.status for one in refused} == {400}
    assert all(one.latency_s > 0 for one in heard)


GOOD = Heard(0.01, 200, 0, 1, 5)


@pytest.mark.parametrize(
    ("spoilt", "name"),
    [(replace(GOOD, scores=6), "inconsistent"), (Heard(0.01, 0), "failed")],
)
def test_one_answer_that_disagrees_or_fails_breaks_the_goal(spoilt: Heard, name: str) -> None:
    for heard, holds in (([GOOD] * 10, True), ([GOOD] * 10 + [spoilt], False)):
        found = Found([[GOOD] * 10], [heard], [Swap(0.01, 200)], [(0.1, 0.2)], [100.0, 100.0])
        figures = {figure.name: figure for figure in figures_of(found)}
        assert figures[f"graft/{name}"].holds is holds


def test_a_swap_that_is_refused_breaks_the_goal() -> None:
    found = Found([[GOOD]], [[GOOD]], [Swap(0.01, 409)], [(0.1, 0.2)], [100.0, 100.0])
    figures = {figure.name: figure for figure in figures_of(found)}
    assert figures["graft/failed"].holds is False


def test_what_a_swap_costs_is_what_scoring_alone_does_not() -> None:
    found = Found([[GOOD] * 10], [[GOOD] * 20], [Swap(0.01, 200)] * 4, [(0.1, 0.6)], [1.0, 1.0])
    figures = {figure.name: figure for figure in figures_of(found)}
    assert figures["graft/swap"].value == pytest.approx(100)

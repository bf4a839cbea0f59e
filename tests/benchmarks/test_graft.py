"""The measurement of grafting: it counts what fails and what disagrees."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from benchmarks.graft import Found, figures_of, main
from benchmarks.graft_load import Heard, Load
from benchmarks.graft_swaps import Admin, Swap, Swapper, file_of
from tests.fakes import GOOD_PROMPT, FakeParts
from tests.live_server import ADMIN, LiveServer, live_server

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


async def test_a_connection_that_broke_is_closed_and_another_one_opened() -> None:
    ends: list[asyncio.Event] = []

    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends.append(ended := asyncio.Event())
        await reader.readuntil(BODY)
        writer.write_eof()  # half a connection stays, until the other side closes it
        await reader.read()
        writer.close()
        await writer.wait_closed()
        ended.set()

    server = await asyncio.start_server(cut, "127.0.0.1", 0)
    load = Load([server.sockets[0].getsockname()], [BODY], 100.0, "click", connections=1)
    async with server, asyncio.timeout(30):
        async with load.running():
            while len(ends) < 2:  # noqa: ASYNC110  # no event
                await asyncio.sleep(0.01)
        for ended in ends:
            await ended.wait()
    assert {one.status for one in load.heard} == {0}


@pytest.mark.parametrize("files", range(3, 13))
def test_every_swap_changes_what_scores(files: int) -> None:
    versions: list[int] = []
    live: int | None = None
    for swap in range(6 * files):
        before, file = live, file_of(swap, files)
        if file is None:
            live = versions[-2]  # the next older one
        else:
            versions.append(file)
            live = file
        assert live != before


@pytest.mark.parametrize("files", [[b"a", b"b"], [b"a", b"b", b"a"]])
def test_files_with_which_a_swap_might_change_nothing_are_refused(files: list[bytes]) -> None:
    with pytest.raises(ValueError, match="3 or more, all different"):
        Swapper(Admin("http://127.0.0.1:1", {}), "buy", files)


def test_a_swap_is_done_when_it_was_accepted_and_the_generation_rose() -> None:
    with (
        live_server(FakeParts().open) as live,
        Swapper(Admin(live.admin, ADMIN), "buy", [GOOD_PROMPT, b"foreign", b"bad"]) as swapper,
    ):
        accepted, refused = swapper.swaps(2, 1000.0)
    assert accepted.rose
    assert accepted.done
    assert not refused.rose
    assert not refused.done
    assert not Swap(0.01, 200, rose=False).done


@pytest.mark.parametrize("stretches", ["0", "5"])
def test_a_stretch_without_a_swap_is_refused(
    stretches: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["--swaps", "4", "--stretches", stretches])
    assert "each stretch needs a swap" in capsys.readouterr().err


GOOD = Heard(0.01, 200, 0, 1, 5)


@pytest.mark.parametrize(
    ("spoilt", "name"),
    [(replace(GOOD, scores=6), "inconsistent"), (Heard(0.01, 0), "failed")],
)
def test_one_answer_that_disagrees_or_fails_breaks_the_goal(spoilt: Heard, name: str) -> None:
    for heard, holds in (([GOOD] * 10, True), ([GOOD] * 10 + [spoilt], False)):
        found = Found(
            [[GOOD] * 10], [heard], [Swap(0.01, 200, rose=True)], [(0.1, 0.2)], [100.0, 100.0]
        )
        figures = {figure.name: figure for figure in figures_of(found)}
        assert figures[f"graft/{name}"].holds is holds


@pytest.mark.parametrize("swap", [Swap(0.01, 409, rose=False), Swap(0.01, 200, rose=False)])
def test_a_swap_that_is_refused_or_changes_nothing_breaks_the_goal(swap: Swap) -> None:
    found = Found([[GOOD]], [[GOOD]], [swap], [(0.1, 0.2)], [100.0, 100.0])
    figures = {figure.name: figure for figure in figures_of(found)}
    assert figures["graft/failed"].holds is False


def test_what_a_swap_costs_is_what_scoring_alone_does_not() -> None:
    swaps = [Swap(0.01, 200, rose=True)] * 4
    found = Found([[GOOD] * 10], [[GOOD] * 20], swaps, [(0.1, 0.6)], [1.0, 1.0])
    figures = {figure.name: figure for figure in figures_of(found)}
    assert figures["graft/swap"].value == pytest.approx(100)

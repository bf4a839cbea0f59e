"""Canaries, shadows and their guard, on the real engine and a real task store."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from contract.prompt import read_prompt, write_prompt
from service.drift import Pair
from service.errors import NotConverged, StoreUnavailable, TaskConflict
from service.graft_report import GraftReport
from service.route import place
from service.routing import Canary, Guard, Routing, Wanted
from service.scoring import ScoreResult
from tests.service.test_fleet import refuse, worker
from tests.service.test_registry import renamed, same_bytes
from tests.service.tiny import Tiny, prompt_bytes, request, tiny

USERS = [f"user-{n}" for n in range(60)]
SHIFTS = {1: 0.0, 2: 1.0, 3: 3.0}  # of the last bias, by version
GUARD = Guard(max_psi=0.25, min_rows=30)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[Tiny]:
    """Three versions of one task, the first stable; and a task that nobody routes."""
    async with tiny(tmp_path) as world:
        await graft_three(world)
        yield world


async def graft_three(world: Tiny) -> None:
    for version, shift in SHIFTS.items():
        await world.registry.graft(
            "share", renamed("share", shift), activate=version == 1, actor="test"
        )
    await world.registry.graft("skip", prompt_bytes("skip"), activate=True, actor="test")


async def route(
    world: Tiny,
    canary: tuple[int, float] | None = None,
    shadow: int | None = None,
    guard: Guard | None = None,
    *,
    stable: int | None = None,
) -> GraftReport:
    chosen = None if canary is None else Canary(*canary)
    return await world.registry.route(
        "share", Wanted(stable, Routing(chosen, shadow, guard)), actor="test"
    )


async def answer(world: Tiny, user: str, **changes: object) -> ScoreResult:
    return await world.scorer.score(request(user_id=user, **changes))


async def answers_of(world: Tiny, version: int) -> dict[str, NDArray[np.float32]]:
    """What each user gets when this version scores alone."""
    await route(world, stable=version)
    return {user: (await answer(world, user)).scores["share"] for user in USERS}


async def counted(world: Tiny) -> dict[int, tuple[int, int]]:
    """Requests and rows by version, of all workers."""
    await asyncio.sleep(0)
    figures = await world.watch.figures()
    return {pair.version: (one.requests, one.rows) for pair, one in figures.items()}


async def test_each_user_gets_one_version_whole_and_the_answer_names_it(world: Tiny) -> None:
    alone = {version: await answers_of(world, version) for version in (1, 2)}
    skip = (await answer(world, USERS[0])).scores["skip"]
    await route(world, canary=(2, 40), stable=1)
    for user in USERS:
        found = await answer(world, user)
        assert found.versions == {
            "click": 0, "like": 0, "skip": 1, "share": 2 if place("share", 2, user) < 40 else 1,
        }  # fmt: skip
        assert found.scores["share"].tobytes() == alone[found.versions["share"]][user].tobytes()
    assert same_bytes({"skip": skip}, {"skip": (await answer(world, USERS[0])).scores["skip"]})


async def test_a_shadow_scores_every_request_and_moves_no_bit_of_any_answer(world: Tiny) -> None:
    before = {user: await answer(world, user) for user in USERS}
    await route(world, shadow=3)
    for user in USERS:
        found = await answer(world, user)
        assert found.versions == before[user].versions
        assert list(found.scores) == list(before[user].scores)
        assert same_bytes(before[user].scores, found.scores)
    assert await counted(world) == {3: (60, 180)}


async def test_a_shadow_that_scores_no_numbers_moves_no_bit_either(world: Tiny) -> None:
    before = await world.scores()
    await route(world, shadow=3)
    slot = world.registry.snapshot.routes["share"].others[0].slot
    for array in world.model.bank._arrays.values():
        array[slot.index] = np.nan
    assert same_bytes(before, await world.scores())
    assert await counted(world) == {3: (1, 3)}


async def test_counting_that_fails_is_a_line_in_the_log_and_no_more(
    world: Tiny, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await route(world, shadow=3)
    monkeypatch.setattr("service.drift.overlap", lambda *_: 1 / 0)
    with caplog.at_level(logging.ERROR, "asyncio"):
        assert (await answer(world, "user-3")).versions["share"] == 1
        await asyncio.sleep(0)
    assert "observe" in caplog.text


async def test_a_canary_is_compared_where_it_answers_and_a_shadow_everywhere(world: Tiny) -> None:
    await route(world, canary=(2, 40), shadow=3)
    asked = [await answer(world, user) for user in USERS]
    canaries = sum(found.versions["share"] == 2 for found in asked)
    assert 0 < canaries < 60
    assert await counted(world) == {2: (canaries, 3 * canaries), 3: (60, 180)}
    await route(world, canary=(2, 40), shadow=2)
    for user in USERS:
        await answer(world, user)
    await world.watch.look()
    assert await counted(world) == {2: (60, 180)}


async def test_tasks_that_are_not_asked_are_not_compared(world: Tiny) -> None:
    await route(world, canary=(2, 100), shadow=3)
    await answer(world, "user-3", tasks=["skip", "click"])
    assert await counted(world) == {}


async def test_drift_shows_a_shifted_prompt_by_its_spread_and_not_by_its_ranks(
    world: Tiny,
) -> None:
    """A bias moves all scores and swaps none."""
    await route(world, canary=(2, 100), shadow=3)
    items = [*range(100, 110)]
    for user in USERS:
        await answer(world, user, item_ids=items)
    await asyncio.sleep(0)
    told = await world.catalog.drift("share")
    assert (told.stable, told.since) == (1, world.catalog.routing("share").since)
    canary, shadow = told.versions
    assert [(one.version, one.roles, one.rows) for one in told.versions] == [
        (2, ["canary"], 600), (3, ["shadow"], 600),
    ]  # fmt: skip
    assert min(canary.psi or 0, shadow.psi or 0) > 0.25
    assert canary.overlap == shadow.overlap == 1


async def test_the_guard_takes_a_drifting_canary_away_and_says_why(world: Tiny) -> None:
    before = {user: await answer(world, user) for user in USERS}
    await route(world, canary=(3, 50), shadow=2, guard=GUARD)
    for user in USERS:
        await answer(world, user)
    await asyncio.sleep(0)
    await world.watch.look()
    assert {(await answer(world, user)).versions["share"] for user in USERS} == {1}
    assert same_bytes(before["user-3"].scores, (await answer(world, "user-3")).scores)
    *_, told = await world.catalog.history("share", 9, None)
    assert (told["who"], told["action"]) == ("guard", "route")
    assert told["detail"].startswith("canary 3 taken away: psi ")
    assert "is over 0.25, on " in told["detail"]
    now = world.catalog.routing("share")
    assert (now.canary, now.shadow, now.guard) == (None, 2, None)


async def test_a_guard_judges_by_ranks_where_it_was_told_so(world: Tiny) -> None:
    """The other task's prompt ranks otherwise."""
    other = read_prompt(prompt_bytes("skip"))
    header = other.header.model_copy(update={"task": "share"})
    body = write_prompt(header, other.tensors, other.golden_inputs, other.golden_scores)
    await world.registry.graft("share", body, activate=False, actor="test")
    items = [*range(100, 110)]
    for canary, left in ((2, True), (4, False)):
        await route(world, canary=(canary, 100), guard=Guard(min_overlap=0.95, min_rows=30))
        for user in USERS:
            await answer(world, user, item_ids=items)
        await asyncio.sleep(0)
        await world.watch.look()
        assert ("share" in world.registry.snapshot.routes) == left


async def test_a_guard_waits_for_enough_rows_and_minds_no_small_drift(world: Tiny) -> None:
    for guard in (Guard(max_psi=0.25, min_rows=10_000), Guard(max_psi=100.0, min_rows=30)):
        await route(world, canary=(3, 100), guard=guard)
        for user in USERS:
            await answer(world, user)
        await asyncio.sleep(0)
        await world.watch.look()
        assert world.catalog.routing("share").canary == Canary(3, 100)


async def test_a_canary_that_could_not_be_stopped_is_stopped_at_the_next_look(
    world: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    await route(world, canary=(3, 100), guard=GUARD)
    for user in USERS:
        await answer(world, user)
    await asyncio.sleep(0)

    def fail(*_: object) -> None:
        raise StoreUnavailable("it is away")

    with monkeypatch.context() as patch:
        patch.setattr(type(world.store), "update", fail)
        with pytest.raises(StoreUnavailable):
            await world.watch.look()
    assert world.catalog.routing("share").canary is not None
    await world.watch.look()
    assert world.catalog.routing("share").canary is None


async def test_a_rollback_without_a_version_takes_a_canary_away_first(world: Tiny) -> None:
    await route(world, canary=(3, 100), stable=2)
    assert (await world.registry.rollback("share", None, actor="test")).version == 2
    assert world.registry.snapshot.routes == {}
    assert (await world.registry.rollback("share", None, actor="test")).version == 1


async def test_what_sees_no_traffic_any_more_leaves_the_bank(world: Tiny) -> None:
    bank = world.model.bank
    await route(world, canary=(2, 50), shadow=3)
    assert bank.spare == bank._limit - 4
    await world.registry.remove("share", actor="test")
    assert bank.spare == bank._limit - 1


async def test_the_figures_are_metrics_until_nothing_is_compared(world: Tiny) -> None:
    def told() -> str:
        return world.metrics.exposition(None)[0].decode()

    await route(world, canary=(2, 100))
    await answer(world, "user-3")
    await asyncio.sleep(0)
    await world.watch.look()
    assert 'taskgraft_drift_rows{task="share",version="2"} 3.0' in told()
    assert 'taskgraft_drift_psi{task="share",version="2"}' in told()
    assert 'taskgraft_task_canary_rows_total{task="share"} 3.0' in told()
    await route(world)
    await world.watch.look()
    assert "taskgraft_drift_rows{" not in told()


# --- among several workers -----------------------------------------------------------------------


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[tuple[Tiny, Tiny]]:
    async with AsyncExitStack() as stack:
        one, other = [await stack.enter_async_context(worker(tmp_path)) for _ in range(2)]
        await graft_three(one)
        yield one, other


async def test_every_worker_puts_a_user_on_the_same_side(two: tuple[Tiny, Tiny]) -> None:
    one, other = two
    await route(one, canary=(2, 40), shadow=3)
    for user in USERS:
        here, there = await answer(one, user), await answer(other, user)
        assert here.versions == there.versions
        assert same_bytes(here.scores, there.scores)


async def test_a_routing_that_one_worker_cannot_serve_changes_nothing_anywhere(
    two: tuple[Tiny, Tiny], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = two
    await route(one, shadow=2)
    refuse(other, monkeypatch)
    with pytest.raises(NotConverged, match="the disk of this host is bad"):
        await route(one, canary=(3, 40), shadow=2)
    for world in two:
        assert world.catalog.routing("share").canary is None
        assert world.catalog.routing("share").shadow == 2
    assert one.store.read().candidates == {}


async def test_two_routings_at_once_end_in_one_of_them(two: tuple[Tiny, Tiny]) -> None:
    store = two[0].store
    calls = [route(two[n % 2], canary=(2 + n % 2, 10 + n)) for n in range(6)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(result, (GraftReport, TaskConflict)) for result in results)
    assert store.read().candidates == {}
    last = store.read().task("share").routing
    async with asyncio.timeout(20):
        while {w.catalog.routing("share").canary for w in two} != {last.canary}:  # noqa: ASYNC110  # no event
            await asyncio.sleep(0.01)


async def test_what_one_worker_counts_all_judge_and_only_one_line_is_written(
    two: tuple[Tiny, Tiny],
) -> None:
    one, other = two
    await route(one, canary=(3, 100), guard=Guard(max_psi=0.25, min_rows=150))
    for at, user in enumerate(USERS):
        await answer(two[at % 2], user)
    await asyncio.sleep(0)
    for world in two:
        world.registry.fleet.tell()
    for world in two:
        assert (await counted(world))[3] == (60, 180)
    await asyncio.gather(one.watch.look(), other.watch.look())
    assert [c.who for c in one.store.history()].count("guard") == 1
    async with asyncio.timeout(20):
        while one.registry.snapshot.routes or other.registry.snapshot.routes:  # noqa: ASYNC110  # no event
            await asyncio.sleep(0.01)
    stopped = [text for world in two if "stopped_total 1.0" in (text := exposed(world))]
    assert len(stopped) == 1


def exposed(world: Tiny) -> str:
    return world.metrics.exposition(None)[0].decode()


async def test_counts_of_an_earlier_trial_do_not_judge_a_new_one(two: tuple[Tiny, Tiny]) -> None:
    one, other = two
    await route(one, canary=(3, 100))
    await answer(other, "user-3")
    await asyncio.sleep(0)
    other.registry.fleet.tell()
    await route(one)
    await route(one, canary=(3, 100))
    since = one.registry.snapshot.routes["share"].routing.since
    assert Pair("share", 3, since) not in await one.watch.figures()

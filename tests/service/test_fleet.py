"""Several workers over one task store: a change is everywhere when it is answered, or nowhere."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import structlog

from contract.errors import PromptMisfit
from service.errors import CorruptStore, NotConverged, StoreUnavailable, TaskConflict
from service.graft_report import GraftReport
from service.resident import Resident
from service.rollout import Wait
from service.sync import TaskFollower
from service.task_changes import propose_graft
from service.task_store import Acknowledgement, StoredPrompt
from tests.service.test_registry import renamed, same_bytes
from tests.service.tiny import Tiny, prompt_bytes, tiny

MANY_S = 60.0


@asynccontextmanager
async def worker(tasks: Path) -> AsyncIterator[Tiny]:
    """A process's parts, following the store."""
    async with tiny(tasks) as world:
        follower = TaskFollower(world.registry, world.store, structlog.get_logger())
        await follower.start()
        try:
            yield world
        finally:
            await follower.stop()


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[tuple[Tiny, Tiny]]:
    async with worker(tmp_path) as one, worker(tmp_path) as other:
        yield one, other


async def graft(world: Tiny, body: bytes | None = None, wait: Wait = "all") -> GraftReport:
    content = body or prompt_bytes("share")
    return await world.registry.graft("share", content, activate=True, actor="t", wait=wait)


def refuse(world: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on this worker can load no prompt."""

    def prove(*_: object) -> None:
        raise PromptMisfit("malformed", "the disk of this host is bad")

    prover: Any = world.registry._prover
    monkeypatch.setattr(prover, "prove_stored", prove)
    world.registry._loader._left.clear()


def scoring(world: Tiny) -> int | None:
    live = world.registry.snapshot.prompts.get("share")
    return None if live is None else live.version


async def test_what_was_answered_is_served_by_every_worker(two: tuple[Tiny, Tiny]) -> None:
    one, other = two
    report = await graft(one)
    assert scoring(one) == scoring(other) == report.version == 1
    assert {(w["state"], w["generation"]) for w in report.workers} == {
        ("serving", report.generation)
    }
    assert len(report.workers) == 2
    assert same_bytes(await one.scores(), await other.scores())
    await graft(other, renamed("share", 1.0))
    assert scoring(one) == scoring(other) == 2
    await one.registry.rollback("share", None, actor="t")
    assert scoring(one) == scoring(other) == 1
    await other.registry.remove("share", actor="t")
    assert scoring(one) is scoring(other) is None


async def test_what_one_worker_cannot_load_scores_nowhere_and_the_answer_says_who_and_why(
    two: tuple[Tiny, Tiny], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = two
    await graft(one)
    tasks = one.store.read().tasks
    refuse(other, monkeypatch)
    with pytest.raises(NotConverged, match="the disk of this host is bad") as caught:
        await graft(one, renamed("share", 1.0))
    states = {worker["id"]: worker["state"] for worker in caught.value.workers}
    assert states == {one.registry.worker: "serving", other.registry.worker: "refused"}
    assert one.store.read().tasks == tasks
    assert one.store.read().candidates == {}
    assert scoring(one) == scoring(other) == 1
    assert [c.action for c in one.store.history()][-2:] == ["propose", "withdraw"]


async def test_a_rollback_that_one_worker_cannot_follow_changes_nothing_either(
    two: tuple[Tiny, Tiny], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = two
    await graft(one)
    await graft(one, renamed("share", 1.0))
    refuse(other, monkeypatch)
    with pytest.raises(NotConverged):
        await one.registry.rollback("share", None, actor="t")
    assert scoring(one) == scoring(other) == 2
    assert [v.version for v in one.store.read().tasks["share"].versions] == [1, 2]


async def test_the_way_back_to_what_scored_a_moment_ago_proves_nothing_again(
    two: tuple[Tiny, Tiny], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = two
    await graft(one)
    await graft(one, renamed("share", 1.0))
    for world in two:
        monkeypatch.setattr(
            world.registry._prover, "prove_stored", Mock(side_effect=AssertionError)
        )
    await one.registry.rollback("share", None, actor="t")
    assert scoring(one) == scoring(other) == 1
    assert same_bytes(await one.scores(), await other.scores())


async def test_waiting_for_this_worker_alone_asks_nobody(
    two: tuple[Tiny, Tiny], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = two
    refuse(other, monkeypatch)
    await graft(one, wait="local")
    assert scoring(one) == 1
    async with asyncio.timeout(20):
        while other.registry.acknowledgement().state != "behind":  # noqa: ASYNC110  # no event
            await asyncio.sleep(0.01)
    assert scoring(other) is None
    assert "disk" in other.registry.acknowledgement().reason


async def test_a_worker_that_stands_still_is_named_after_patience_is_over(tmp_path: Path) -> None:
    async with worker(tmp_path) as world:
        world.registry.fleet.patience_s = 0.05
        world.store.acknowledge(Acknowledgement("stuck", 0, "serving"), MANY_S)
        with pytest.raises(NotConverged, match="worker stuck: still at generation 0"):
            await graft(world)
        assert scoring(world) is None
        report = await graft(world, wait="local")
        assert {w["id"]: w["generation"] for w in report.workers}["stuck"] == 0


async def test_a_worker_that_died_is_waited_for_no_longer_than_its_lease(tmp_path: Path) -> None:
    async with worker(tmp_path) as world:
        world.registry.fleet.patience_s = MANY_S
        world.store.acknowledge(Acknowledgement("killed", 0, "serving"), 0.2)
        assert (await graft(world)).version == 1


async def test_the_same_file_again_waits_for_those_who_lag(tmp_path: Path) -> None:
    async with worker(tmp_path) as one:
        await graft(one)
        async with worker(tmp_path) as other:
            await graft(other)
            assert scoring(other) == 1


async def test_a_proposal_whose_proposer_died_scores_nowhere_and_stops_nobody(
    tmp_path: Path,
) -> None:
    async with worker(tmp_path) as one:
        body = renamed("share", 1.0)
        left = StoredPrompt(one.store.put_prompt(body), len(body), created_at=1.0)
        one.store.update(lambda state: propose_graft(state, "share", left, "gone"))
        async with worker(tmp_path) as other:
            assert scoring(other) is None
            await one.registry.graft("skip", prompt_bytes("skip"), activate=True, actor="t")
            assert one.store.read().candidates == {}
            await graft(other)
            assert scoring(one) == scoring(other) == 2


async def test_two_workers_grafting_one_task_at_once_end_in_one_version(
    two: tuple[Tiny, Tiny],
) -> None:
    one, other = two
    bodies = [renamed("share", n / 10) for n in range(1, 7)]
    calls = [graft((one, other)[n % 2], body) for n, body in enumerate(bodies)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    done = [r.version for r in results if isinstance(r, GraftReport)]
    assert all(isinstance(r, (GraftReport, TaskConflict)) for r in results)
    assert done
    assert one.store.read().candidates == {}
    async with asyncio.timeout(20):
        while scoring(one) != scoring(other):  # noqa: ASYNC110  # no event
            await asyncio.sleep(0.01)
    assert scoring(one) in done
    assert same_bytes(await one.scores(), await other.scores())


async def test_a_caller_who_leaves_half_way_leaves_no_candidate(
    two: tuple[Tiny, Tiny], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = two
    proving = threading.Event()
    prover: Any = other.registry._prover
    prove = prover.prove_stored

    def told(*stored: Any) -> Resident:  # noqa: ANN401  # passed on as it is
        proving.set()
        resident: Resident = prove(*stored)
        return resident

    monkeypatch.setattr(prover, "prove_stored", told)
    call = asyncio.create_task(graft(one))
    await asyncio.to_thread(proving.wait, 20)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    async with asyncio.timeout(20):
        while scoring(other) != 1:  # noqa: ASYNC110  # no event
            await asyncio.sleep(0.01)
    assert one.store.read().candidates == {}


async def test_a_store_that_does_not_answer_is_not_taken_for_being_alone(
    two: tuple[Tiny, Tiny], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = two
    monkeypatch.setattr(
        one.store, "acknowledgements", Mock(side_effect=StoreUnavailable("it is away"))
    )
    with pytest.raises(StoreUnavailable):
        await graft(one)
    assert one.store.generation() == 0
    assert [worker["id"] for worker in await one.catalog.workers()] == [one.registry.worker]
    monkeypatch.undo()
    told = other.store.acknowledgements()
    monkeypatch.setattr(
        one.store, "acknowledgements", Mock(side_effect=[told, StoreUnavailable("it is away")])
    )
    with pytest.raises(StoreUnavailable):
        await graft(one)
    assert scoring(one) is scoring(other) is None
    assert one.store.read().candidates == {}


async def test_many_who_wait_keep_nobody_from_telling(two: tuple[Tiny, Tiny]) -> None:
    fleet = two[0].registry.fleet
    fleet.patience_s = 1.0
    waiting = [asyncio.create_task(fleet.hold_ready(99, "share")) for _ in range(64)]
    await asyncio.sleep(0)
    for _ in range(3):
        await asyncio.to_thread(fleet.tell)
    assert not any(wait.done() for wait in waiting)
    ended = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(one) for one in ended} == {NotConverged}
    names = {thread.name for thread in threading.enumerate()}
    async with asyncio.timeout(10):
        while "fleet watch" in names:
            await asyncio.sleep(0.01)
            names = {thread.name for thread in threading.enumerate()}


async def test_who_leaves_while_waiting_leaves_nothing_behind(two: tuple[Tiny, Tiny]) -> None:
    fleet = two[0].registry.fleet
    waiting = asyncio.create_task(fleet.hold_ready(99, "share"))
    await asyncio.sleep(0.02)
    waiting.cancel()
    await asyncio.wait([waiting])
    async with asyncio.timeout(10):
        while "fleet watch" in {thread.name for thread in threading.enumerate()}:  # noqa: ASYNC110  # no event
            await asyncio.sleep(0.01)


async def test_whatever_looking_meets_ends_the_wait_and_no_later_one(
    two: tuple[Tiny, Tiny], monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = two[0].registry
    with monkeypatch.context() as patch:
        damaged = Mock(side_effect=CorruptStore("a key holds another type"))
        patch.setattr(two[0].store, "acknowledgements", damaged)
        for wait in (registry.fleet.hold_ready(99, "share"), registry.fleet.settle(99)):
            with pytest.raises(CorruptStore, match="another type"):
                async with asyncio.timeout(10):
                    await wait
    assert len(await registry.fleet.settle(0)) == 2

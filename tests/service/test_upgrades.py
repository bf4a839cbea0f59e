"""Another backbone with its prompts: everywhere at once, or nowhere; on the real engine."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog

from contract.errors import PromptMisfit
from contract.manifest import read_manifest
from service.backbone import WantedBackbone
from service.bank import Slot
from service.errors import (
    BundleMissing,
    BundleUnfit,
    InvalidField,
    NotConverged,
    TaskConflict,
    TaskRejected,
    UncoveredTasks,
)
from service.features import NO_FEATURES
from service.model import Model
from service.prover import PromptProver
from service.signatures import SecretKey, Signers
from service.snapshot import Snapshot
from service.sync import TaskFollower
from service.task_store import Acknowledgement
from service.upgrades import BackboneReport
from service.warm_up import Asked, warm_up
from tests.service.test_registry import graft, renamed, same_bytes
from tests.service.tiny import RETRAINED, Tiny, prompt_bytes, request, retrained_prompt, tiny

NEW = read_manifest(RETRAINED).fingerprint


@pytest.fixture
def bundles(tmp_path: Path) -> Path:
    """A folder with the retrained bundle, as a host has it."""
    folder = tmp_path / "bundles"
    shutil.copytree(RETRAINED, folder / NEW)
    return folder


@asynccontextmanager
async def worker(tasks: Path, bundles: Path | None) -> AsyncIterator[Tiny]:
    """A process's parts, following the store."""
    async with tiny(tasks, bundles=bundles) as world:
        follower = TaskFollower(world.registry, world.store, structlog.get_logger())
        await follower.start()
        try:
            yield world
        finally:
            await follower.stop()


@pytest.fixture
async def one(tmp_path: Path, bundles: Path) -> AsyncIterator[Tiny]:
    async with worker(tmp_path / "tasks", bundles) as world:
        yield world


@pytest.fixture
async def other(one: Tiny, tmp_path: Path, bundles: Path) -> AsyncIterator[Tiny]:
    """A second worker over the same store."""
    async with worker(tmp_path / "tasks", bundles) as world:
        yield world


async def upgrade(world: Tiny, *tasks: str, drop: tuple[str, ...] = ()) -> BackboneReport:
    """To the retrained backbone, with its own prompts for these tasks."""
    prompts = {task: world.store.put_prompt(retrained_prompt(task)) for task in tasks}
    return await world.upgrades.upgrade(WantedBackbone(NEW, prompts, drop), "test")


async def test_backbone_and_prompts_change_together_in_every_worker(one: Tiny, other: Tiny) -> None:
    await graft(one, "share")
    before = await one.scores()
    report = await upgrade(one, "share")
    assert (report.fingerprint, report.tasks, report.ended) == (NEW, {"share": 2}, [])
    assert {w["generation"] for w in report.workers} == {report.generation}
    after = await one.scores()
    assert not same_bytes(before, after)
    assert same_bytes(after, await other.scores())
    for world in (one, other):
        answer = await world.scorer.score(request())
        assert answer.model == world.registry.snapshot.model.id == report.model
        assert answer.versions["share"] == 2


async def test_the_retrained_backbone_scores_as_where_it_is_served_alone(
    one: Tiny, tmp_path: Path
) -> None:
    await upgrade(one, "share")
    async with tiny(tmp_path / "alone", bundle=RETRAINED) as alone:
        await graft(alone, "share", retrained_prompt("share"))
        assert same_bytes(await alone.scores(), await one.scores())


async def test_a_rollback_brings_the_old_bytes_back_and_can_be_undone(
    one: Tiny, other: Tiny
) -> None:
    await graft(one, "share")
    await graft(one, "skip")
    before = await one.scores()
    await upgrade(one, "share", drop=("skip",))
    with_new = await one.scores()
    assert "skip" not in with_new
    report = await other.upgrades.rollback("test")
    assert (report.tasks, report.previous) == ({"share": 1, "skip": 1}, NEW)
    for world in (one, other):
        assert same_bytes(before, await world.scores())
    await one.upgrades.rollback("test")
    assert same_bytes(with_new, await other.scores())


async def test_a_rollback_within_reach_opens_no_bundle(one: Tiny, bundles: Path) -> None:
    await upgrade(one)
    await one.upgrades.rollback("test")
    shutil.rmtree(bundles)
    with pytest.raises(BundleMissing):
        one.registry._room._with.shelf.find(NEW)
    held = await one.registry._room.hold(one.registry.snapshot.wanted.left.bundle)  # type: ignore[union-attr]
    assert held.ref.fingerprint == NEW


async def test_a_live_task_that_was_not_tuned_again_refuses_the_upgrade_by_name(
    one: Tiny,
) -> None:
    await graft(one, "share")
    await graft(one, "skip")
    before = one.registry.snapshot
    with pytest.raises(UncoveredTasks, match="would not serve skip") as caught:
        await upgrade(one, "share")
    assert caught.value.names == ("skip",)
    assert one.store.read().upgrade is None
    assert unchanged(before, one)


async def test_a_task_grafted_while_workers_load_is_not_lost_either(
    one: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold = one.registry.fleet.hold_backbone

    async def hold_after_a_graft(key: str, patience_s: float) -> None:
        await graft(one, "late", renamed("late"))
        await hold(key, patience_s)

    monkeypatch.setattr(one.registry.fleet, "hold_backbone", hold_after_a_graft)
    with pytest.raises(UncoveredTasks, match="late"):
        await upgrade(one)
    assert one.store.read().upgrade is None
    assert "late" in await one.scores()


async def test_a_prompt_of_another_backbone_is_refused(one: Tiny) -> None:
    await graft(one, "share")
    before = one.registry.snapshot
    digest = one.store.put_prompt(prompt_bytes("share"))
    with pytest.raises(PromptMisfit, match="was tuned on backbone") as caught:
        await one.upgrades.upgrade(WantedBackbone(NEW, {"share": digest}), "test")
    assert caught.value.reason == "wrong_backbone"
    digest = one.store.put_prompt(retrained_prompt("skip"))
    with pytest.raises(PromptMisfit, match="holds task skip"):
        await one.upgrades.upgrade(WantedBackbone(NEW, {"share": digest}), "test")
    with pytest.raises(InvalidField, match="no prompt of this digest"):
        await one.upgrades.upgrade(WantedBackbone(NEW, {"share": "0" * 64}), "test")
    assert unchanged(before, one)


async def test_an_upgrade_asks_for_its_prompts_signatures(one: Tiny) -> None:
    """At its start, and again wherever its prompts are made ready."""
    key, content = SecretKey.new(), retrained_prompt("share")
    signers = Signers((key.trusted("ops"),), required=True)
    one.upgrades._signers = signers
    room = one.registry._room
    room._with = replace(room._with, prover=PromptProver(signers))
    digest = one.store.put_prompt(content)
    before = one.registry.snapshot
    with pytest.raises(TaskRejected, match="not signed"):
        await one.upgrades.put_prompt(digest, content)
    with pytest.raises(TaskRejected, match="not signed"):
        await one.upgrades.upgrade(WantedBackbone(NEW, {"share": digest}), "test")
    assert unchanged(before, one)
    signatures = {"share": key.sign(content, "")}
    wanted = WantedBackbone(NEW, {"share": digest}, signatures=signatures)
    await one.upgrades.upgrade(wanted, "test")
    assert one.registry.snapshot.wanted.task("share").versions[-1].signer == "ops"


async def test_after_an_upgrade_old_prompts_and_versions_fit_no_more(one: Tiny) -> None:
    await graft(one, "share")
    await upgrade(one, "share")
    with pytest.raises(PromptMisfit, match="tune it again"):
        await graft(one, "share", renamed("share", 1.0))
    with pytest.raises(TaskConflict, match="no version older"):
        await one.registry.rollback("share", None, actor="test")
    with pytest.raises(TaskConflict, match="was tuned on backbone"):
        await one.registry.rollback("share", 1, actor="test")
    assert one.registry.snapshot.prompts["share"].version == 2


async def test_a_graft_proved_on_the_backbone_before_is_not_committed(
    one: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = one.store.put_prompt
    running = asyncio.get_running_loop()

    def upgraded_meanwhile(body: bytes) -> str:
        monkeypatch.setattr(one.store, "put_prompt", put)
        asyncio.run_coroutine_threadsafe(upgrade(one), running).result(60)
        return put(body)

    monkeypatch.setattr(one.store, "put_prompt", upgraded_meanwhile)
    with pytest.raises(TaskConflict, match="was tuned on backbone"):
        await graft(one, "share")
    assert "share" not in one.registry.snapshot


async def test_a_snapshot_refuses_a_prompt_from_another_models_bank(one: Tiny) -> None:
    await graft(one, "share")
    old = one.registry.snapshot
    await upgrade(one, "share")
    held = {name: {1: resident} for name, resident in old.prompts.items()}
    with pytest.raises(PromptMisfit, match="made ready for another backbone"):
        Snapshot.of(one.registry.snapshot.model, held, old.wanted)


async def test_a_worker_without_the_bundle_keeps_everything_as_it_was(
    one: Tiny, tmp_path: Path
) -> None:
    await graft(one, "share")
    before = one.registry.snapshot
    async with worker(tmp_path / "tasks", None) as poor:
        with pytest.raises(NotConverged, match="no bundle with backbone") as caught:
            await upgrade(one, "share")
        states = {told["id"]: told["state"] for told in caught.value.workers}
        assert states == {one.registry.worker: "serving", poor.registry.worker: "refused"}
        state = one.store.read()
        assert (state.bundle, state.left, state.upgrade) == (None, None, None)
        assert [v.version for v in state.tasks["share"].versions] == [1]
        for world in (one, poor):
            assert unchanged(before, world)


async def test_a_damaged_bundle_changes_nothing(one: Tiny, bundles: Path) -> None:
    before = one.registry.snapshot
    with (bundles / NEW / "backbone.weights").open("r+b") as file:
        file.write(b"\xff")
    with pytest.raises(NotConverged, match="its digest differs"):
        await upgrade(one)
    assert unchanged(before, one)


async def test_a_worker_started_later_serves_what_is_wanted_whatever_it_was_given(
    one: Tiny, tmp_path: Path, bundles: Path
) -> None:
    await graft(one, "share")
    await upgrade(one, "share")
    async with worker(tmp_path / "tasks", bundles) as late:
        assert late.registry.snapshot.model.ref == one.registry.snapshot.model.ref
        assert same_bytes(await one.scores(), await late.scores())


async def test_a_worker_without_the_wanted_bundle_waits_and_says_why(
    one: Tiny, tmp_path: Path, bundles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.sync._RETRY_S", 0.01)
    await upgrade(one)
    empty = tmp_path / "empty"
    empty.mkdir()
    async with tiny(tmp_path / "elsewhere", bundles=empty) as late:
        late.registry._store = one.store
        follower = TaskFollower(late.registry, one.store, structlog.get_logger())
        starting = asyncio.create_task(follower.start())
        async with asyncio.timeout(20):
            while "no bundle with backbone" not in late.registry.behind:  # noqa: ASYNC110  # no event
                await asyncio.sleep(0.01)
        assert not starting.done()
        shutil.copytree(bundles / NEW, empty / NEW)
        await asyncio.wait_for(starting, 20)
        assert late.registry.snapshot.model.ref.fingerprint == NEW
        await follower.stop()


async def test_one_proposal_at_a_time_and_a_dead_ones_is_void(
    one: Tiny, other: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(other.registry.fleet, "hold_backbone", hang)
    hanging = asyncio.create_task(upgrade(other))
    async with asyncio.timeout(20):
        while one.store.read().upgrade is None:  # noqa: ASYNC110  # no event
            await asyncio.sleep(0.01)
    with pytest.raises(TaskConflict, match="being made ready by another call"):
        await upgrade(one)
    state = one.store.read()
    assert state.upgrade is not None
    gone = replace(state.upgrade, proposer="nobody")
    one.store.update(lambda state: replace(state, upgrade=gone))
    assert (await upgrade(one)).fingerprint == NEW
    hanging.cancel()


async def test_what_is_live_is_no_upgrade_and_nothing_left_is_no_way_back(one: Tiny) -> None:
    with pytest.raises(TaskConflict, match="no way back"):
        await one.upgrades.rollback("test")
    await upgrade(one)
    with pytest.raises(TaskConflict, match="live already"):
        await upgrade(one)


async def test_what_was_asked_lately_is_asked_of_the_new_model_before_it_scores(
    one: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    await one.scores(item_ids=[100, 101])
    await one.scores(item_ids=[100] * 7)

    def warmed(model: Model, slots: Sequence[Slot], asked: Sequence[Asked]) -> None:
        seen.extend(len(request.item_ids) for request, _ in asked)
        warm_up(model, slots, asked)

    monkeypatch.setattr("service.model_room.warm_up", warmed)
    await upgrade(one, "share")
    assert seen == [2, 7]


async def test_a_model_that_refuses_what_is_answered_now_is_not_warmed(one: Tiny) -> None:
    spoilt = request(context={"nothing": 1})
    with pytest.raises(BundleUnfit, match="refuses a request that is answered now"):
        warm_up(one.model, [], [(spoilt, NO_FEATURES)])


async def test_a_version_of_the_proposed_backbone_does_not_score_before_it(one: Tiny) -> None:
    """Before the first upgrade is confirmed the state names no backbone, only the proposal does."""
    await graft(one, "share")
    before = await one.scores()
    one.store.acknowledge(Acknowledgement("silent", 1, "serving"), 60.0)  # so nothing is confirmed
    waiting = asyncio.create_task(upgrade(one, "share"))
    while one.store.read().upgrade is None:  # noqa: ASYNC110  # no event
        await asyncio.sleep(0.01)
    with pytest.raises(TaskConflict, match="was tuned on backbone"):
        await one.registry.rollback("share", 2, actor="test", wait="local")
    assert one.store.read().task("share").active == 1
    assert same_bytes(before, await one.scores())
    one.store.forget("silent")
    await waiting


async def test_what_was_left_is_released_after_its_time(tmp_path: Path, bundles: Path) -> None:
    async with worker(tmp_path / "tasks", bundles) as world:
        room = world.registry._room
        monkey: Any = room
        monkey._with = replace(room._with, keep_s=0.0)
        old = world.registry.snapshot.model.ref
        await upgrade(world)
        async with asyncio.timeout(20):
            while old in room._models:  # noqa: ASYNC110  # no event
                await asyncio.sleep(0.01)
        await world.upgrades.rollback("test")
        assert world.registry.snapshot.model.ref == old


def unchanged(before: Snapshot, world: Tiny) -> bool:
    """Whether a worker serves what it did; the generation may have risen."""
    now = world.registry.snapshot
    same = {n: r.sha256 for n, r in now.prompts.items()}
    return (now.model.ref, now.names, same) == (
        before.model.ref,
        before.names,
        {n: r.sha256 for n, r in before.prompts.items()},
    )

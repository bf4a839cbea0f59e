"""Grafting, on the real engine and a real task store."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from contract.errors import PromptMisfit
from contract.prompt import read_prompt, write_prompt
from service.errors import StoreUnavailable, TaskConflict, UnknownTask
from service.named_locks import NamedLocks
from tests.service.tiny import Tiny, another_backbone, prompt_bytes, tiny


def renamed(task: str, shift: float = 0.0) -> bytes:
    """The share prompt under another name; a shift of its last bias changes its scores."""
    prompt = read_prompt(prompt_bytes("share"))
    header = prompt.header.model_copy(update={"task": task})
    last = max(name for name in prompt.tensors if name.startswith("tower.b"))
    logit = np.log(prompt.golden_scores) - np.log1p(-prompt.golden_scores)
    scores = (1 / (1 + np.exp(-(logit + shift)))).astype(np.float32)
    tensors = {**prompt.tensors, last: prompt.tensors[last] + np.float32(shift)}
    return write_prompt(header, tensors, prompt.golden_inputs, scores)


def same_bytes(before: dict[str, NDArray[Any]], after: dict[str, NDArray[Any]]) -> bool:
    return all(before[name].tobytes() == after[name].tobytes() for name in before)


async def graft(world: Tiny, task: str, body: bytes | None = None) -> int:
    content = prompt_bytes(task) if body is None else body
    report = await world.registry.graft(task, content, activate=True, actor="test")
    assert report.version is not None
    return report.version


async def test_a_graft_serves_the_task_and_moves_no_other_score(tmp_path: Path) -> None:
    async with tiny(tmp_path) as world:
        before = await world.scores()
        assert await graft(world, "share") == 1
        with_share = await world.scores()
        assert set(with_share) == {"click", "like", "share"}
        await graft(world, "skip")
        after = await world.scores()
        assert same_bytes(before, after)
        assert same_bytes(with_share, after)


async def test_a_score_does_not_depend_on_which_tasks_are_asked_with_it(tmp_path: Path) -> None:
    async with tiny(tmp_path) as world:
        for n in range(9):
            await graft(world, f"t{n}", renamed(f"t{n}", n / 10))
        together = await world.scores(tasks=[f"t{n}" for n in range(9)])
        for n in range(9):
            alone = await world.scores(tasks=[f"t{n}"])
            assert same_bytes(alone, together)


async def test_a_grafted_prompt_scores_as_pytorch_did(tmp_path: Path) -> None:
    async with tiny(tmp_path) as world:
        report = await world.registry.graft(
            "share", prompt_bytes("share"), activate=True, actor="test"
        )
        assert report.created
        assert report.checks["golden_rows"] == 8
        assert float(report.checks["golden_largest_difference"]) <= world.bundle.manifest.tolerance


async def test_another_version_takes_over_and_a_rollback_brings_the_old_bytes_back(
    tmp_path: Path,
) -> None:
    async with tiny(tmp_path) as world:
        await graft(world, "share")
        first = await world.scores()
        assert await graft(world, "share", renamed("share", 1.0)) == 2
        second = await world.scores()
        assert np.all(second["share"] > first["share"])
        report = await world.registry.rollback("share", None, actor="test")
        assert report.version == 1
        assert same_bytes(first, await world.scores())
        await world.registry.rollback("share", 2, actor="test")
        assert same_bytes(second, await world.scores())


async def test_the_same_file_twice_is_one_version(tmp_path: Path) -> None:
    async with tiny(tmp_path) as world:
        assert await graft(world, "share") == 1
        generation = world.registry.snapshot.generation
        assert await graft(world, "share") == 1
        assert world.registry.snapshot.generation == generation


async def test_a_version_can_wait_to_be_activated(tmp_path: Path) -> None:
    async with tiny(tmp_path) as world:
        await world.registry.graft("share", prompt_bytes("share"), activate=False, actor="test")
        assert "share" not in world.registry.snapshot
        assert world.catalog.task("share").version is None
        await world.registry.rollback("share", 1, actor="test")
        assert "share" in await world.scores()


async def test_a_removed_task_is_unknown_and_its_numbers_never_come_back(tmp_path: Path) -> None:
    async with tiny(tmp_path) as world:
        await graft(world, "share")
        await world.registry.remove("share", actor="test")
        with pytest.raises(UnknownTask, match="share"):
            await world.scores(tasks=["share"])
        assert await graft(world, "share") == 2


async def test_a_head_can_neither_be_replaced_nor_removed(tmp_path: Path) -> None:
    async with tiny(tmp_path) as world:
        with pytest.raises(TaskConflict, match="pre-trained"):
            await graft(world, "click", renamed("click"))
        with pytest.raises(TaskConflict, match="pre-trained"):
            await world.registry.remove("click", actor="test")
        with pytest.raises(TaskConflict, match="pre-trained"):
            await world.registry.rollback("click", None, actor="test")


async def test_a_refused_graft_changes_nothing(tmp_path: Path) -> None:
    async with tiny(tmp_path) as world:
        await graft(world, "share")
        before, scores = world.registry.snapshot, await world.scores()
        wrong = read_prompt(prompt_bytes("skip"))
        flipped = bytearray(prompt_bytes("skip"))
        flipped[-1] ^= 1
        lying = write_prompt(
            wrong.header, wrong.tensors, wrong.golden_inputs, wrong.golden_scores + np.float32(1e-3)
        )
        foreign = write_prompt(
            wrong.header.model_copy(update={"backbone": "0" * 64}),
            wrong.tensors,
            wrong.golden_inputs,
            wrong.golden_scores,
        )
        for body, reason in (
            (b"", "malformed"),
            (bytes(flipped), "digest_mismatch"),
            (lying, "golden_mismatch"),
            (foreign, "wrong_backbone"),
            (prompt_bytes("share"), "wrong_task_name"),
        ):
            with pytest.raises(PromptMisfit) as caught:
                await graft(world, "skip", body)
            assert caught.value.reason == reason
        assert world.registry.snapshot is before
        assert world.store.generation() == before.generation
        assert same_bytes(scores, await world.scores())


async def test_a_graft_that_cannot_be_committed_is_not_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with tiny(tmp_path) as world:

        def fail(*_: object) -> None:
            raise StoreUnavailable("the disk is full")

        monkeypatch.setattr(type(world.store), "update", fail)
        with pytest.raises(StoreUnavailable):
            await graft(world, "share")
        assert "share" not in world.registry.snapshot


async def test_what_was_grafted_is_there_after_a_restart(tmp_path: Path) -> None:
    async with tiny(tmp_path) as world:
        await graft(world, "share")
        await graft(world, "skip")
        scores, generation = await world.scores(), world.registry.snapshot.generation
    async with tiny(tmp_path) as again:
        assert again.registry.snapshot.generation == generation
        assert same_bytes(scores, await again.scores())


async def test_one_process_follows_what_another_grafted(tmp_path: Path) -> None:
    async with tiny(tmp_path) as one, tiny(tmp_path) as other:
        await graft(one, "share")
        await other.registry.converge()
        assert same_bytes(await one.scores(), await other.scores())
        await other.registry.remove("share", actor="test")
        await one.registry.converge()
        assert "share" not in one.registry.snapshot


async def test_a_stored_prompt_that_does_not_fit_leaves_the_old_tasks_serving(
    tmp_path: Path,
) -> None:
    async with tiny(tmp_path) as world:
        await graft(world, "share")
        before = world.registry.snapshot
        async with tiny(tmp_path / "elsewhere") as other:
            state = replace(before.wanted, generation=99)
            other.registry._loader._store = world.store
            with another_backbone(other), pytest.raises(PromptMisfit):
                await other.registry.converge(state)
            assert other.registry.snapshot.generation == 0


async def test_a_request_in_flight_answers_from_the_world_it_started_in(tmp_path: Path) -> None:
    async with tiny(tmp_path) as world:
        await graft(world, "share")
        expected = await world.scores(tasks=["share"])
        running = [asyncio.create_task(world.scores(tasks=["share"])) for _ in range(20)]
        await asyncio.sleep(0)
        await world.registry.remove("share", actor="test")
        for scores in await asyncio.gather(*running):
            assert same_bytes(expected, scores)


async def test_two_hundred_grafts_at_once_are_all_there_and_no_lock_is_left(
    tmp_path: Path,
) -> None:
    async with tiny(tmp_path) as world:
        names = [f"n{n}" for n in range(40)]
        tasks = [asyncio.create_task(graft(world, n, renamed(n))) for n in names for _ in range(5)]
        for cancelled in tasks[4::25]:
            cancelled.cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert sum(isinstance(result, int) for result in done) >= len(tasks) - len(tasks[4::25])
        await world.registry.converge()
        assert set(names) <= set(world.registry.snapshot.names)
        assert len(world.registry._names) == 0


async def test_holders_of_one_name_queue_and_of_two_do_not() -> None:
    locks = NamedLocks()
    inside: list[str] = []

    async def hold(name: str) -> None:
        async with locks.hold(name):
            assert name not in inside
            inside.append(name)
            await asyncio.sleep(0)
            inside.remove(name)

    await asyncio.gather(*(hold(name) for name in "aabbab"))
    async with locks.hold("a"), asyncio.timeout(5), locks.hold("b"):
        assert len(locks) == 2
    assert len(locks) == 0

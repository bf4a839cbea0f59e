"""The thread that follows the task store."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from unittest.mock import Mock

import pytest
import structlog

from service.errors import CorruptStore, StoreUnavailable
from service.sync import TaskFollower
from service.task_directory import open_task_directory
from tests.service.tiny import Tiny, prompt_bytes, tiny

PATIENCE_S = 20.0


@pytest.fixture
async def follower(tmp_path: Path) -> AsyncIterator[tuple[Tiny, TaskFollower]]:
    async with tiny(tmp_path) as world:
        made = TaskFollower(world.registry, world.store, structlog.get_logger())
        await made.start()
        yield world, made
        await made.stop()
        assert "task follower" not in {thread.name for thread in threading.enumerate()}


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110  # what is awaited has no event of its own
            await asyncio.sleep(0.005)


async def graft_elsewhere(tasks: Path) -> None:
    async with tiny(tasks) as other:
        content = prompt_bytes("share")
        await other.registry.graft("share", content, activate=True, actor="t", wait="local")


async def remove_elsewhere(tasks: Path) -> None:
    async with tiny(tasks) as other:
        await other.registry.remove("share", actor="t")


async def test_what_is_followed_is_acknowledged_without_the_event_loop(
    follower: tuple[Tiny, TaskFollower], tmp_path: Path
) -> None:
    world, _ = follower
    store, name = open_task_directory(tmp_path), world.registry.worker
    elsewhere = threading.Thread(target=asyncio.run, args=(graft_elsewhere(tmp_path),))
    elsewhere.start()
    elsewhere.join()  # this loop stands still
    for _ in range(2000):
        told = {one.worker: one.generation for one in store.acknowledgements()}
        if told[name] == 1:
            break
        threading.Event().wait(0.005)
    assert told[name] == 1
    assert "share" in world.registry.snapshot


async def test_what_was_converged_to_is_let_go_once_it_is_left(
    follower: tuple[Tiny, TaskFollower], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A snapshot that is kept is a prompt's slot, and after an upgrade an old backbone."""
    world, _ = follower
    monkeypatch.setattr(world.registry, "follow", Mock(return_value=False))
    await asyncio.to_thread(asyncio.run, graft_elsewhere(tmp_path))
    await until(lambda: "share" in world.registry.snapshot)
    slot = weakref.ref(world.registry.snapshot.prompts["share"].slot)
    monkeypatch.undo()
    await asyncio.to_thread(asyncio.run, remove_elsewhere(tmp_path))
    await until(lambda: "share" not in world.registry.snapshot)
    await until(lambda: slot() is None)


async def test_what_the_store_says_is_told_until_it_is_back(
    follower: tuple[Tiny, TaskFollower], monkeypatch: pytest.MonkeyPatch
) -> None:
    world, _ = follower
    monkeypatch.setattr("service.sync._RETRY_S", 0.01)
    monkeypatch.setattr(world.store, "generation", Mock(side_effect=StoreUnavailable("away")))
    await until(lambda: world.registry.behind == "away")
    monkeypatch.undo()
    await until(lambda: world.registry.behind == "")


async def test_a_fault_of_ours_is_told_and_tried_again(
    follower: tuple[Tiny, TaskFollower], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    world, _ = follower
    monkeypatch.setattr(world.registry, "follow", Mock(side_effect=KeyError("a bug")))
    await asyncio.to_thread(asyncio.run, graft_elsewhere(tmp_path))
    await until(lambda: world.registry.acknowledgement().reason == "an internal error (KeyError)")
    monkeypatch.undo()
    await until(lambda: world.registry.acknowledgement().state == "serving")
    assert "share" in world.registry.snapshot


async def test_a_state_that_cannot_be_read_is_read_again_only_after_a_while(
    follower: tuple[Tiny, TaskFollower], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    world, _ = follower
    read = Mock(side_effect=CorruptStore("of a form unknown here"))
    monkeypatch.setattr("service.sync._RETRY_S", 2 * PATIENCE_S)
    monkeypatch.setattr(world.store, "read", read)
    await asyncio.to_thread(asyncio.run, graft_elsewhere(tmp_path))
    await until(lambda: "unknown" in world.registry.behind)
    await asyncio.sleep(0.1)
    assert read.call_count == 1

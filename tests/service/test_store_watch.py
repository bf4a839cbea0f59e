"""The thread that looks at the task store."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from unittest.mock import Mock

import pytest
import pytest_asyncio

from service.errors import CorruptStore, StoreUnavailable
from service.store_watch import StoreWatch
from service.task_changes import graft
from service.task_directory import TaskDirectory, open_task_directory
from service.task_store import DesiredState, StoredPrompt

LONG_S = 30.0


@pytest.fixture
def store(tmp_path: Path) -> TaskDirectory:
    return open_task_directory(tmp_path)


@pytest_asyncio.fixture
async def watch(store: TaskDirectory) -> AsyncIterator[StoreWatch]:
    made = StoreWatch(store)
    made.start(0)
    yield made
    await made.stop()
    assert "store watch" not in {thread.name for thread in threading.enumerate()}


def commit(store: TaskDirectory) -> None:
    sha256 = store.put_prompt(b"prompt")

    def step(state: DesiredState) -> DesiredState:
        return graft(state, "share", StoredPrompt(sha256, 6, 0.0), "tester")

    store.update(step)


async def test_whoever_waits_hears_of_a_commit(store: TaskDirectory, watch: StoreWatch) -> None:
    assert watch.state is None
    waiting = asyncio.create_task(watch.moved(LONG_S, hasty=False))
    await asyncio.to_thread(commit, store)
    await waiting
    assert watch.found == 1
    assert watch.state == store.read()


async def test_news_that_came_while_nobody_waited_is_heard_at_once(
    store: TaskDirectory, watch: StoreWatch
) -> None:
    await asyncio.to_thread(commit, store)
    async with asyncio.timeout(LONG_S):
        while watch.found != 1:  # noqa: ASYNC110  # the event is what is tested
            await asyncio.sleep(0.001)
        await asyncio.sleep(0)
        await watch.moved(2 * LONG_S, hasty=False)


async def test_without_news_the_wait_ends_by_itself(watch: StoreWatch) -> None:
    await watch.moved(0.01, hasty=True)
    assert watch.found == 0


async def test_what_a_look_meets_is_raised_until_the_store_is_back() -> None:
    generation = Mock(side_effect=StoreUnavailable("away"))
    watch = StoreWatch(Mock(generation=generation, read=lambda: DesiredState(4)))
    watch.start(3)
    await watch.moved(LONG_S, hasty=True)
    with pytest.raises(StoreUnavailable, match="away"):
        _ = watch.found
    generation.side_effect = None
    generation.return_value = 4
    await watch.moved(LONG_S, hasty=True)
    assert watch.found == 4
    await watch.stop()


async def test_a_state_that_cannot_be_read_is_not_read_at_every_look() -> None:
    read = Mock(side_effect=CorruptStore("of a form unknown here"))
    generation = Mock(return_value=4)
    watch = StoreWatch(Mock(generation=generation, read=read))
    watch.start(3)
    await watch.moved(LONG_S, hasty=True)
    with pytest.raises(CorruptStore, match="unknown"):
        _ = watch.found
    looks, reads = generation.call_count, read.call_count
    while generation.call_count < looks + 10:  # noqa: ASYNC110  # no event
        await asyncio.sleep(0.001)
    assert read.call_count - reads <= 2
    read.side_effect, read.return_value = None, DesiredState(5)
    generation.return_value = 5
    await watch.moved(LONG_S, hasty=False)
    assert watch.found == 5
    await watch.stop()

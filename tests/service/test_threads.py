"""Which threads of a process go first."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Iterator

import pytest

from service.threads import ASIDE_NICE, settle_threads


def own_nice() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


@pytest.fixture(autouse=True)
def interval() -> Iterator[None]:
    before = sys.getswitchinterval()
    yield
    sys.setswitchinterval(before)


async def test_what_is_handed_to_a_thread_gives_way_to_the_event_loop() -> None:
    settle_threads(asyncio.get_running_loop())
    loop_nice = own_nice()
    assert await asyncio.to_thread(own_nice) == min(loop_nice + ASIDE_NICE, 19)
    assert own_nice() == loop_nice
    assert sys.getswitchinterval() < 0.001

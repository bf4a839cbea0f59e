"""What a process tells of the backbone that it makes ready."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from service.backbone import BundleRef, Upgrade
from service.model_room import ModelRoom
from service.task_store import DesiredState
from tests.service.tiny import tiny

MOST_LINES = 12


def proposal(key: str) -> DesiredState:
    ref = BundleRef("f" * 64, "m" * 64)
    now = time.time()
    return DesiredState(upgrade=Upgrade(key, "me", ref, ref, (), (), now, now + 60.0))


def interrupted(room: ModelRoom, at: int, meanwhile: Callable[[], None]) -> tuple[str, str]:
    """What told says if something happens before its line of this number, as between threads."""
    left = at

    def trace(frame: FrameType, event: str, _: Any) -> Any:  # noqa: ANN401  # a trace function
        nonlocal left
        if frame.f_code is not ModelRoom.told.__code__:
            return None
        left -= event == "line"
        if event == "line" and left == 0:
            meanwhile()
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        return room.told()
    finally:
        sys.settrace(before)


async def test_one_proposal_is_never_told_ready_for_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever a thread that asks meets the event loop that follows."""

    async def at_once(*_: object) -> dict[str, Any]:
        return {}

    async with tiny(tmp_path) as world:
        room = world.registry._room
        monkeypatch.setattr(room, "_make_ready", at_once)
        for at in range(1, MOST_LINES):
            room.follow(proposal("old"), world.model)
            while room.told() != ("old", ""):  # noqa: ASYNC110  # the work is over in a step or two
                await asyncio.sleep(0)
            found = interrupted(room, at, lambda: room.follow(proposal("new"), world.model))
            assert found in {("", ""), ("old", "")}

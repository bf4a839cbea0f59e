"""The graphs alone: one process that does nothing but run them on arrays made beforehand.

    bundle --BareLoop(exact)--> a process on the serving core
    size, tasks --rate--> calls a second; compute is what Engine.answer takes, and nothing else
    size, pace  --flow--> seconds of each call, from the moment it was due

What a service adds is the difference from this.
"""

from __future__ import annotations

import math
import time
from itertools import cycle
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Self

from benchmarks.asked_process import AskedProcess, orders_from
from benchmarks.cores import Cores
from benchmarks.serving_world import World
from contract.prompt import read_prompt
from service.engine import Cancellation
from service.model import Model, Running

_WARM_UP = 10


class BareLoop(AskedProcess):
    """A process of its own on the serving core, idle until it is asked; ended with the block."""

    def __init__(self, folder: Path, cores: Cores, prompts: list[bytes], *, exact: bool) -> None:
        super().__init__(_serve, folder, prompts, exact)
        self._cores = cores

    def __enter__(self) -> Self:
        with self._cores.serving():
            return super().__enter__()

    def rate(self, size: int, seconds: float, grafted: int = 0) -> float:
        """Calls a second: of all pre-trained tasks, or of so many grafted ones and no other."""
        took: list[float] = self.ask(size, seconds, grafted, math.inf)
        return len(took) / sum(took)

    def flow(self, size: int, seconds: float, pace: float) -> list[float]:
        """Called so many times a second, evenly: how much of a tail the machine itself gives."""
        found: list[float] = self.ask(size, seconds, 0, pace)
        return found


def _serve(orders: Connection, folder: Path, prompts: list[bytes], exact: bool) -> None:  # noqa: FBT001  # a process's target
    world = World.open(folder)
    model = Model.open(world.bundle, Running(exact=exact))
    slots = [model.hold(read_prompt(prompt).tensors) for prompt in prompts]
    arrays = {}
    for size, seconds, grafted, pace in orders_from(orders):
        if size not in arrays:
            arrays[size] = world.arrays(model.encoder, size)
        heads = () if grafted else model.heads
        chosen = model.bank.select(slots[:grafted]) if grafted else None
        calls = cycle(arrays[size])
        for _ in range(_WARM_UP):
            model.engine.answer(next(calls), heads, chosen, Cancellation())
        took: list[float] = []
        due = start = time.perf_counter()
        while due - start < seconds:
            if (early := due - time.perf_counter()) > 0:
                time.sleep(early)
            model.engine.answer(next(calls), heads, chosen, Cancellation())
            ended = time.perf_counter()
            took.append(ended - due)
            due = ended if pace == math.inf else due + 1 / pace
        orders.send(took)

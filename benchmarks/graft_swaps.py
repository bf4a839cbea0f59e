"""Whoever grafts, in a process of its own: what asking for a swap costs is not part of the load.

admin address, two versions of a task --Swapper.swaps(n, rate)--> Swap of each: how long, what came

A swap is one of three in turn: graft the one file, graft the other, roll back.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Self

import httpx

DONE = {200, 201}
_PATIENCE_S = 60.0
_BINARY = {"Content-Type": "application/octet-stream"}


@dataclass(frozen=True, slots=True)
class Admin:
    """Where tasks are changed, and as whom."""

    url: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Swap:
    """One change: seconds from the call until all workers served it, and the answer's status."""

    seconds: float
    status: int


class Swapper:
    """A process that waits to be told; ended with the block."""

    def __init__(self, admin: Admin, task: str, files: Sequence[bytes]) -> None:
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe()
        arguments = (theirs, admin, task, tuple(files))
        self._process = context.Process(target=_swap, args=arguments, daemon=True)

    def __enter__(self) -> Self:
        self._process.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ours.send(None)
        self._process.join()

    def swaps(self, number: int, rate: float) -> list[Swap]:
        """So many, at most rate a second. Blocks."""
        self._ours.send((number, rate))
        found: list[Swap] = self._ours.recv()
        return found


def _swap(orders: Connection, admin: Admin, task: str, files: Sequence[bytes]) -> None:
    done = 0
    with httpx.Client(base_url=admin.url, headers=dict(admin.headers), timeout=_PATIENCE_S) as http:
        while (order := orders.recv()) is not None:
            number, rate = order
            found = []
            for _ in range(number):
                since = time.perf_counter()
                kind = done % (len(files) + 1)
                done += 1
                if kind == len(files):
                    answer = http.post(f"/v1/tasks/{task}/rollback")
                else:
                    answer = http.put(f"/v1/tasks/{task}", content=files[kind], headers=_BINARY)
                found.append(Swap(time.perf_counter() - since, answer.status_code))
                time.sleep(max(0.0, since + 1 / rate - time.perf_counter()))
            orders.send(found)

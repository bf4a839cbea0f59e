"""Whoever grafts, in a process of its own: what asking for a swap costs is not part of the load.

admin address, files of a task --Swapper.swaps(n, rate)--> Swap of each: how long, what came

A swap is one of three in turn: graft the next file, graft the one after it, roll back to the
former. So each of them changes what scores, and what it grafts has not scored for long: a service
answers a file that is live already without any change. Two files or fewer are a ValueError.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection
from multiprocessing.connection import Connection
from typing import Self
from urllib.parse import urlsplit

import httpx

from benchmarks.asked_process import AskedProcess, orders_from
from benchmarks.running_service import RunningService

_DONE = {200, 201}
_CYCLE, _FEWEST = 3, 3
_PATIENCE_S = 60.0
_BINARY = {"Content-Type": "application/octet-stream"}


@dataclass(frozen=True, slots=True)
class Admin:
    """Where tasks are changed, and as whom."""

    url: str
    headers: Mapping[str, str]

    @classmethod
    def of(cls, service: RunningService) -> Self:
        return cls(service.admin, service.headers)


@dataclass(frozen=True, slots=True)
class Swap:
    """One change.

    Attributes:
        seconds: from the call until all workers served it.
        status: of the answer.
        rose: whether it made a generation that no earlier answer named.
    """

    seconds: float
    status: int
    rose: bool

    @property
    def done(self) -> bool:
        return self.status in _DONE and self.rose


class Swapper(AskedProcess):
    """A process that waits to be told; ended with the block."""

    def __init__(self, admin: Admin, task: str, files: Sequence[bytes]) -> None:
        if len(set(files)) != len(files) or len(files) < _FEWEST:
            found = f"{len(files)} files, {len(set(files))} of them different"
            raise ValueError(f"got {found}; give {_FEWEST} or more, all different")
        super().__init__(_swap, admin, task, tuple(files))

    def swaps(self, number: int, rate: float) -> list[Swap]:
        """So many, at most rate a second. Blocks."""
        found: list[Swap] = self.ask(number, rate)
        return found


def graft_all(admin: Admin, prompts: Iterable[tuple[str, bytes]]) -> None:
    """Graft each task's file."""
    with httpx.Client(base_url=admin.url, headers=dict(admin.headers), timeout=_PATIENCE_S) as http:
        for task, prompt in prompts:
            http.put(f"/v1/tasks/{task}", content=prompt, headers=_BINARY).raise_for_status()


def _swap(orders: Connection, admin: Admin, task: str, files: Sequence[bytes]) -> None:
    done, last = 0, -1
    path, headers = f"/v1/tasks/{task}", dict(admin.headers)
    # Not httpx: whoever asks shares the cores with those who are measured.
    http = HTTPConnection(urlsplit(admin.url).netloc, timeout=_PATIENCE_S)
    with closing(http):
        for number, rate in orders_from(orders):
            found = []
            for _ in range(number):
                since = time.perf_counter()
                if (file := file_of(done, len(files))) is None:
                    http.request("POST", f"{path}/rollback", headers=headers)
                else:
                    http.request("PUT", path, files[file], headers | _BINARY)
                answer = http.getresponse()
                content, seconds = answer.read(), time.perf_counter() - since
                generation = _generation(answer.status, content)
                found.append(Swap(seconds, answer.status, generation > last))
                done, last = done + 1, max(last, generation)
                time.sleep(max(0.0, since + 1 / rate - time.perf_counter()))
            orders.send(found)


def file_of(swap: int, files: int) -> int | None:
    """Which file a swap grafts; None rolls back."""
    cycle, turn = divmod(swap, _CYCLE)
    return None if turn == _CYCLE - 1 else (cycle * (_CYCLE - 1) + turn) % files


def _generation(status: int, content: bytes) -> int:
    """-1 where the answer names none."""
    return int(json.loads(content)["generation"]) if status in _DONE else -1

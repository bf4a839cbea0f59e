"""What is told of the tasks: which there are, and what was done to them.

TaskRegistry's snapshot --task, tasks--> TaskInfo | UnknownTask
                       --routing, drift--> RoutingInfo, DriftInfo | UnknownTask
task store --history, audit--> pages of changes, oldest first
           --workers--> how far each has come
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from contract.schema import FeatureSchema
from service.drift_watch import DriftWatch
from service.errors import UnknownTask
from service.fleet import view
from service.registry import TaskRegistry
from service.snapshot import Snapshot
from service.task_info import (
    DriftInfo,
    RoutingInfo,
    TaskInfo,
    describe,
    describe_drift,
    describe_routing,
)
from service.task_store import Change, TaskStore


class TaskCatalog:
    """Reads what the registry changes.

    Raises:
        StoreUnavailable, CorruptStore: changes cannot be read now.
    """

    def __init__(self, registry: TaskRegistry, watch: DriftWatch, store: TaskStore) -> None:
        self._registry = registry
        self._watch = watch
        self._store = store

    @property
    def snapshot(self) -> Snapshot:
        """What is live now."""
        return self._registry.snapshot

    @property
    def schema(self) -> FeatureSchema:
        """Of the live model."""
        return self.snapshot.model.encoder.schema

    @property
    def behind(self) -> str:
        """Why this process does not follow the wanted state; empty if it does."""
        return self._registry.behind

    def tasks(self) -> list[TaskInfo]:
        """Heads, then grafted tasks, those without an active version included."""
        wanted = self.snapshot.wanted
        grafted = [name for name in wanted.tasks if not wanted.only_proposed(name)]
        heads = self.snapshot.model.heads
        return [self.task(name) for name in (*heads, *(n for n in grafted if n not in heads))]

    def task(self, name: str) -> TaskInfo:
        """One task, or UnknownTask."""
        if self.snapshot.wanted.only_proposed(name):
            raise UnknownTask([name])
        return describe(self.snapshot, name)

    def routing(self, name: str) -> RoutingInfo:
        """Which versions of a task see traffic, or UnknownTask."""
        if self.snapshot.wanted.only_proposed(name):
            raise UnknownTask([name])
        return describe_routing(self.snapshot, name)

    async def drift(self, name: str) -> DriftInfo:
        """How far its versions are apart, counted by all workers; or UnknownTask."""
        return describe_drift(self.routing(name), await self._watch.figures())

    async def history(self, name: str, limit: int, before: int | None) -> list[dict[str, Any]]:
        """What happened to a grafted task, oldest first, also after its removal.

        Args:
            name: of the task.
            limit: the newest so many.
            before: of those before this generation.

        Raises:
            UnknownTask: never grafted, and no head, whose history is empty.
        """
        changes = await asyncio.to_thread(self._store.history)
        found = [change for change in changes if change.task == name]
        if not found and name not in self.snapshot.heads:
            raise UnknownTask([name])
        return _page(found, limit, before)

    async def audit(self, limit: int, before: int | None) -> list[dict[str, Any]]:
        """The changes of all tasks, as history."""
        return _page(await asyncio.to_thread(self._store.history), limit, before)

    async def workers(self) -> list[dict[str, str | int]]:
        """All that are alive, in all replicas."""
        return [view(worker) for worker in await self._registry.fleet.known()]


def _page(changes: Sequence[Change], limit: int, before: int | None) -> list[dict[str, Any]]:
    earlier = [c for c in changes if before is None or c.generation < before]
    return [asdict(change) for change in earlier[-limit:]]

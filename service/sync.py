"""Follow the desired state: what another worker, replica or earlier life grafted, appears here.

    task store's generation moved --TaskFollower--> TaskRegistry.converge --> new snapshot

A failed attempt is told and tried again: a missed or refused generation heals by itself.
"""

from __future__ import annotations

import asyncio
from typing import Any

from contract.errors import ContractError
from service.errors import ServiceError
from service.registry import TaskRegistry
from service.task_store import TaskStore

_POLL_S = 0.05
_RETRY_S = 1.0


class TaskFollower:
    """One background task per process."""

    def __init__(self, registry: TaskRegistry, store: TaskStore, log: Any) -> None:  # noqa: ANN401  # structlog's logger has no public type
        self._registry = registry
        self._store = store
        self._log = log
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._follow(), name="task follower")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    async def _follow(self) -> None:
        while True:
            try:
                wanted = await asyncio.to_thread(self._store.generation)
                if wanted > self._registry.snapshot.generation:
                    snapshot = await self._registry.converge()
                    self._log.info("tasks_followed", generation=snapshot.generation)
                self._registry.state = "serving"
                await asyncio.sleep(_POLL_S)
            except (ContractError, ServiceError) as err:
                self._registry.state = "behind"
                self._log.warning("tasks_not_followed", reason=str(err))
                await asyncio.sleep(_RETRY_S)

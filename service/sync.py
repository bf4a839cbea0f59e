"""Follow the desired state: what another worker, replica or earlier life grafted, appears here.

    task store's generation moved --TaskFollower--> TaskRegistry.converge --> new snapshot
                                                └--> acknowledged, and again twice a second

A failed attempt is told and tried again: a missed or refused generation heals by itself. While the
store is away, the last known state is served.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Any

from contract.errors import ContractError
from service.errors import BundleMissing, ServiceError, StoreUnavailable
from service.fleet import TELL_EVERY_S
from service.registry import TaskRegistry
from service.task_store import Acknowledgement, TaskStore

_POLL_S = 0.02
# A candidate was proved: the word to switch comes soon, and all should switch together.
_POLL_CANDIDATE_S = 0.003
_RETRY_S = 0.5


class TaskFollower:
    """One background task per process."""

    def __init__(self, registry: TaskRegistry, store: TaskStore, log: Any) -> None:  # noqa: ANN401  # structlog's logger has no public type
        self._registry = registry
        self._store = store
        self._log = log
        self._task: asyncio.Task[None] | None = None
        self._told: Acknowledgement | None = None
        self._told_at = 0.0

    async def start(self) -> None:
        """Returns once this process serves the desired state and all may know it.

        Waits for a store that does not answer, and for a bundle that is not here yet.

        Raises:
            PromptMisfit: a stored prompt does not fit this bundle.
            CorruptStore, PromptMissing: what is stored is damaged.
        """
        while True:
            if await self._caught_up():
                break
            await asyncio.sleep(_RETRY_S if self._registry.behind else 0)
        self._task = asyncio.create_task(self._follow(), name="task follower")

    async def stop(self) -> None:
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.wait([self._task])
        self._task = None
        with suppress(StoreUnavailable):
            await self._registry.fleet.leave()

    async def _caught_up(self) -> bool:
        """Whether nothing was committed between reading the store and telling so.

        From then on, whoever commits finds this worker among those to wait for.
        """
        try:
            await self._registry.converge()
            self._registry.behind = ""
            await self._tell()
            generation = await asyncio.to_thread(self._store.generation)
        except (StoreUnavailable, BundleMissing) as err:
            self._fall_behind(err)
            return False
        return generation <= self._registry.snapshot.generation

    async def _follow(self) -> None:
        while True:
            try:
                await self._catch_up()
                pause_s = self._pause_s()
            except (ContractError, ServiceError) as err:
                self._fall_behind(err)
                pause_s = _RETRY_S
            if self._registry.acknowledgement() != self._told or self._silent_too_long():
                with suppress(StoreUnavailable):
                    await self._tell()
            await asyncio.sleep(pause_s)

    async def _catch_up(self) -> None:
        registry = self._registry
        served = registry.snapshot.generation
        wanted = await asyncio.to_thread(self._store.generation)
        registry.refuse_older(wanted, served)
        if wanted > served:
            snapshot = await registry.converge()
            self._log.info("tasks_followed", generation=snapshot.generation)
        registry.tidy()
        registry.behind = ""

    def _fall_behind(self, err: Exception) -> None:
        if self._registry.behind != str(err):
            self._log.warning("tasks_not_followed", reason=str(err))
        self._registry.behind = str(err)

    def _pause_s(self) -> float:
        recent = time.time() - self._registry.fleet.patience_s
        candidates = self._registry.snapshot.wanted.candidates.values()
        soon = any(c.at > recent for c in candidates) or self._registry.acknowledgement().upgrade
        return _POLL_CANDIDATE_S if soon else _POLL_S

    def _silent_too_long(self) -> bool:
        return time.monotonic() - self._told_at > TELL_EVERY_S

    async def _tell(self) -> None:
        told = self._registry.acknowledgement()
        await self._registry.fleet.tell()
        self._told, self._told_at = told, time.monotonic()

"""Follow the desired state: what another worker, replica or earlier life grafted, appears here.

    StoreWatch: generation moved --TaskFollower--> TaskRegistry.converge --> new snapshot
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
from service.store_watch import StoreWatch
from service.task_store import Acknowledgement, TaskStore

_RETRY_S = 0.5
# While a backbone is made ready, this process has news of its own.
_UPGRADING_S = 0.02


class TaskFollower:
    """One background task per process."""

    def __init__(self, registry: TaskRegistry, store: TaskStore, log: Any) -> None:  # noqa: ANN401  # structlog's logger has no public type
        self._registry = registry
        self._store = store
        self._log = log
        self._watch = StoreWatch(store)
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
        self._watch.start(self._registry.snapshot.generation)
        self._task = asyncio.create_task(self._follow(), name="task follower")

    async def stop(self) -> None:
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.wait([self._task])
        self._task = None
        await self._watch.stop()
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
            failed = False
            try:
                await self._catch_up()
            except (ContractError, ServiceError) as err:
                self._fall_behind(err)
                failed = True
            if self._registry.acknowledgement() != self._told or self._silent_too_long():
                with suppress(StoreUnavailable):
                    await self._tell()
            if failed:
                await asyncio.sleep(_RETRY_S)
            else:
                await self._watch.moved(self._patience_s(), hasty=self._soon())

    async def _catch_up(self) -> None:
        registry = self._registry
        if self._watch.found < registry.snapshot.generation:  # of this process's own making?
            served = registry.snapshot.generation
            registry.refuse_older(await asyncio.to_thread(self._store.generation), served)
        if self._watch.found > registry.snapshot.generation:
            snapshot = await registry.converge(self._watch.state)
            self._log.info("tasks_followed", generation=snapshot.generation)
        registry.tidy()
        registry.behind = ""

    def _fall_behind(self, err: Exception) -> None:
        if self._registry.behind != str(err):
            self._log.warning("tasks_not_followed", reason=str(err))
        self._registry.behind = str(err)

    def _soon(self) -> bool:
        """Whether a switch is about to come."""
        recent = time.time() - self._registry.fleet.patience_s
        candidates = self._registry.snapshot.wanted.candidates.values()
        return any(c.at > recent for c in candidates) or bool(
            self._registry.acknowledgement().upgrade
        )

    def _patience_s(self) -> float:
        upgrading = self._registry.snapshot.wanted.upgrade is not None
        quiet_s = time.monotonic() - self._told_at
        return _UPGRADING_S if upgrading else max(TELL_EVERY_S - quiet_s, 0.0)

    def _silent_too_long(self) -> bool:
        return time.monotonic() - self._told_at > TELL_EVERY_S

    async def _tell(self) -> None:
        told = self._registry.acknowledgement()
        await self._registry.fleet.tell()
        self._told, self._told_at = told, time.monotonic()

"""Follow the desired state: what another worker, replica or earlier life grafted, appears here.

    News --a thread looks: generation moved--> state --TaskRegistry.follow--> new snapshot
                                                 └--converge, on the event loop: another backbone
                                               --Fleet.tell--> acknowledged, twice a second

Looking, loading, proving, publishing and telling are done where they are found to be due: each
hand-over to the event loop and back costs those who score more than the work itself. A failed
attempt is told and tried again: a missed or refused generation heals by itself. While the store is
away, the last known state is served.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from concurrent.futures import CancelledError, Future
from contextlib import closing, suppress
from typing import Any

from contract.errors import ContractError
from service.errors import BundleMissing, ServiceError, StoreUnavailable
from service.fleet import TELL_EVERY_S
from service.registry import TaskRegistry
from service.snapshot import Snapshot
from service.task_store import Acknowledgement, TaskStore
from service.threads import ASIDE_NICE, give_way

_RETRY_S = 0.5
_FAREWELL_S = 1.0
# While a backbone is made ready, this process has news of its own.
_UPGRADING_S = 0.02


class TaskFollower:
    """One thread per process."""

    def __init__(self, registry: TaskRegistry, store: TaskStore, log: Any) -> None:  # noqa: ANN401  # structlog's logger has no public type
        self._registry = registry
        self._store = store
        self._log = log
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
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
        self._loop = asyncio.get_running_loop()
        self._news = await asyncio.to_thread(self._store.news)
        self._converging: Future[Snapshot] | None = None
        # A store that hangs must not keep the process from ending; log lines name the worker.
        self._thread = threading.Thread(
            target=contextvars.copy_context().run,
            args=(self._follow,),
            name="task follower",
            daemon=True,
        )
        self._thread.start()

    async def stop(self) -> None:
        if self._thread is None:
            return
        self._ended.set()
        self._news.wake()
        if (converging := self._converging) is not None:
            converging.cancel()
        await asyncio.to_thread(self._thread.join, _FAREWELL_S)
        self._thread = None
        with suppress(StoreUnavailable):
            await self._registry.fleet.leave()

    async def _caught_up(self) -> bool:
        """Whether nothing was committed between reading the store and telling so.

        From then on, whoever commits finds this worker among those to wait for.
        """
        try:
            await self._registry.converge()
            self._registry.behind = ""
            await asyncio.to_thread(self._tell)
            generation = await asyncio.to_thread(self._store.generation)
        except (StoreUnavailable, BundleMissing) as err:
            self._fall_behind(err)
            return False
        return generation <= self._registry.snapshot.generation

    # --- in the thread --------------------------------------------------------------------------

    def _follow(self) -> None:
        give_way(ASIDE_NICE)
        with closing(self._news):
            while not self._ended.is_set():
                failed = False
                try:
                    self._catch_up()
                except (ContractError, ServiceError) as err:
                    self._fall_behind(err)
                    failed = True
                except CancelledError:
                    return
                except Exception as err:  # a fault of ours: told, and tried again
                    self._log.error("follower_failed", exc_info=err)
                    self._registry.behind = f"an internal error ({type(err).__name__})"
                    failed = True
                if self._registry.acknowledgement() != self._told or self._silent_too_long():
                    with suppress(StoreUnavailable):
                        self._tell()
                if failed:
                    self._ended.wait(_RETRY_S)
                else:
                    self._news.wait(self._patience_s(), soon=self._soon())

    def _catch_up(self) -> None:
        registry = self._registry
        # In this order: what is served was committed before.
        before, found = registry.snapshot, self._store.generation()
        registry.refuse_older(found, before.generation)
        if found > before.generation:
            state = self._store.read()
            if not registry.follow(state):
                self._converging = asyncio.run_coroutine_threadsafe(
                    registry.converge(state), self._loop
                )
                try:
                    self._converging.result()
                finally:
                    self._converging = None  # its result holds a model, live or left since
            if not state.candidates.keys() - before.wanted.candidates.keys():
                self._log.info("tasks_followed", generation=state.generation)
        elif not registry.at_rest:
            self._loop.call_soon_threadsafe(registry.tidy)
        registry.behind = ""

    def _fall_behind(self, err: Exception) -> None:
        if self._registry.behind != str(err):
            self._log.warning("tasks_not_followed", reason=str(err))
        self._registry.behind = str(err)

    def _soon(self) -> bool:
        """Whether a switch is about to come: a candidate was proved here."""
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

    def _tell(self) -> None:
        told = self._registry.acknowledgement()
        self._registry.fleet.tell()
        self._told, self._told_at = told, time.monotonic()

"""How far every worker of every replica has come.

    this worker's Acknowledgement --Fleet.tell--> task store --workers--> all that are alive
    proposed generation --Fleet.hold_ready--> every worker alive holds the candidate
                              └--> NotConverged   who cannot, and why
    committed generation --Fleet.settle--> how far each has come, at the latest after patience_s

Alive is who told within the lease. A worker that was killed, hangs or is cut off from the store
drops out of the list, and catches up before it tells again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

from service.drift import Tally
from service.errors import NotConverged, StoreUnavailable
from service.fleet_watch import FleetWatch, Workers
from service.task_store import Acknowledgement, TaskStore

TELL_EVERY_S = 0.5
_LEASE_S = 3.0
Reasons = dict[str, str]  # by worker


class Fleet:
    """All workers, seen from one of them.

    Args:
        store: where all tell.
        own: how far this worker has come, now; asked from threads as well.
        counted: what it has counted of versions that are compared; asked from threads, too.
        patience_s: how long a change waits for the others.
    """

    def __init__(
        self,
        store: TaskStore,
        own: Callable[[], Acknowledgement],
        counted: Callable[[], tuple[Tally, ...]],
        patience_s: float,
    ) -> None:
        self._store = store
        self._own = own
        self._counted = counted
        self.patience_s = patience_s
        self._watch = FleetWatch(self._workers, store.worker_news)

    def tell(self) -> None:
        """How far this worker has come. Blocks; from any thread.

        Raises:
            StoreUnavailable: nobody knows.
        """
        told = replace(self._own(), tallies=self._counted())
        self._store.acknowledge(told, _LEASE_S)

    async def leave(self) -> None:
        """Nobody needs to wait for this worker any more."""
        await asyncio.to_thread(self._store.forget, self._own().worker)

    async def workers(self) -> Workers:
        """All that are alive, or StoreUnavailable: silence does not mean that there are none."""
        return await asyncio.to_thread(self._workers)

    async def known(self) -> Workers:
        """All that are alive; this one alone while the store does not answer."""
        return await self._or_own(self.workers())

    def alone(self) -> bool:
        """Whether nobody else is alive, or StoreUnavailable. Blocks; from any thread."""
        return len(self._workers()) == 1

    async def hold_ready(self, generation: int, task: str) -> None:
        """Wait until every worker alive holds the task's candidate of this generation.

        Raises:
            NotConverged: one refused it, or did not come so far in time.
            StoreUnavailable: nobody can tell.
        """

        def sort(workers: Workers) -> tuple[Reasons, Reasons]:
            refusing = {one.worker: one.refused[task] for one in workers if task in one.refused}
            late = {
                one.worker: one.reason or f"still at generation {one.generation}"
                for one in workers
                if one.generation < generation
            }
            return refusing, late

        await self._hold(f"task {task}", self.patience_s, sort)

    async def hold_backbone(self, key: str, patience_s: float) -> None:
        """Wait until every worker alive has made this upgrade ready.

        Raises:
            NotConverged: one refused it, or was not ready in time.
            StoreUnavailable: nobody can tell.
        """

        def sort(workers: Workers) -> tuple[Reasons, Reasons]:
            told = [one for one in workers if one.upgrade == key]
            refusing = {one.worker: one.unprepared for one in told if one.unprepared}
            late = {
                one.worker: one.reason or "still loading it" for one in workers if one not in told
            }
            return refusing, late

        await self._hold("the backbone", patience_s, sort)

    async def settle(self, generation: int) -> Workers:
        """Wait until every worker alive serves the generation, or patience is over.

        This one alone while the store does not answer.
        """
        end = time.monotonic() + self.patience_s

        def judge(workers: Workers) -> Workers | None:
            come = all(one.generation >= generation for one in workers)
            return workers if come or time.monotonic() > end else None

        return await self._or_own(self._watch.until(judge))

    async def _or_own(self, asked: Awaitable[Workers]) -> Workers:
        try:
            return await asked
        except StoreUnavailable:
            return (self._own(),)

    async def _hold(
        self, what: str, patience_s: float, sort: Callable[[Workers], tuple[Reasons, Reasons]]
    ) -> None:
        """Sort tells who refuses and who is late, and why."""
        end = time.monotonic() + patience_s

        def judge(workers: Workers) -> bool | None:
            refusing, late = sort(workers)
            if refusing or (late and time.monotonic() > end):
                raise _not_converged(what, workers, refusing or late)
            return None if late else True

        await self._watch.until(judge)

    def _workers(self) -> Workers:
        told = self._store.acknowledgements()
        own = self._own()
        others = [one for one in told if one.worker != own.worker]
        return tuple(sorted((own, *others), key=lambda one: one.worker))


def view(worker: Acknowledgement) -> dict[str, str | int]:
    """A worker as the admin port shows it."""
    return {
        "id": worker.worker,
        "state": worker.state,
        "generation": worker.generation,
        "reason": worker.reason,
    }


def _not_converged(what: str, workers: Workers, why: dict[str, str]) -> NotConverged:
    told = "; ".join(f"worker {worker}: {reason}" for worker, reason in why.items())
    shown = [
        view(one) | ({"state": "refused", "reason": why[one.worker]} if one.worker in why else {})
        for one in workers
    ]
    return NotConverged(
        f"{what} was left as it was, for not all workers can serve the new version: {told}. "
        "Mend or end those workers and try again, or use wait=local for a task to go on without "
        "them",
        shown,
    )

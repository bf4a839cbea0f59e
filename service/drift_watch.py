"""Looks at the drift of all workers, tells it, and takes away a canary that goes too far.

    Drift here, what other workers told --pool--> Figures --> metrics, GET .../drift
                                                     └--over a guard's limit--> stop_canary

Every worker looks, at the same figures; whoever is first takes the canary away, the others find
it done. While the store is away nobody is stopped, and the next look is as good.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from contract.errors import ContractError
from service.drift import Figures, Pair, pool
from service.errors import ServiceError
from service.metrics import Metrics
from service.registry import TaskRegistry
from service.route import Route
from service.routing import Guard
from service.task_changes import stop_canary
from service.task_store import DesiredState

_LOOK_EVERY_S = 0.5


class DriftWatch:
    """One background task per process."""

    def __init__(self, registry: TaskRegistry, metrics: Metrics, log: Any) -> None:  # noqa: ANN401  # structlog's logger has no public type
        self._registry = registry
        self._metrics = metrics
        self._log = log
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._watch(), name="drift watch")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    async def look(self) -> None:
        """Count what is routed, tell the figures, and stop the canaries that went too far.

        Raises:
            ServiceError, ContractError: a canary could not be stopped, or not here.
        """
        routes = self._registry.snapshot.routes
        pairs = {pair for route in routes.values() for pair in pairs_of(route)}
        self._registry.drift.keep(pairs)
        figures = await self.figures() if routes else {}
        self._metrics.drifted({pair: figures[pair] for pair in pairs & figures.keys()})
        for route in routes.values():
            await self._judge(route, figures)

    async def figures(self) -> Mapping[Pair, Figures]:
        """Over all workers alive; of this one alone while the store does not answer."""
        told = [one.tallies for one in await self._registry.fleet.known()]
        own = self._registry.drift.tallies()
        return pool(tally for tallies in (*told, own) for tally in tallies)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            # The follower tells what is wrong with the store, and the next look is as good.
            with suppress(ContractError, ServiceError):
                await self.look()

    async def _judge(self, route: Route, figures: Mapping[Pair, Figures]) -> None:
        routing, canary = route.routing, route.canary
        if routing.guard is None or canary is None:
            return
        found = figures.get(Pair(route.task, canary.version, routing.since))
        why = None if found is None else verdict(found, routing.guard)
        if why is None:
            return
        stopped = False

        def step(state: DesiredState) -> DesiredState:
            nonlocal stopped
            after = stop_canary(state, route.task, routing, why, time.time())
            stopped = after is not state
            return after

        await self._registry.commit(step)
        if stopped:
            self._metrics.canary_stopped()
            self._log.warning("canary_stopped", task=route.task, version=canary.version, reason=why)


def pairs_of(route: Route) -> list[Pair]:
    return [Pair(route.task, one.version, route.routing.since) for one in route.others]


def verdict(figures: Figures, guard: Guard) -> str | None:
    """Why a canary must go; None while it may stay."""
    if figures.rows < guard.min_rows:
        return None
    said = []
    if guard.max_psi is not None and figures.psi is not None and figures.psi > guard.max_psi:
        said.append(f"psi {figures.psi:.3f} is over {guard.max_psi:g}")
    least, found = guard.min_overlap, figures.overlap
    if least is not None and found is not None and found < least:
        said.append(f"overlap {found:.3f} is under {least:g}")
    return f"{' and '.join(said)}, on {figures.rows} rows" if said else None

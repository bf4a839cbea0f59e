"""What a service takes beside time: the memory of a further worker, the seconds until it serves.

    bundles with tables of some size --starts, 1 and 3 workers in turn--> measures by name

A further worker's memory is half the difference that two more make, proportional set sizes (each
shared page divided among its holders) added up after each worker has answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from benchmarks.running_service import RunningService
from benchmarks.serving_rounds import Measures, caller_of
from benchmarks.serving_world import World

_FEW, _MORE = 1, 3
_ASKED_S, _CALLERS, _CANDIDATES = 1.0, 16, 10


def footprint(worlds: Mapping[str, World]) -> Measures:
    """Of each world: seconds until it serves, MiB of the first worker and of a further one."""
    found: Measures = {}
    for name, world in worlds.items():
        one, started_s = _serving(world, _FEW)
        more, _ = _serving(world, _MORE)
        further = (more - one) / (_MORE - _FEW)
        found |= {
            f"footprint/{name}/start": started_s,
            f"footprint/{name}/first worker": one / 1024,
            f"footprint/{name}/further worker": further / 1024,
            f"footprint/{name}/further over first": further / one,
        }
    return found


def _serving(world: World, workers: int) -> tuple[float, float]:
    """KiB of all workers once they have answered, and seconds until all were ready."""
    with RunningService(world.bundle.folder, workers) as service:
        caller = caller_of(service, world, _CANDIDATES)

        async def ask() -> None:
            await caller.saturate(_CALLERS, _ASKED_S)
            caller.close()

        asyncio.run(ask())
        return service.pss_kib(), service.started_s

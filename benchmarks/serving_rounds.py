"""One round of asking two services, 8 bits and exact, and the graphs alone beside them.

    Side (service, bare loop, tasks grafted) --one_round--> measures by name: "int8/100/rate"

Every measure of a round is taken within the same minutes, the two sides in turn. An answer that is
no 200 ends the run with a RuntimeError: what fails is quick, and no figure.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass

import httpx

from benchmarks.bare_loop import BareLoop
from benchmarks.graft_swaps import DONE, Swapper
from benchmarks.open_loop import Caller, Outcome, post
from benchmarks.rounds import percentile
from benchmarks.running_service import RunningService
from benchmarks.serving_world import World

TAIL_SIZE = TASKS_SIZE = 100
LOAD = 0.7
_GRAFTS_PER_S = 2.0
_WARM_UP_S = 0.3
_OK = 200
_MS, _US = 1e3, 1e6
_BINARY = {"Content-Type": "application/octet-stream"}
Measures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Side:
    """One way of serving the world; swapper changes one of its tasks."""

    name: str
    world: World
    service: RunningService
    bare: BareLoop
    swapper: Swapper

    def caller(self, size: int, tasks: Sequence[str] | None = None) -> Caller:
        address = self.service.host, self.service.port
        return Caller(address, [post("/v1/score", b) for b in self.world.bodies(size, tasks)])


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how much.

    Attributes:
        seconds: of each measure.
        callers: who ask at once where requests a second are counted.
        prompts: the grafted tasks' files by name.
    """

    seconds: float
    callers: int
    sizes: tuple[int, ...]
    task_counts: tuple[int, ...]
    prompts: dict[str, bytes]


def graft_all(side: Side, prompts: dict[str, bytes]) -> None:
    for task, prompt in prompts.items():
        url = f"{side.service.admin}/v1/tasks/{task}"
        headers = side.service.headers | _BINARY
        httpx.put(url, content=prompt, headers=headers, timeout=60).raise_for_status()


async def one_round(sides: Sequence[Side], plan: Plan, number: int) -> Measures:
    found: Measures = {}
    for size in plan.sizes:
        for side in sides:
            found |= await _one_size(side, plan, size)
    for count in plan.task_counts:
        for side in sides:
            found |= await _some_tasks(side, plan, count)
    for side in sides:
        found |= await _tail(side, plan, random.Random(number))
    return found


async def _one_size(side: Side, plan: Plan, size: int) -> Measures:
    caller, name = side.caller(size), f"{side.name}/{size}"
    await caller.saturate(plan.callers, _WARM_UP_S)
    bare = side.bare.rate(size, plan.seconds)
    rate = _rate(await caller.saturate(plan.callers, plan.seconds), plan.seconds)
    before = side.service.stages()
    latencies = _latencies(await caller.saturate(1, plan.seconds))
    after = side.service.stages()
    caller.close()
    found = {f"{name}/rate": rate, f"{name}/bare": bare}
    found |= _percentiles(name, latencies)
    for stage, (seconds, count) in after.items():
        earlier, answered = before.get(stage, (0.0, 0.0))
        found[f"{name}/stage/{stage}"] = (seconds - earlier) / (count - answered) * _US
    return found


async def _some_tasks(side: Side, plan: Plan, count: int) -> Measures:
    caller = side.caller(TASKS_SIZE, list(plan.prompts)[:count])
    await caller.saturate(plan.callers, _WARM_UP_S)
    bare = side.bare.rate(TASKS_SIZE, plan.seconds, count)
    rate = _rate(await caller.saturate(plan.callers, plan.seconds), plan.seconds)
    caller.close()
    return {f"{side.name}/tasks/{count}/rate": rate, f"{side.name}/tasks/{count}/bare": bare}


async def _tail(side: Side, plan: Plan, chance: random.Random) -> Measures:
    """At 70 % of the rate that was just reached: evenly, by chance, and while tasks change."""
    caller, seconds = side.caller(TAIL_SIZE), 2 * plan.seconds
    rate = LOAD * _rate(await caller.saturate(plan.callers, plan.seconds), plan.seconds)
    found = _percentiles(f"{side.name}/tail/even", _latencies(await caller.flow(rate, seconds)))
    by_chance = _latencies(await caller.flow(rate, seconds, chance))
    found |= _percentiles(f"{side.name}/tail/poisson", by_chance)
    swaps = asyncio.to_thread(side.swapper.swaps, round(_GRAFTS_PER_S * seconds), _GRAFTS_PER_S)
    heard, swapped = await asyncio.gather(caller.flow(rate, seconds), swaps)
    if failed := [one.status for one in swapped if one.status not in DONE]:
        raise RuntimeError(f"{len(failed)} of {len(swapped)} grafts failed: {set(failed)}")
    grafting = _latencies(heard)
    caller.close()
    return found | _percentiles(f"{side.name}/tail/grafting", grafting)


def answered(heard: Sequence[Outcome]) -> Sequence[Outcome]:
    """All of them, or a RuntimeError."""
    if failed := [one.status for one in heard if one.status != _OK]:
        raise RuntimeError(f"{len(failed)} of {len(heard)} answers were no 200: {set(failed)}")
    return heard


def _rate(heard: Sequence[Outcome], seconds: float) -> float:
    return len(answered(heard)) / seconds


def _latencies(heard: Sequence[Outcome]) -> list[float]:
    return [one.latency_s for one in answered(heard)]


def _percentiles(name: str, latencies: Sequence[float]) -> Measures:
    return {
        f"{name}/p50": percentile(latencies, 0.5) * _MS,
        f"{name}/p99": percentile(latencies, 0.99) * _MS,
    }

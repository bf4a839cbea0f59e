"""One round of asking two services, 8 bits and exact, and the graphs alone beside them.

    Side (service, bare loop, tasks grafted) --one_round--> measures by name: "int8/100/rate",
                                                            "int8/100/new users/rate"

Every measure of a round is taken within the same minutes, the two sides in turn. An answer that is
no 200 ends the run with a RuntimeError: what fails is quick, and no figure.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.bare_loop import BareLoop
from benchmarks.graft_swaps import Swapper
from benchmarks.open_loop import Caller, Outcome, post
from benchmarks.rounds import percentile
from benchmarks.running_service import RunningService
from benchmarks.serving_figures import JUDGED_SIZE
from benchmarks.serving_world import World

TAIL_SIZE = TASKS_SIZE = 100
FORGETFUL = {"NEAR_CACHE_BYTES": "0"}  # a service that remembers nobody: each user is new to it
LOAD = 0.7
_GRAFTS_PER_S = 2.0
_WARM_UP_S = 0.3
_OK = 200
_MS, _US = 1e3, 1e6
Measures = dict[str, float]
Stages = Mapping[str, tuple[float, float]]  # seconds, how many times


@dataclass(frozen=True, slots=True)
class Side:
    """One way of serving the world.

    Attributes:
        swapper: changes one of its tasks.
        forgetful: the same, but keeps nothing of a user, so that each is new to it.
    """

    name: str
    world: World
    service: RunningService
    bare: BareLoop
    swapper: Swapper
    forgetful: RunningService | None = None


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


async def one_round(sides: Sequence[Side], plan: Plan, number: int) -> Measures:
    found: Measures = {}
    for size in plan.sizes:
        for side in sides:
            found |= await _one_size(side, side.service, plan, size, f"{side.name}/{size}")
    for side in sides:
        if side.forgetful is not None:
            name = f"{side.name}/{JUDGED_SIZE}/new users"
            found |= await _one_size(side, side.forgetful, plan, JUDGED_SIZE, name)
    for count in plan.task_counts:
        for side in sides:
            found |= await _some_tasks(side, plan, count)
    for side in sides:
        found |= await _tail(side, plan, random.Random(number))
    return found


async def _one_size(
    side: Side, service: RunningService, plan: Plan, size: int, name: str
) -> Measures:
    caller = caller_of(service, side.world, size)
    await caller.saturate(plan.callers, _WARM_UP_S)
    bare = side.bare.rate(size, plan.seconds)
    rate = await reached(caller, plan.callers, plan.seconds)
    before = service.stages()
    alone = latencies(await caller.saturate(1, plan.seconds))
    after = service.stages()
    caller.close()
    found = {f"{name}/rate": rate, f"{name}/bare": bare}
    found |= percentiles(name, alone)
    stages = stage_us(before, after)
    return found | {f"{name}/stage/{stage}": each for stage, each in stages.items()}


async def _some_tasks(side: Side, plan: Plan, count: int) -> Measures:
    tasks = list(plan.prompts)[:count]
    caller = caller_of(side.service, side.world, TASKS_SIZE, tasks)
    await caller.saturate(plan.callers, _WARM_UP_S)
    bare = side.bare.rate(TASKS_SIZE, plan.seconds, count)
    rate = await reached(caller, plan.callers, plan.seconds)
    caller.close()
    return {f"{side.name}/tasks/{count}/rate": rate, f"{side.name}/tasks/{count}/bare": bare}


async def _tail(side: Side, plan: Plan, chance: random.Random) -> Measures:
    """At 70 % of the rate just reached: evenly, by chance, while tasks change; the graphs too."""
    caller, seconds = caller_of(side.service, side.world, TAIL_SIZE), 2 * plan.seconds

    async def pace() -> float:
        # Anew each time: a machine that slows down meanwhile would be asked for more than it can.
        return LOAD * await reached(caller, plan.callers, plan.seconds)

    even = latencies(await caller.flow(await pace(), seconds))
    by_chance = latencies(await caller.flow(await pace(), seconds, chance))
    rate = await pace()
    swaps = asyncio.to_thread(side.swapper.swaps, round(_GRAFTS_PER_S * seconds), _GRAFTS_PER_S)
    heard, swapped = await asyncio.gather(caller.flow(rate, seconds), swaps)
    if failed := [one.status for one in swapped if not one.done]:
        refused = f"{len(failed)} of {len(swapped)} grafts failed or changed nothing"
        raise RuntimeError(f"{refused}: {set(failed)}")
    grafting = latencies(heard)
    caller.close()
    alone = side.bare.flow(TAIL_SIZE, seconds, rate)
    named = {"even": even, "poisson": by_chance, "grafting": grafting, "graphs alone": alone}
    return {
        name: value
        for kind, took in named.items()
        for name, value in percentiles(f"{side.name}/tail/{kind}", took).items()
    }


def answered(heard: Sequence[Outcome]) -> Sequence[Outcome]:
    """All of them, or a RuntimeError."""
    if failed := [one.status for one in heard if one.status != _OK]:
        raise RuntimeError(f"{len(failed)} of {len(heard)} answers were no 200: {set(failed)}")
    return heard


async def reached(caller: Caller, callers: int, seconds: float) -> float:
    """Requests a second of so many callers who ask again when they are answered."""
    since = time.perf_counter()
    heard = answered(await caller.saturate(callers, seconds))
    # To the last answer: with slow answers, those under way at the end are not a few.
    return len(heard) / (time.perf_counter() - since)


def stage_us(before: Stages, after: Stages) -> dict[str, float]:
    """What each stage took between the two readings, of those that ran; microseconds each time."""
    found = {}
    for stage, (seconds, count) in after.items():
        earlier, times = before.get(stage, (0.0, 0.0))
        if count > times:
            found[stage] = (seconds - earlier) / (count - times) * _US
    return found


def caller_of(
    service: RunningService, world: World, size: int, tasks: Sequence[str] | None = None
) -> Caller:
    """Asks a service for so many candidates of the world's users."""
    bodies = world.bodies(size, tasks)
    return Caller((service.host, service.port), [post("/v1/score", body) for body in bodies])


def latencies(heard: Sequence[Outcome]) -> list[float]:
    """Seconds of each, if all were answered."""
    return [one.latency_s for one in answered(heard)]


def percentiles(name: str, seconds: Sequence[float]) -> Measures:
    return {f"{name}/p{n}": percentile(seconds, n / 100) * _MS for n in (50, 99)}

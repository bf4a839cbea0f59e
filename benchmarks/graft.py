"""`make bench-graft`: what grafting costs those who score, and how soon all workers serve it.

    bundle, versions of a task --services of N workers, open-loop load--> results/graft.json

Stretches of the load alone and of the same load while versions come and go take turns, so that a
slow minute of the machine meets both; then 1,000 tasks. Every answer is checked: a version must
always have the same scores, and a swap must have changed something. With --replicas several
services share one Redis as their task store; features are stored in each service.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import tempfile
from collections.abc import Awaitable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import uvloop

from benchmarks.collector import uncollected
from benchmarks.graft_load import Heard, Load
from benchmarks.graft_swaps import Admin, Swap, Swapper, graft_all
from benchmarks.machine import describe_machine
from benchmarks.progress import tell_progress
from benchmarks.results import FOLDER, Figure, Row
from benchmarks.rounds import Goal, Rounds, percentile
from benchmarks.running_service import RunningService
from benchmarks.serving_document import publish
from benchmarks.serving_world import SHARED, World, exported, trained_run
from contract.prompt import read_prompt, write_prompt
from tests.redis_server import RedisServer

COMMAND = "make bench-graft"
TASK = "swapped"
RATIO, GROWTH, TASK_BYTES = Goal("<=", 1.05), Goal("<=", 0.05), Goal("<=", 20_000)
VISIBLE_MS = {False: 100, True: 1000}  # by whether there are replicas
_CANDIDATES, _BODIES = 100, 16
# Before memory is looked at first. Requests alone take pages of their own for ten thousand of them:
# what a worker inherits, it copies when it touches it. Swaps touch the pages of slots once.
_FIRST_REQUESTS, _IN_HASTE = 10_000, 4
_FIRST_SWAPS, _FIRST_SWAP_RATE = 500, 50.0
_OK = 200
log = logging.getLogger("bench-graft")
Result = TypeVar("Result")


@dataclass(slots=True)
class Found:
    """What one run saw.

    Attributes:
        quiet, swapping: answers by stretch, in pairs.
        cpu_s: processor time of all workers by stretch: quiet, swapping.
        pss_kib: of all workers, before the swaps and after each stretch of them.
        task_bytes: per task and worker, tensors left out; None if no tasks were added.
    """

    quiet: list[list[Heard]] = field(default_factory=list)
    swapping: list[list[Heard]] = field(default_factory=list)
    swaps: list[Swap] = field(default_factory=list)
    cpu_s: list[tuple[float, float]] = field(default_factory=list)
    pss_kib: list[float] = field(default_factory=list)
    task_bytes: float | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    tell_progress()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundle = options.bundle or exported(*trained_run(options.data), folder / "bundle")
        world = World.open(bundle)
        with _services(world, options, folder) as services, uncollected():
            found = _measure(world, services, options)
    told = ("replicas", "workers", "rate", "swaps", "swap_rate", "tasks")
    facts = {name: str(getattr(options, name)) for name in told}
    facts["model"] = f"{world.bundle.manifest.name}, {_CANDIDATES} candidates"
    machine = describe_machine(("onnxruntime", "uvicorn"))
    name, figures = "graft", figures_of(found, replicated=options.replicas > 1)
    if options.replicas > 1:
        name = "graft_replicas"
        command = f'{COMMAND} ARGS="--replicas {options.replicas} --workers {options.workers}"'
        figures = [figure.model_copy(update={"command": command}) for figure in figures]
    publish(name, machine, figures, facts, options.results)
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.graft")
    parser.add_argument("--data", type=Path, default=SHARED, help="holds kuairand/")
    parser.add_argument("--bundle", type=Path, help="instead of the STEM backbone trained here")
    parser.add_argument("--replicas", type=int, default=1, help="services; several share a Redis")
    parser.add_argument("--workers", type=int, default=4, help="of each replica")
    parser.add_argument("--rate", type=float, default=100.0, help="requests a second")
    parser.add_argument("--swaps", type=int, default=10_000)
    parser.add_argument("--swap-rate", type=float, default=10.0, help="at most so many a second")
    parser.add_argument(
        "--stretches", type=int, default=20, help="the swaps are divided among them"
    )
    parser.add_argument("--quiet-s", type=float, default=20.0, help="of each quiet stretch")
    parser.add_argument("--tasks", type=int, default=1_000)
    parser.add_argument("--results", type=Path, default=FOLDER)
    options = parser.parse_args(arguments)
    if not 1 <= options.stretches <= options.swaps:
        found = f"{options.swaps} swaps in {options.stretches} stretches"
        parser.error(f"{found}: each stretch needs a swap, and one stretch is the least")
    return options


@contextmanager
def _services(
    world: World, options: argparse.Namespace, folder: Path
) -> Iterator[list[RunningService]]:
    with ExitStack() as running:
        store = ""
        if options.replicas > 1:
            redis = RedisServer(folder, durable=True)
            redis.start()
            running.callback(redis.stop)
            store = redis.url
        features = [world.fill_store(folder / f"features-{n}") for n in range(options.replicas)]
        yield [
            running.enter_context(
                RunningService(world.bundle.folder, options.workers, store, known)
            )
            for known in features
        ]


def _measure(
    world: World, services: Sequence[RunningService], options: argparse.Namespace
) -> Found:
    first, found = services[0], Found()
    files = world.versions(TASK)
    bodies = world.bodies(_CANDIDATES, [*world.tasks, TASK])[:_BODIES]
    addresses = [(service.host, service.port) for service in services]
    each = options.swaps // options.stretches
    with (
        Swapper(Admin.of(first), TASK, files) as swapper,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):

        def stretch(
            during: Awaitable[Result], rate: float = options.rate
        ) -> tuple[list[Heard], Result, float]:
            load = Load(addresses, bodies, rate, TASK)
            return load.heard, *runner.run(_under(load, services, during))

        def swapping(count: int, rate: float) -> tuple[list[Heard], list[Swap], float]:
            return stretch(asyncio.to_thread(swapper.swaps, count, rate))

        haste = _IN_HASTE * options.rate
        stretch(asyncio.sleep(_FIRST_REQUESTS / haste), haste)
        swapping(_FIRST_SWAPS, _FIRST_SWAP_RATE)
        found.pss_kib.append(_pss_kib(services))
        for number in range(options.stretches):
            heard, _, quiet_s = stretch(asyncio.sleep(options.quiet_s))
            found.quiet.append(heard)
            heard, swaps, swapping_s = swapping(each, options.swap_rate)
            found.swapping.append(heard)
            found.swaps += swaps
            found.cpu_s.append((quiet_s, swapping_s))
            found.pss_kib.append(_pss_kib(services))
            log.info("stretch %d of %d: %s", number + 1, options.stretches, _told(found))
    if options.tasks:
        found.task_bytes = _fill(services, files[0], options.tasks)
    return found


async def _under(
    load: Load, services: Sequence[RunningService], during: Awaitable[Result]
) -> tuple[Result, float]:
    """What came of it while the load flowed, and the services' processor time."""
    before = _cpu_s(services)
    async with load.running():
        found = await during
    return found, _cpu_s(services) - before


def figures_of(found: Found, *, replicated: bool = False) -> list[Figure]:
    """The figures, each with what was promised of it."""
    answers = [one for heard in found.swapping for one in heard]
    failed = sum(one.status != _OK for one in answers)
    failed += sum(not swap.done for swap in found.swaps)
    different = inconsistent(answers)
    within = VISIBLE_MS[replicated]
    visible = [swap.seconds * 1000 for swap in found.swaps]
    worst = percentile(visible, 0.99)
    rows: dict[str, Row] = {
        "failed": (failed, "requests and swaps", "0", failed == 0),
        "inconsistent": (different, "answers", "0", different == 0),
        "answers": (len(answers), "answers", "> 0", bool(answers)),
        "swaps": (len(found.swaps), "swaps", "> 0", bool(found.swaps)),
        "visible/p50": (percentile(visible, 0.5), "ms", "", True),
        "visible/p99": (worst, "ms", f"<= {within}", worst <= within),
    }
    figures = [Figure.judged(f"graft/{name}", COMMAND, row) for name, row in rows.items()]
    return [*figures, *_tail(found), *_costs(found)]


def _tail(found: Found) -> Iterator[Figure]:
    for share, name, goal in ((0.5, "p50", None), (0.99, "p99", RATIO)):
        quiet, swapping = (
            Rounds.of([percentile(latencies(heard), share) * 1000 for heard in stretches])
            for stretches in (found.quiet, found.swapping)
        )
        yield quiet.figure(f"graft/{name}/quiet", "ms", COMMAND)
        yield swapping.figure(f"graft/{name}/swapping", "ms", COMMAND)
        yield swapping.over(quiet).figure(f"graft/{name}/ratio", "x", COMMAND, goal)


def _costs(found: Found) -> Iterator[Figure]:
    per_swap = []
    stretches = zip(found.cpu_s, found.quiet, found.swapping, strict=True)
    for (quiet_s, swapping_s), quiet, swapping in stretches:
        scoring_s = quiet_s / len(quiet) * len(swapping)
        per_swap.append((swapping_s - scoring_s) * len(found.cpu_s) / len(found.swaps) * 1000)
    unit = "ms of processor time, all workers"
    yield Rounds.of(per_swap).figure("graft/swap", unit, COMMAND)
    first, middle, last = (found.pss_kib[at] for at in (0, len(found.pss_kib) // 2, -1))
    growth = Rounds.of([last / first - 1])
    yield growth.figure("graft/memory/growth", "of all workers", COMMAND, GROWTH)
    later = Rounds.of([last / middle - 1])
    yield later.figure("graft/memory/growth/second half", "of all workers", COMMAND)
    if found.task_bytes is not None:
        each = Rounds.of([found.task_bytes])
        yield each.figure("graft/memory/task", "bytes a task", COMMAND, TASK_BYTES)


def inconsistent(heard: Sequence[Heard]) -> int:
    """Answers whose scores are not those of the version they name, for the same request."""
    known: dict[tuple[int, int | None], int] = {}
    answered = [one for one in heard if one.status == _OK]
    return sum(
        known.setdefault((one.asked, one.version), one.scores) != one.scores for one in answered
    )


def latencies(heard: Sequence[Heard]) -> list[float]:
    return [one.latency_s for one in heard]


def _told(found: Found) -> str:
    figures = {figure.name: figure.value for figure in figures_of(found)}
    names = (
        "failed",
        "inconsistent",
        "p99/quiet",
        "p99/swapping",
        "p99/ratio",
        "visible/p99",
        "swap",
    )
    return ", ".join(f"{name} {figures[f'graft/{name}']:.3g}" for name in names)


def _fill(services: Sequence[RunningService], prompt: bytes, tasks: int) -> float:
    """Graft so many tasks; bytes that one takes in each worker beyond its own tensors."""
    sound = read_prompt(prompt)
    tensors = sum(tensor.nbytes for tensor in sound.tensors.values())

    def named(task: str) -> bytes:
        header = sound.header.model_copy(update={"task": task})
        return write_prompt(header, sound.tensors, sound.golden_inputs, sound.golden_scores)

    before = _pss_kib(services)
    names = (f"bench-{number}" for number in range(tasks))
    graft_all(Admin.of(services[0]), ((name, named(name)) for name in names))
    workers = sum(service.workers for service in services)
    return (_pss_kib(services) - before) * 1024 / workers / tasks - tensors


def _cpu_s(services: Iterable[RunningService]) -> float:
    return sum(service.cpu_s() for service in services)


def _pss_kib(services: Iterable[RunningService]) -> float:
    return sum(service.pss_kib() for service in services)


if __name__ == "__main__":
    raise SystemExit(main())

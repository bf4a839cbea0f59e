"""`make bench`: what scoring costs, by stage, candidate and task; against the graphs alone.

    STEM backbone --services in 8 bits, one exact, the graphs alone--> rounds --> serving.json
    large tables  --services started and stopped-------------------> rounds --'

Services and graphs share one core and are asked in turn from the other. One worker each. Features
are stored in the service; requests carry ids. Ratios are taken within a round. Users return, and a
service keeps what it made of them; one in 8 bits keeps nothing, and shows what new users cost.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import uvloop

from benchmarks.bare_loop import BareLoop
from benchmarks.collector import uncollected
from benchmarks.cores import Cores
from benchmarks.graft_swaps import Admin, Swapper, graft_all
from benchmarks.large_table import write_large_bundle
from benchmarks.machine import describe_machine
from benchmarks.progress import tell_progress
from benchmarks.results import FOLDER
from benchmarks.running_service import RunningService
from benchmarks.serving_document import publish
from benchmarks.serving_figures import SIDES, figures_of, footprint_figures
from benchmarks.serving_footprint import footprint
from benchmarks.serving_rounds import FORGETFUL, Measures, Plan, Side, one_round
from benchmarks.serving_world import KEPT, SHARED, World, exported, trained_run

SIZES = (1, 10, 100, 500, 2000)
TASK_COUNTS = (1, 2, 4, 8, 16, 32)
_TABLES = {"table of 100 MiB": 100 << 20, "table of 1 GiB": 1 << 30}
SETTINGS = {"MAX_ITEMS": str(SIZES[-1]), "DEFAULT_DEADLINE_MS": "10000"}
_FORGETS = "int8"  # the side of which a service that remembers nobody is asked as well
_SWAPPED = "bench-swapped"
log = logging.getLogger("bench")


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    tell_progress()
    cores = Cores.here()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundle = options.bundle or exported(*trained_run(options.data), folder / "bundle")
        world = World.open(bundle)
        large = {} if options.no_tables else {k: _large(k, size) for k, size in _TABLES.items()}
        cores.asking()
        rounds = _rounds(world, options, cores, folder)
        # A supervisor and its workers start as they would: on all cores.
        cores.free()
        footprints = [footprint({"benchmark": world} | large) for _ in range(options.rounds)]
    told = ("rounds", "seconds", "callers")
    notes = {option: str(getattr(options, option)) for option in told}
    notes["model"] = f"{world.bundle.manifest.name}, {len(world.bundle.manifest.tasks)} tasks"
    figures = figures_of(rounds) + footprint_figures(footprints)
    machine = describe_machine(("onnxruntime", "uvicorn", "numpy"))
    publish("serving", machine, figures, notes, options.results)
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving")
    parser.add_argument("--data", type=Path, default=SHARED, help="holds kuairand/")
    parser.add_argument("--bundle", type=Path, help="instead of the STEM backbone trained here")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measure")
    parser.add_argument("--callers", type=int, default=4)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="candidates")
    parser.add_argument("--tasks", type=int, nargs="+", default=TASK_COUNTS, help="grafted")
    parser.add_argument("--no-tables", action="store_true", help="leave large tables out")
    parser.add_argument("--results", type=Path, default=FOLDER)
    parser.add_argument("--quick", action="store_true", help="every step once, figures for nobody")
    options = parser.parse_args(arguments)
    if options.quick:
        options.rounds, options.seconds = 1, 0.2
        options.sizes, options.tasks, options.no_tables = (1, 10), (1, 2), True
    return options


def _rounds(
    world: World, options: argparse.Namespace, cores: Cores, folder: Path
) -> list[Measures]:
    prompts = {
        f"bench-{number}": world.prompt(f"bench-{number}", number)
        for number in range(max(options.tasks))
    }
    plan = Plan(
        options.seconds, options.callers, tuple(options.sizes), tuple(options.tasks), prompts
    )
    found = []
    with ExitStack() as running:
        sides = [running.enter_context(_side(n, world, plan, cores, folder)) for n in SIDES]
        with uncollected(), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            for number in range(options.rounds):
                found.append(runner.run(one_round(sides, plan, number)))
                log.info("round %d of %d", number + 1, options.rounds)
    return found


@contextmanager
def _side(name: str, world: World, plan: Plan, cores: Cores, folder: Path) -> Iterator[Side]:
    exact = name == "exact"
    more = SETTINGS | {"EXACT": str(exact).lower()}
    store = world.fill_store(folder / f"features-{name}")
    kinds = [more, more | FORGETFUL] if name == _FORGETS else [more]
    bare = BareLoop(world.bundle.folder, cores, list(plan.prompts.values()), exact=exact)
    with ExitStack() as running:
        with cores.serving():
            service, *forgetful = [
                running.enter_context(
                    RunningService(world.bundle.folder, 1, feature_store=store, more=kind)
                )
                for kind in kinds
            ]
        running.enter_context(bare)
        admin = Admin.of(service)
        swapper = running.enter_context(Swapper(admin, _SWAPPED, world.versions(_SWAPPED)))
        graft_all(admin, plan.prompts.items())
        yield Side(name, world, service, bare, swapper, *forgetful)


def _large(name: str, size_bytes: int) -> World:
    folder = KEPT / name.replace(" ", "-")
    if not (folder / "bundle").exists():
        log.info("making the bundle with a %s", name)
        write_large_bundle(folder, size_bytes)
    return World.open(folder / "bundle")


if __name__ == "__main__":
    sys.exit(main())

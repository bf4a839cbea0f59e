"""`make bench-overload`: what a service answers when three times what it can do is asked of it.

    bundle --a service on one core, its caller on another--> results/overload.json

Each round asks at a steady rate of 1, 2 and 3 times the peak, whether or not it is answered, with
health checks beside it. The peak is what callers get who ask as soon as they are answered; it is
measured before and after each load. Loads are short and rounds are many, since a shared machine
changes its speed by half within seconds; beside each load stands for how long the machine itself
ran nobody on either core.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import math
import os
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import uvloop

from benchmarks.collector import uncollected
from benchmarks.heartbeat import Heartbeat
from benchmarks.machine import describe_machine
from benchmarks.open_loop import Caller, Outcome, get, post
from benchmarks.progress import tell_progress
from benchmarks.results import Figure
from benchmarks.rounds import percentile
from benchmarks.running_service import RunningService
from benchmarks.serving_document import publish
from benchmarks.shop_bundle import REQUEST, write_shop_bundle

COMMAND = "make bench-overload"
LOADS = (1, 2, 3)
GOODPUT, HEALTH_MS = 0.9, 50
_CALLERS = 16
_PROBES_PER_S = 20.0
_OK, _OVERLOADED = 200, 429
log = logging.getLogger("bench-overload")


@dataclass(frozen=True, slots=True)
class Stretch:
    """Answers within the deadline, and what they took."""

    good: int
    seconds: float
    cpu_s: float

    @property
    def rate(self) -> float:
        return self.good / self.seconds

    @property
    def per_cpu_s(self) -> float:
        return self.good / self.cpu_s


@dataclass(frozen=True, slots=True)
class Found:
    """What one load met.

    Attributes:
        goodput: answers within the deadline a second, as a share of the peak.
        efficiency: the same for each second of processor time that the service got.
        admitted: seconds of each answer that was no refusal.
        statuses: how many there were of each.
        health: seconds of each health check.
        asking: part of a core that asking took.
        absent: seconds of the machine's longest absence; None if it cannot be known.
    """

    goodput: float
    efficiency: float
    admitted: list[float]
    statuses: Counter[int]
    health: list[float]
    asking: float
    absent: float | None = None

    @property
    def refused(self) -> int:
        return self.statuses[_OVERLOADED]

    @property
    def others(self) -> int:
        """Neither answered nor refused with 429."""
        return self.statuses.total() - self.statuses[_OK] - self.refused


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overload")
    parser.add_argument("--bundle", type=Path, help="a made-up shop's by default")
    parser.add_argument("--request", default=json.dumps(REQUEST))
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each load")
    parser.add_argument("--deadline-ms", type=int, default=1000)
    options = parser.parse_args(arguments)
    tell_progress()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:  # noqa: PLR2004
        raise SystemExit("two cores are needed: one serves, the other asks")
    with tempfile.TemporaryDirectory() as folder:
        bundle = options.bundle or write_shop_bundle(Path(folder))
        os.sched_setaffinity(0, cores[:-1])  # the service inherits it
        with RunningService(bundle, options.workers) as service, ExitStack() as beating:
            os.sched_setaffinity(0, cores[-1:])
            beats = [beating.enter_context(Heartbeat(core)) for core in cores]
            with uncollected(), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                rounds = [
                    runner.run(measure(service, options, beats)) for _ in range(options.rounds)
                ]
    told = ("workers", "rounds", "seconds", "deadline_ms")
    facts = {name: str(getattr(options, name)) for name in told}
    figures = figures_of(rounds, options.deadline_ms)
    publish("overload", describe_machine(("onnxruntime", "uvicorn")), figures, facts)
    return 0


async def measure(
    service: RunningService, options: argparse.Namespace, beats: Sequence[Heartbeat]
) -> dict[int, Found]:
    """One round: what was found at each load."""
    address = service.host, service.port
    body = json.loads(options.request) | {"deadline_ms": options.deadline_ms}
    score = Caller(address, post("/v1/score", json.dumps(body).encode()))
    probes = [Caller(address, get(path)) for path in ("/livez", "/readyz")]

    async def peak() -> Stretch:
        cpu_s = service.cpu_s()
        seconds = options.seconds / 2
        heard = await score.saturate(_CALLERS, seconds)
        return Stretch(_good(heard, options.deadline_ms), seconds, service.cpu_s() - cpu_s)

    await score.saturate(_CALLERS, 1.0)
    found, before = {}, await peak()
    for load in LOADS:
        _longest(beats)  # since the last load: of no interest
        cpu_s, asking_s = service.cpu_s(), time.process_time()
        heard, *checks = await asyncio.gather(
            score.flow(before.rate * load, options.seconds),
            *(probe.flow(_PROBES_PER_S, options.seconds) for probe in probes),
        )
        absent = _longest(beats)
        asking = (time.process_time() - asking_s) / options.seconds
        good = _good(heard, options.deadline_ms)
        stretch = Stretch(good, options.seconds, service.cpu_s() - cpu_s)
        after = await peak()
        found[load] = Found(
            goodput=stretch.rate / statistics.mean([before.rate, after.rate]),
            efficiency=stretch.per_cpu_s / statistics.mean([before.per_cpu_s, after.per_cpu_s]),
            admitted=[one.latency_s for one in heard if one.status != _OVERLOADED],
            statuses=Counter(one.status for one in heard),
            # A check that failed was not answered in any time.
            health=[
                one.latency_s if one.status == _OK else math.inf for some in checks for one in some
            ],
            asking=asking,
            absent=absent,
        )
        log.info("%dx of %.0f/s: %s", load, before.rate, _told(found[load]))
        before = after
    for caller in (score, *probes):
        caller.close()
    return found


def figures_of(rounds: Sequence[dict[int, Found]], deadline_ms: int) -> list[Figure]:
    """The figures of each load, each with what was promised of it: medians of the rounds."""
    figures = []
    for load in LOADS:
        found = [one[load] for one in rounds]
        others = float(sum(one.others for one in found))
        goodput = [one.goodput for one in found]
        efficiency = [one.efficiency for one in found]
        p99 = [percentile(one.admitted, 0.99) * 1000 for one in found]
        health = [percentile(one.health, 0.99) * 1000 for one in found]
        rows: dict[str, tuple[list[float], str, str, bool]] = {
            "goodput": (goodput, "of peak", f">= {GOODPUT}", _median(goodput) >= GOODPUT),
            "goodput_per_cpu": (efficiency, "of peak", "", True),
            "admitted_p99": (p99, "ms", f"<= {deadline_ms}", _median(p99) <= deadline_ms),
            "health_p99": (health, "ms", f"<= {HEALTH_MS}", _median(health) <= HEALTH_MS),
            "others": ([others], "neither answered nor 429", "0", others == 0),
            "refused": ([float(sum(one.refused for one in found))], "requests", "", True),
            "asking": ([max(one.asking for one in found)], "of a core", "", True),
        }
        absences = [one.absent * 1000 for one in found if one.absent is not None]
        if absences:
            rows["machine_absent"] = (absences, "ms", "", True)
        for name, (values, unit, goal, holds) in rows.items():
            spread = (min(values), max(values)) if len(values) > 1 else None
            row = (_median(values), unit, goal, holds)
            figures.append(Figure.judged(f"overload/{load}x/{name}", COMMAND, row, spread))
    return figures


def _longest(beats: Sequence[Heartbeat]) -> float | None:
    known = [absent for beat in beats if (absent := beat.longest()) is not None]
    return max(known, default=None)


def _good(heard: Sequence[Outcome], deadline_ms: int) -> int:
    return sum(one.status == _OK and one.latency_s * 1000 <= deadline_ms for one in heard)


def _told(found: Found) -> str:
    absent = [] if found.absent is None else [f"the machine {1000 * found.absent:.0f} ms absent"]
    return ", ".join(
        (
            f"goodput {found.goodput:.2f}, {found.efficiency:.2f} for its share of the core",
            f"admitted p99 {percentile(found.admitted, 0.99) * 1000:.0f} ms",
            f"health p99 {percentile(found.health, 0.99) * 1000:.0f} ms",
            f"{found.refused} refused, {found.others} others",
            f"asking took {found.asking:.2f} of a core",
            *absent,
        )
    )


def _median(values: Sequence[float]) -> float:
    return statistics.median(values)


if __name__ == "__main__":
    raise SystemExit(main())

"""The figures of all workers as the console reads them: counters, whose rates the reader takes.

    merged metrics, spreads of scores --read_figures--> LiveFigures --> GET /v1/live

Nothing is counted for the console alone: these are the numbers of /metrics in another form, and
what score_spread.py has seen.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from prometheus_client.metrics_core import Metric

from service.metrics import Metrics
from service.score_spread import Spread


@dataclass(slots=True)
class TaskCounts:
    """One task since its first request.

    Attributes:
        requests: by outcome.
        seconds: of all requests that asked for it.
    """

    requests: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    rows: int = 0
    canary_rows: int = 0


@dataclass(frozen=True, slots=True)
class LiveFigures:
    """All workers of this service at one moment.

    Attributes:
        at: in seconds, of a clock that never goes back; only differences mean something.
        requests: of scoring, by status class.
        refusals: of scoring, by error code.
        bounds: upper ends of the latency classes, in seconds; the last class has none.
        latency: scoring requests per class, one more than bounds.
        tiers: answers by where their history came from.
        store_faults: of the feature store, by reason.
        spread: see score_spread.py.
    """

    at: float
    workers: int
    in_flight: int
    requests: dict[str, int]
    refusals: dict[str, int]
    bounds: list[float]
    latency: list[int]
    tiers: dict[str, int]
    store_faults: dict[str, int]
    tasks: dict[str, TaskCounts]
    spread: Spread


class FleetFigures(Protocol):
    """The figures of all workers of this service, whichever of them is asked."""

    async def exposition(self, accept: str | None) -> tuple[bytes, str]:
        """The text a scraper reads, and its content type."""
        ...

    async def live(self, routes: Collection[str]) -> LiveFigures:
        """As read_figures."""
        ...


class OwnFigures:
    """Of a process that serves alone."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    async def exposition(self, accept: str | None) -> tuple[bytes, str]:
        return self._metrics.exposition(accept)

    async def live(self, routes: Collection[str]) -> LiveFigures:
        metrics = self._metrics
        return read_figures(metrics.registry.collect(), metrics.spread.told(), routes)


def read_figures(metrics: Iterable[Metric], spread: Spread, routes: Collection[str]) -> LiveFigures:
    """Figures of these routes, which are the ones that score."""
    found = {metric.name.removeprefix("taskgraft_"): metric for metric in metrics}

    def by(name: str, label: str) -> dict[str, int]:
        counts: Counter[str] = Counter()
        for sample in found[name].samples:
            route = sample.labels.get("route")
            if sample.name.endswith("_total") and (route is None or route in routes):
                counts[sample.labels[label]] += int(sample.value)
        return {key: count for key, count in counts.items() if count}

    def sum_of(name: str) -> int:
        return int(sum(sample.value for sample in found[name].samples))

    bounds, latency = _latency(found["request_seconds"], routes)
    return LiveFigures(
        at=time.monotonic(),
        workers=sum_of("workers"),
        in_flight=sum_of("in_flight"),
        requests=by("requests", "status"),
        refusals=by("refusals", "code"),
        bounds=bounds,
        latency=latency,
        tiers=by("degraded", "tier"),
        store_faults=by("feature_store_faults", "reason"),
        tasks=_tasks(found),
        spread=spread,
    )


def _latency(metric: Metric, routes: Collection[str]) -> tuple[list[float], list[int]]:
    """Prometheus counts all up to a bound; here each class counts its own."""
    up_to: Counter[float] = Counter()
    for sample in metric.samples:
        if sample.name.endswith("_bucket") and sample.labels["route"] in routes:
            up_to[float(sample.labels["le"])] += int(sample.value)
    bounds = sorted(up_to)
    counts = [0, *(up_to[bound] for bound in bounds)]
    return bounds[:-1], [after - before for before, after in itertools.pairwise(counts)]


def _tasks(found: dict[str, Metric]) -> dict[str, TaskCounts]:
    tasks: defaultdict[str, TaskCounts] = defaultdict(TaskCounts)
    for sample in found["task_requests"].samples:
        tasks[sample.labels["task"]].requests[sample.labels["outcome"]] += int(sample.value)
    for sample in found["task_request_seconds"].samples:
        if sample.name.endswith("_sum"):
            tasks[sample.labels["task"]].seconds += sample.value
    for sample in found["task_scored_rows"].samples:
        tasks[sample.labels["task"]].rows += int(sample.value)
    for sample in found["task_canary_rows"].samples:
        tasks[sample.labels["task"]].canary_rows += int(sample.value)
    return dict(tasks)

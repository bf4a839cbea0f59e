"""Every metric of the service: names, labels and help in one place.

    routes, scorer, registry, stores --observe, count, set--> Metrics --exposition--> /metrics

Labels are bounded: routes, stages, tiers and reasons come from code, task names from the registry,
never from what a caller typed. Event loop only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import choose_encoder

Stage = Literal["parse", "features", "encode", "run", "write"]
STAGES: tuple[Stage, ...] = ("parse", "features", "encode", "run", "write")
_SECONDS = (
    0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5
)  # fmt: skip
_STAGE_SECONDS = (
    0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5
)  # fmt: skip


class Timer:
    """Observes the seconds a with-block took."""

    __slots__ = ("_series", "_since")

    def __init__(self, series: Histogram) -> None:
        self._series = series

    def __enter__(self) -> None:
        self._since = time.perf_counter()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._series.observe(time.perf_counter() - self._since)


class Metrics:
    """One process's figures, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"taskgraft_{name}", text, labels, registry=self.registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"taskgraft_{name}", text, labels, registry=self.registry)

        self._requests = counter(
            "requests", "Requests answered, by route and status class.", "route", "status"
        )
        self._latency = Histogram(
            "taskgraft_request_seconds",
            "From the request's head to the answer's last byte.",
            ["route"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._stages = Histogram(
            "taskgraft_stage_seconds",
            "Time of one score request's stages.",
            ["stage"],
            buckets=_STAGE_SECONDS,
            registry=self.registry,
        )
        self._stage = {stage: self._stages.labels(stage) for stage in STAGES}
        self._rows = counter("scored_rows", "Candidates scored.")
        self._task_rows = counter("task_scored_rows", "Candidates scored for a task.", "task")
        self._degraded = counter("degraded", "Score answers, by history tier.", "tier")
        self._grafts = counter(
            "grafts", "Changes of tasks, by outcome and reason of refusal.", "outcome", "reason"
        )
        self._graft_seconds = Histogram(
            "taskgraft_graft_seconds", "Time of accepted grafts.", registry=self.registry
        )
        self._store_faults = counter(
            "feature_store_faults", "Feature store reads and writes that failed.", "reason"
        )
        self.in_flight = gauge("in_flight", "Requests being worked on.")
        self.tasks_resident = gauge("tasks_resident", "Grafted and pre-trained tasks live here.")
        self.generation = gauge("generation", "Generation of the tasks this process serves.")
        self.ready = gauge("ready", "Workers that want traffic.")
        gauge("workers", "Worker processes that answer.").set(1)
        self._provider = gauge("provider", "1 for the provider that runs the graphs.", "provider")
        self._tasks: dict[str, Counter] = {}

    def request(self, route: str) -> Callable[[int, float], None]:
        """A recorder for one route: status and seconds. Look it up once, not per request."""
        latency = self._latency.labels(route)
        classes = {n: self._requests.labels(route, f"{n}xx") for n in range(1, 6)}

        def record(status: int, seconds: float) -> None:
            classes[status // 100].inc()
            latency.observe(seconds)

        return record

    def stage(self, stage: Stage) -> Timer:
        """Times a with-block, also one that raises."""
        return Timer(self._stage[stage])

    def scored(self, tasks: Sequence[str], rows: int, tier: str) -> None:
        """One score answer: its tasks, its rows and the tier of its history."""
        self._rows.inc(rows)
        self._degraded.labels(tier).inc()
        for task in tasks:
            # A task removed while this request ran has no series any more, and gets none.
            if (series := self._tasks.get(task)) is not None:
                series.inc(rows)

    def store_fault(self, reason: str) -> None:
        self._store_faults.labels(reason).inc()

    def grafted(self, seconds: float) -> None:
        self._grafts.labels("accepted", "").inc()
        self._graft_seconds.observe(seconds)

    def refused(self, reason: str) -> None:
        """A graft that changed nothing; the reason is one of the contract's or an error code."""
        self._grafts.labels("refused", reason).inc()

    def use_provider(self, provider: str) -> None:
        self._provider.labels(provider).set(1)

    def serve_tasks(self, names: Sequence[str], generation: int) -> None:
        """The live tasks are these now; the series of all others end."""
        for gone in self._tasks.keys() - set(names):
            del self._tasks[gone]
            self._task_rows.remove(gone)
        for name in names:
            if name not in self._tasks:
                self._tasks[name] = self._task_rows.labels(name)
        self.tasks_resident.set(len(names))
        self.generation.set(generation)

    @property
    def live_tasks(self) -> frozenset[str]:
        """Those that have series of their own."""
        return frozenset(self._tasks)

    def exposition(self, accept: str | None) -> tuple[bytes, str]:
        """The text a scraper reads, and its content type."""
        encode, content_type = choose_encoder(accept or "")
        return encode(self.registry), content_type

"""Every metric of the service: names, labels and help in one place.

    routes, scorer, registry, stores --observe, count, set--> Metrics --exposition--> /metrics

Labels are bounded: routes, stages, tiers and reasons come from code, task names and the versions
compared from the registry, never from what a caller typed. Event loop only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Self

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import choose_encoder

from service.counts import Counts
from service.drift import Figures, Pair
from service.drift_figures import DriftFigures
from service.durations import Durations
from service.errors import DeadlineExceeded, InvalidField
from service.score_spread import ScoreSpread
from service.task_figures import Outcome, TaskFigures
from service.timeline import STAGES, Stage, Timeline, request_timeline

_SECONDS = (
    0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5
)  # fmt: skip
_STAGE_SECONDS = (
    0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5
)  # fmt: skip


# Status, seconds, and the error's code if it was refused.
Recorder = Callable[[int, float, str | None], None]
Staged = Callable[[Stage, float, Timeline | None], None]  # Metrics.staged


class Timer:
    """Observes the seconds a with-block took, and notes them in the request's timeline."""

    __slots__ = ("_since", "_stage", "_staged")

    def __init__(self, stage: Stage, staged: Staged) -> None:
        self._stage = stage
        self._staged = staged

    def __enter__(self) -> None:
        self._since = time.perf_counter()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._staged(self._stage, self._since, request_timeline.get())


class Scoring:
    """Counts a with-block as one score request of the tasks that the block sets."""

    __slots__ = ("_count", "_since", "tasks")

    def __init__(self, count: Callable[[Sequence[str], BaseException | None, float], None]) -> None:
        self._count = count
        self.tasks: Sequence[str] = ()

    def __enter__(self) -> Self:
        self._since = time.perf_counter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._count(self.tasks, error, time.perf_counter() - self._since)


class Metrics:
    """One process's figures, in a registry of their own.

    Args:
        worker: which of the service's workers this is.
    """

    def __init__(self, worker: str = "0") -> None:
        self.registry = CollectorRegistry()
        self._task_figures = TaskFigures()
        self.registry.register(self._task_figures)
        self.spread = ScoreSpread()

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"taskgraft_{name}", text, labels, registry=self.registry)

        def counts(name: str, text: str, *labels: str) -> Counts:
            made = Counts(f"taskgraft_{name}", text, *labels)
            self.registry.register(made)
            return made

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"taskgraft_{name}", text, labels, registry=self.registry)

        text = "Requests answered, by route and status class."
        self._requests = counts("requests", text, "route", "status")
        self._refusals = counts(
            "refusals", "Answers from 400 up, by route and error code.", "route", "code"
        )
        self._latency = Durations(
            "taskgraft_request_seconds",
            "From the request's head to the answer's last byte.",
            "route",
            _SECONDS,
        )
        stages = Durations(
            "taskgraft_stage_seconds",
            "Time of one score request's stages.",
            "stage",
            _STAGE_SECONDS,
        )
        for durations in (self._latency, stages):
            self.registry.register(durations)
        self._stage = {stage: stages.of(stage) for stage in STAGES}
        self._rows = counts("scored_rows", "Candidates scored.").of()
        self._canaries_stopped = counter("canaries_stopped", "Canaries that a guard took away.")
        self._drift = DriftFigures()
        self.registry.register(self._drift)
        self._degraded = counts("degraded", "Score answers, by history tier.", "tier")
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
        self.generation = gauge("generation", "Generation of the tasks that all workers serve.")
        self._own_generation = gauge(
            "worker_generation", "Generation of the tasks that a worker serves.", "worker"
        ).labels(worker)
        self.ready = gauge("ready", "Workers that want traffic.")
        gauge("workers", "Worker processes that answer.").set(1)
        self._provider = gauge("provider", "1 for the provider that runs the graphs.", "provider")

    def request(self, route: str) -> Recorder:
        """A recorder for one route. Look it up once, not per request."""
        latency = self._latency.of(route)
        classes = {n: self._requests.of(route, f"{n}xx") for n in range(1, 6)}

        def record(status: int, seconds: float, code: str | None) -> None:
            classes[status // 100].add()
            latency.observe(seconds)
            if code is not None:
                self._refusals.of(route, code).add()

        return record

    def stage(self, stage: Stage) -> Timer:
        """Times a with-block, also one that raises."""
        return Timer(stage, self.staged)

    def staged(self, stage: Stage, since: float, timeline: Timeline | None) -> None:
        """A stage ends now; it is noted in its request's timeline as well."""
        until = time.perf_counter()
        self._stage[stage].observe(until - since)
        if timeline is not None:
            timeline.spans.append((stage, since, until))

    def scoring(self) -> Scoring:
        return Scoring(self.count)

    def count(self, tasks: Sequence[str], error: BaseException | None, seconds: float) -> None:
        """One score request of these tasks.

        A caller who left is nobody's failure and counts for no task.
        """
        if error is None or isinstance(error, Exception):
            self._task_figures.count(tasks, _outcome(error), seconds)

    def scored(self, tasks: Sequence[str], rows: int, tier: str) -> None:
        """One score answer: its tasks, its rows and the tier of its history."""
        self._rows.add(rows)
        self._degraded.of(tier).add()
        self._task_figures.add_rows(tasks, rows)

    def canaries_scored(self, tasks: Sequence[str], rows: int) -> None:
        """One score answer: the tasks whose canary gave it."""
        self._task_figures.add_canary_rows(tasks, rows)

    def canary_stopped(self) -> None:
        self._canaries_stopped.inc()

    def drifted(self, figures: Mapping[Pair, Figures]) -> None:
        """These versions are compared now; the series of all others end."""
        self._drift.tell(figures)

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
        """The live tasks are these now; the series of all others end. In one thread at a time."""
        self._task_figures.keep(names)
        self.spread.keep(names)
        self.tasks_resident.set(len(names))
        self.generation.set(generation)
        self._own_generation.set(generation)

    @property
    def live_tasks(self) -> frozenset[str]:
        """Those that have series of their own."""
        return self._task_figures.live

    def exposition(self, accept: str | None) -> tuple[bytes, str]:
        """The text a scraper reads, and its content type."""
        encode, content_type = choose_encoder(accept or "")
        return encode(self.registry), content_type


def _outcome(error: Exception | None) -> Outcome:
    match error:
        case None:
            return "scored"
        case DeadlineExceeded():
            return "late"
        case InvalidField():
            return "refused"
        case _:
            return "failed"

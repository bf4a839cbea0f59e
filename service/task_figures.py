"""What is counted per live task: requests by outcome, seconds and rows.

    Scorer --count, add_rows...--> TaskFigures --collect--> taskgraft_task_* series

A request counts for each of its tasks, and there may be dozens, so these are plain numbers and no
locked counters. The tasks of one request share its time, so a mean says all that a histogram per
task would. Event loop only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector

Outcome = Literal["scored", "refused", "late", "failed"]


class _Figures:
    """Of one task."""

    __slots__ = ("canary_rows", "outcomes", "rows", "seconds")

    def __init__(self) -> None:
        self.outcomes: dict[Outcome, int] = {"scored": 0}
        self.rows = 0
        self.canary_rows = 0
        self.seconds = 0.0


class TaskFigures(Collector):
    """The live tasks' figures; all others have none."""

    def __init__(self) -> None:
        self._of: dict[str, _Figures] = {}

    @property
    def live(self) -> frozenset[str]:
        return frozenset(self._of)

    def keep(self, names: Iterable[str]) -> None:
        """These are live now; what was counted of any other is dropped."""
        self._of = {name: self._of.get(name) or _Figures() for name in names}

    def count(self, names: Sequence[str], outcome: Outcome, seconds: float) -> None:
        """One request. A task removed while it ran has no figures any more, and gets none."""
        for name in names:
            if (figures := self._of.get(name)) is not None:
                figures.outcomes[outcome] = figures.outcomes.get(outcome, 0) + 1
                figures.seconds += seconds

    def add_rows(self, names: Sequence[str], rows: int) -> None:
        for name in names:
            if (figures := self._of.get(name)) is not None:
                figures.rows += rows

    def add_canary_rows(self, names: Sequence[str], rows: int) -> None:
        for name in names:
            if (figures := self._of.get(name)) is not None:
                figures.canary_rows += rows

    def collect(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "taskgraft_task_requests",
            "Score requests that asked for a task, by outcome: scored, refused (the caller's to "
            "mend), late (past the deadline), failed.",
            labels=["task", "outcome"],
        )
        seconds = SummaryMetricFamily(
            "taskgraft_task_request_seconds",
            "Time of the score requests that asked for a task, all outcomes.",
            labels=["task"],
        )
        rows = CounterMetricFamily(
            "taskgraft_task_scored_rows", "Candidates scored for a task.", labels=["task"]
        )
        canary_rows = CounterMetricFamily(
            "taskgraft_task_canary_rows",
            "Candidates that a task's canary answered; among its scored rows.",
            labels=["task"],
        )
        for name, figures in self._of.items():
            for outcome, count in figures.outcomes.items():
                requests.add_metric([name, outcome], count)
            seconds.add_metric([name], sum(figures.outcomes.values()), figures.seconds)
            rows.add_metric([name], figures.rows)
            canary_rows.add_metric([name], figures.canary_rows)
        yield from (requests, seconds, rows, canary_rows)

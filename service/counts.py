"""Counters at the price of one addition.

    every request --Count.add--> Counts --collect--> taskgraft_*_total, a counter

A locked counter that is found by its labels costs more than much of what it counts.
Event loop only.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector


class Count:
    """Of one set of labels."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0

    def add(self, more: int = 1) -> None:
        self.count += more


class Counts(Collector):
    """A counter by labels; one without labels is there from the start."""

    def __init__(self, name: str, text: str, *labels: str) -> None:
        self._name = name
        self._text = text
        self._labels = labels
        self._counts: dict[tuple[str, ...], Count] = {}
        if not labels:
            self.of()

    def of(self, *values: str) -> Count:
        """The count of these labels' values, made when it is first asked for."""
        found = self._counts.get(values)
        if found is None:
            found = self._counts[values] = Count()
        return found

    def collect(self) -> Iterator[Metric]:
        family = CounterMetricFamily(self._name, self._text, labels=self._labels)
        for values, one in self._counts.items():
            family.add_metric(values, one.count)
        yield family

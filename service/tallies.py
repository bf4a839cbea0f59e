"""Counters at the price of one addition.

    every request --Cell.add--> Tally --collect--> taskgraft_*_total, a counter

A locked counter that is found by its labels costs more than much of what it counts.
Event loop only.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector


class Cell:
    """Of one set of labels."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0

    def add(self, more: int = 1) -> None:
        self.count += more


class Tally(Collector):
    """A counter by labels; one without labels is there from the start."""

    def __init__(self, name: str, text: str, *labels: str) -> None:
        self._name = name
        self._text = text
        self._labels = labels
        self._cells: dict[tuple[str, ...], Cell] = {}
        if not labels:
            self.of()

    def of(self, *values: str) -> Cell:
        """The cell of these labels' values, made when it is first asked for."""
        cell = self._cells.get(values)
        if cell is None:
            cell = self._cells[values] = Cell()
        return cell

    def collect(self) -> Iterator[Metric]:
        family = CounterMetricFamily(self._name, self._text, labels=self._labels)
        for values, cell in self._cells.items():
            family.add_metric(values, cell.count)
        yield family

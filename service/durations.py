"""Seconds in buckets, counted at the price of one addition.

    every request --observe--> Series --Durations.collect--> taskgraft_*_seconds, a histogram

Six of them are counted for each request, and a locked histogram that looks for its bucket step by
step costs more than reading the request does. Event loop only.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from prometheus_client.metrics_core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


class Series:
    """Of one label."""

    __slots__ = ("_bounds", "counts", "seconds")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.seconds = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(self._bounds, seconds)] += 1
        self.seconds += seconds


class Durations(Collector):
    """A histogram with one label.

    Args:
        bounds: upper ends of the buckets in seconds, rising; the last, without an end, is added.
    """

    def __init__(self, name: str, text: str, label: str, bounds: Sequence[float]) -> None:
        self._name = name
        self._text = text
        self._label = label
        self._bounds = tuple(bounds)
        self._series: dict[str, Series] = {}

    def of(self, value: str) -> Series:
        """The series of a label's value, made when it is first asked for."""
        return self._series.setdefault(value, Series(self._bounds))

    def collect(self) -> Iterator[Metric]:
        family = HistogramMetricFamily(self._name, self._text, labels=[self._label])
        ends = [*map(floatToGoString, self._bounds), "+Inf"]
        for value, series in self._series.items():
            total, buckets = 0, []
            for end, count in zip(ends, series.counts, strict=True):
                total += count
                buckets.append((end, total))
            family.add_metric([value], buckets, series.seconds)
        yield family

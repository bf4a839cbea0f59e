"""The drift of compared versions, as a scraper reads it.

DriftWatch --tell--> DriftFigures --collect--> taskgraft_drift_* series; those of all others end
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from service.drift import Figures, Pair

_NONE: Mapping[Pair, Figures] = MappingProxyType({})
_HELP = {
    "psi": "Population stability index of a version's scores against the stable one's.",
    "overlap": "Share of a request's best items that a version and the stable one agree on.",
    "rows": "Candidates that a version and the stable one both scored.",
}
DRIFT_METRICS = frozenset(f"taskgraft_drift_{figure}" for figure in _HELP)


class DriftFigures(Collector):
    """Figures over all workers of all hosts, so each worker has the same."""

    def __init__(self) -> None:
        self._told = _NONE

    def tell(self, figures: Mapping[Pair, Figures]) -> None:
        self._told = figures

    def collect(self) -> Iterator[Metric]:
        for figure, text in _HELP.items():
            gauge = GaugeMetricFamily(f"taskgraft_drift_{figure}", text, labels=["task", "version"])
            for pair, figures in self._told.items():
                value = getattr(figures, figure)
                if value is not None:
                    gauge.add_metric([pair.task, str(pair.version)], value)
            yield gauge

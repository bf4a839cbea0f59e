"""docs/metrics.md lists every metric of the service, as it is."""

from __future__ import annotations

import re
from pathlib import Path

from service.drift import Figures, Pair
from service.metrics import Metrics
from service.timeline import STAGES

DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"
_ROW = re.compile(r"^\| `taskgraft_.*\|$", re.MULTILINE)


def used_in_every_way() -> Metrics:
    """A labelled metric tells its labels once it has been used."""
    metrics = Metrics()
    metrics.request("/v1/score")(429, 0.01, "overloaded")
    metrics.serve_tasks(["click"], 1)
    with metrics.scoring() as counted:
        counted.tasks = ["click"]
    metrics.scored(["click"], 5, "none")
    metrics.drifted({Pair("click", 2, since=6.0): Figures(1, 5, psi=0.1, overlap=0.9)})
    for stage in STAGES:
        with metrics.stage(stage):
            pass
    metrics.store_fault("wrong_width")
    metrics.grafted(0.01)
    metrics.use_provider("CPUExecutionProvider")
    return metrics


def rows(metrics: Metrics) -> list[str]:
    found = []
    for metric in metrics.registry.collect():
        labels = {label for sample in metric.samples for label in sample.labels} - {"le"}
        name = metric.name + ("_total" if metric.type == "counter" else "")
        told = ", ".join(f"`{label}`" for label in sorted(labels))
        found.append(f"| `{name}` | {metric.type} | {told} | {metric.documentation} |")
    return sorted(found)


def test_every_metric_is_in_the_document_with_its_labels_and_its_help() -> None:
    expected = rows(used_in_every_way())
    written = _ROW.findall(DOCUMENT.read_text(encoding="utf-8"))
    assert written == expected, "the table should be:\n" + "\n".join(expected)


def test_no_metric_is_without_samples() -> None:
    """Whatever is added to Metrics is to be used here, or its labels stay unknown."""
    assert [m.name for m in used_in_every_way().registry.collect() if not m.samples] == []

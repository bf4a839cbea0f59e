"""What `train`, `tune` and `evaluate` report, as pages.

BackboneReport --backbone_page--> HTML          PromptReport, ways --prompt_page--> HTML
Evaluation -----evaluation_page--> HTML
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from commands.report.charts import curve, reliability, whiskers, whiskers_axis
from commands.report.page import flat, render
from commands.report.scale import Scale
from training.compare import Comparison
from training.config import TaskConfig
from training.evaluate import Evaluation
from training.metrics import Bin, TaskMetrics
from training.mixer import Gate
from training.progress import EpochRecord
from training.report import BackboneReport, PromptReport

_PARTS = {
    "total": "everything that is minimised",
    "shared": "towers on the shared expert alone",
    "environment": "the environment classifier's",
    "hinge": "order along the funnel",
    "l2": "size of the weights",
}
_WITHOUT_GATES = {
    "shared_bottom": "all tasks read one shared bottom",
    "esmm": "each task has a tower of its own, joined by their product",
}


@dataclass(frozen=True, slots=True)
class Panel:
    """A chart with its title and one line about it."""

    title: str
    about: str
    chart: Markup


@dataclass(frozen=True, slots=True)
class Row:
    """A task's figures on one split."""

    task: str
    found: TaskMetrics
    chart: Markup
    valid: float | None = None


@dataclass(frozen=True, slots=True)
class Heat:
    """A Gate as a table; None where a reader cannot hear an expert."""

    name: str
    experts: tuple[str, ...]
    rows: tuple[tuple[str, tuple[float | None, ...]], ...]


def backbone_page(report: BackboneReport) -> str:
    """A trained backbone."""
    card = report.card
    rows, axis = _results(card.metrics.get("test", {}), card.metrics.get("valid", {}))
    history = card.history
    config = card.config
    return render(
        "training.html",
        card=card,
        config=config,
        rows=rows,
        axis=axis,
        best=_best(history),
        seconds=sum(record.seconds for record in history),
        rate=sum(r.rows_per_s for r in history) / len(history) if history else None,
        curves=[(task, _task_panels(history, task, f"task:{task}")) for task in card.tasks],
        losses=_loss_panels(history),
        calibration=_calibration(report.reliability, card.metrics.get("test", {})),
        gates=[_heat(gate) for gate in report.gates],
        without_gates=_WITHOUT_GATES.get(config.model.mixer, "this mixer has none"),
        environments=list(_environment_panels(history, card.tasks)),
        data=report.data,
        tasks=config.tasks,
        features=config.features,
        settings=_settings(config.model_dump(mode="json", exclude={"tasks", "features"})),
    )


def prompt_page(report: PromptReport, ways: Sequence[Comparison] = ()) -> str:
    """A tuned prompt."""
    card = report.card
    measured = {split: {card.task: found} for split, found in card.metrics.items()}
    rows, axis = _results(measured.get("test", {}), measured.get("valid", {}))
    history = card.history
    task = TaskConfig(name=card.task, label=card.label, new=True)
    return render(
        "tuning.html",
        card=card,
        backbone=report.backbone,
        rows=rows,
        axis=axis,
        best=_best(history),
        curves=[(card.task, _task_panels(history, card.task, "task"))],
        losses=_loss_panels(history),
        calibration=_calibration(report.reliability, measured.get("test", {})),
        attention=report.attention,
        ways=ways,
        data=report.data,
        tasks=(task,),
        settings=_settings({"tune": card.config.model_dump(mode="json")}),
    )


def evaluation_page(
    title: str, facts: Mapping[str, str], split: str, evaluation: Evaluation
) -> str:
    """What was measured of a backbone, a prompt or a bundle on one split."""
    rows, axis = _results(evaluation.metrics, {})
    return render(
        "evaluation.html",
        title=title,
        facts=facts,
        split=split,
        rows=rows,
        axis=axis,
        calibration=_calibration(evaluation.reliability, evaluation.metrics),
    )


def _results(
    measured: Mapping[str, TaskMetrics], valid: Mapping[str, TaskMetrics]
) -> tuple[list[Row], Markup]:
    """A row per task, and the axis above their intervals."""
    ends = [end for found in measured.values() for end in (found.auc, *(found.auc_interval or ()))]
    scale = Scale.around([end for end in ends if end is not None] or [0.5, 1.0])
    rows = [
        Row(
            task,
            found,
            whiskers(found.auc, found.auc_interval, scale, f"AUC of {task} with its interval"),
            valid[task].auc if task in valid else None,
        )
        for task, found in measured.items()
    ]
    return rows, whiskers_axis(scale)


def _best(history: Sequence[EpochRecord]) -> int | None:
    """The epoch whose weights were kept."""
    return max((record.epoch for record in history if record.best), default=None)


def _task_panels(history: Sequence[EpochRecord], task: str, part: str) -> list[Panel]:
    """Training loss and validation AUC of one task."""
    if not history:
        return []
    best = _best(history)
    losses = [record.losses.get(part) for record in history]
    auc = [record.auc.get(task) for record in history]
    return [
        Panel("loss", "training rows", curve(losses, best, f"training loss of {task} by epoch")),
        Panel("AUC", "validation rows", curve(auc, best, f"validation AUC of {task} by epoch")),
    ]


def _loss_panels(history: Sequence[EpochRecord]) -> list[Panel]:
    """The parts of the loss that are no task's own, where they are not always zero."""
    panels = []
    for part, about in _PARTS.items():
        values = [record.losses.get(part) for record in history]
        if any(values):
            chart = curve(values, _best(history), f"{part} loss by epoch")
            panels.append(Panel(part, about, chart))
    return panels


def _environment_panels(history: Sequence[EpochRecord], tasks: Sequence[str]) -> Iterator[Panel]:
    """The share of training rows that each task was found easiest for."""
    played = [record for record in history if record.environments]
    shares = [[rows / max(sum(r.environments), 1) for rows in r.environments] for r in played]
    scale = Scale.around([0.0, *(share for epoch in shares for share in epoch)])
    for at, task in enumerate(tasks if played else ()):
        about = f"{played[-1].environments[at]:,} rows at the end"
        drawn = curve([s[at] for s in shares], None, f"share of environment {task} by epoch", scale)
        yield Panel(task, about, drawn)


def _calibration(
    found: Mapping[str, Sequence[Bin]], measured: Mapping[str, TaskMetrics]
) -> list[tuple[Panel, Sequence[Bin]]]:
    panels = []
    for task, bins in found.items():
        error = measured[task].calibration_error if task in measured else None
        about = "-" if error is None else f"mean distance {error:.4f}"
        chart = reliability(bins, f"predicted against observed share of {task}")
        panels.append((Panel(task, about, chart), bins))
    return panels


def _heat(gate: Gate) -> Heat:
    values = [
        tuple(None if math.isnan(weight) else weight for weight in row)
        for row in gate.weights.tolist()
    ]
    return Heat(gate.name, gate.experts, tuple(zip(gate.readers, values, strict=True)))


def _settings(sections: Mapping[str, object]) -> dict[str, dict[str, str]]:
    """Section by section; what stands outside of one comes first."""
    plain = {name: v for name, v in sections.items() if not isinstance(v, Mapping)}
    made = {"": flat({name: v for name, v in plain.items() if v is not None})}
    for name, values in sections.items():
        if isinstance(values, Mapping):
            made[name] = flat(values)
    return {name: values for name, values in made.items() if values}

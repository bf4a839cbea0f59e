"""One run of the quality benchmark, in whatever process it is started.

Plan, Cell, trial, seed --fit_cell--> FitRecord      --graft_cell--> GraftRecord

Data sets are prepared once per process. Errors are those of training.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from benchmarks.quality_plan import Cell, Plan, base_config, read_plan
from benchmarks.quality_records import FitRecord, GraftRecord, TaskFigures, WayFigures
from training.compare import Comparison, compare
from training.config import TaskConfig, TrainConfig
from training.dataset import Prepared, prepare
from training.evaluate import predict
from training.fit import FitResult, fit
from training.metrics import Resampling, auc_draws, measure
from training.tune import full_parameters

DRAWS = 200
_SINGLE = "single"


@dataclass(frozen=True, slots=True)
class Job:
    """What to run, as plain values: it crosses to another process."""

    plan: Path
    folder: Path
    cell: Cell
    trial: int
    seed: int

    def run(self) -> FitRecord | GraftRecord:
        """Run it here, on one thread."""
        torch.set_num_threads(1)
        return graft_cell(self) if self.cell.new else fit_cell(self)

    @property
    def digest(self) -> str:
        """Of the settings it runs with."""
        return _plan(self.plan).digest(self.cell, self.trial, self.seed)

    @property
    def key(self) -> str:
        """The key of the record it will give."""
        cell = self.cell
        if cell.new:
            return f"graft/{cell.data}/{cell.model}/{cell.new}/{self.seed}"
        return f"fit/{cell.data}/{cell.model}/{self.trial}/{self.seed}"


@cache
def _plan(path: Path) -> Plan:
    return read_plan(path)


@cache
def _prepared(plan: Path, data: str, folder: Path) -> Prepared:
    return prepare(base_config(_plan(plan).data[data]), folder)


def fit_cell(job: Job) -> FitRecord:
    """Train a model from the start, or one per task for "single"."""
    plan, cell = _plan(job.plan), job.cell
    prepared = _prepared(job.plan, cell.data, job.folder)
    sets = [(task,) for task in cell.tasks] if cell.model == _SINGLE else [cell.tasks]
    runs: list[FitResult] = []
    test: dict[str, TaskFigures] = {}
    for tasks in sets:
        config = plan.config(Cell(cell.data, cell.model, tasks), job.trial, job.seed)
        with tempfile.TemporaryDirectory() as folder:
            result = fit(config, prepared, run_dir=Path(folder))
            test |= task_figures(result, prepared)
        runs.append(result)
    return FitRecord(
        data=cell.data,
        model=cell.model,
        trial=job.trial,
        seed=job.seed,
        score=sum(max(record.score for record in run.checkpoint.card.history) for run in runs),
        test=test,
        parameters=sum(run.checkpoint.card.parameters for run in runs),
        seconds=sum(run.seconds for run in runs),
        epochs=sum(run.epochs for run in runs),
        rows_per_s=sum(run.rows_per_s for run in runs) / len(runs),
        digest=job.digest,
    )


def task_figures(result: FitResult, prepared: Prepared) -> dict[str, TaskFigures]:
    """Every learned task on the test rows."""
    tasks, test = result.checkpoint.card.tasks, prepared.test
    scores = predict(result.checkpoint.model, test, tasks).logits.double().sigmoid().numpy()
    figures = {}
    users = test.users.numpy() if len(torch.unique(test.users)) > 1 else None
    for place, task in enumerate(tasks):
        column = test.tasks.index(task)
        labels, known = test.labels[:, column].numpy(), test.mask[:, column].numpy()
        found = measure(labels, scores[:, place], known, users)
        owner = None if users is None else users[known]
        resampling = Resampling(resamples=DRAWS)
        draws = auc_draws(labels[known], [scores[known, place]], owner, resampling)[0]
        figures[task] = TaskFigures(
            auc=found.auc or 0.0,
            gauc=found.gauc if users is not None else None,
            logloss=found.logloss or 0.0,
            calibration_error=found.calibration_error or 0.0,
            rows=found.rows,
            positives=found.positives,
            draws=() if draws is None else tuple(round(float(draw), 6) for draw in draws),
        )
    return figures


def graft_cell(job: Job) -> GraftRecord:
    """Train a backbone without the new task, then learn the task in every way."""
    plan, cell = _plan(job.plan), job.cell
    new = cell.new or ""
    prepared = _prepared(job.plan, cell.data, job.folder)
    config = plan.config(cell, job.trial, job.seed)
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder)
        backbone = fit(config, prepared, run_dir=run_dir / "backbone").checkpoint
        found = compare(backbone, config, prepared, _named(config, new), run_dir=run_dir)
    return GraftRecord(
        data=cell.data,
        model=cell.model,
        task=new,
        trial=job.trial,
        seed=job.seed,
        backbone_parameters=backbone.card.parameters,
        backbone_test={task: m.auc or 0.0 for task, m in backbone.card.metrics["test"].items()},
        full=full_parameters(backbone, new),
        ways={way.way: _way(way) for way in found},
        digest=job.digest,
    )


def _named(config: TrainConfig, name: str) -> TaskConfig:
    return next(task for task in config.tasks if task.name == name)


def _way(found: Comparison) -> WayFigures:
    metrics = found.metrics
    return WayFigures(
        auc=metrics.auc or 0.0,
        interval=metrics.auc_interval,
        gauc=metrics.gauc,
        logloss=metrics.logloss or 0.0,
        parameters=found.parameters,
        seconds=found.processor_s,
        against_joint=found.against_joint,
        old_tasks=found.old_tasks,
    )

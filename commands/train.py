"""`taskgraft train`, `evaluate` and `tune`: logs to a backbone, a backbone to figures, to a prompt.

config, log --train--> runs/NAME/backbone/      backbone, new task --tune--> runs/NAME/prompts/TASK/

Each leaves a report beside what it wrote or measured: FOLDER.html, FOLDER-SPLIT.html.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rich.table import Table

from commands.configuration import find_task, load_config
from commands.failures import Misuse
from commands.report.page import beside, save
from commands.report.run_pages import backbone_page, evaluation_page, prompt_page
from commands.screen import Screen, interval, pairs, table
from training.checkpoint import Checkpoint, read_checkpoint, read_prompt, write_prompt
from training.compare import Comparison
from training.compare import compare as compare_ways
from training.dataset import Dataset, prepare
from training.evaluate import Evaluation, examined, predict
from training.fit import FitResult, fit
from training.metrics import Resampling, TaskMetrics
from training.report import backbone_report, prompt_report
from training.tune import TuneResult
from training.tune import tune as tune_prompt

SPLITS = ("valid", "test")


def train(
    screen: Screen,
    given: str,
    data_dir: Path,
    run: tuple[Path | None, int | None],
    *,
    resume: bool,
) -> None:
    """Stage 1. run: the folder (runs/NAME if None) and a seed instead of the configuration's."""
    run_dir, seed = run
    config = load_config(given, seed)
    folder = run_dir or Path("runs") / config.name
    prepared = prepare(config, data_dir)
    with screen.watching() as watcher:
        result = fit(config, prepared, run_dir=folder, progress=watcher, resume=resume)
    page = backbone_page(backbone_report(result.checkpoint, prepared))
    report = save(screen, beside(result.path), page)
    screen.show(_fit_document(result) | {"report": report}, *fit_tables(result))
    tell(screen, report)
    screen.note(f"next: taskgraft export {result.path} {folder / 'bundle'}")


def tell(screen: Screen, report: Path | None) -> None:
    """Where the report is, if it could be written."""
    if report is not None:
        screen.note(f"report: {report}")


def fit_tables(result: FitResult) -> tuple[Table, ...]:
    card = result.checkpoint.card
    facts = {
        "parameters": card.parameters,
        "epochs (best)": f"{result.epochs} ({result.best_epoch})",
        "seconds": result.seconds,
        "rows/s": round(result.rows_per_s),
        "fingerprint": card.fingerprint[:12],
    }
    title = f"{card.config.name}: trained, {result.path}"
    return pairs(title, facts), metrics_table("On the test rows", card.metrics["test"])


def _fit_document(result: FitResult) -> dict[str, object]:
    card = result.checkpoint.card
    return {
        "checkpoint": result.path,
        "fingerprint": card.fingerprint,
        "parameters": card.parameters,
        "epochs": result.epochs,
        "best_epoch": result.best_epoch,
        "seconds": result.seconds,
        "rows_per_s": result.rows_per_s,
        "metrics": card.metrics,
    }


def evaluate(
    screen: Screen, folder: Path, data_dir: Path, split: str, prompt_dir: Path | None
) -> None:
    """A checkpoint's figures on one split, or a prompt's as they were when it was tuned."""
    if split not in SPLITS:
        raise Misuse(f"split {split!r}; expected one of {', '.join(SPLITS)}")
    checkpoint = read_checkpoint(folder)
    title, facts = checkpoint.card.config.name, {"backbone": checkpoint.card.fingerprint}
    if prompt_dir is not None:
        card = read_prompt(prompt_dir, checkpoint).card
        found = Evaluation({card.task: card.metrics["valid" if split == "valid" else "test"]}, {})
        title, facts = card.task, facts | {"prompt": card.fingerprint}
    else:
        prepared = prepare(checkpoint.card.config, data_dir, checkpoint.lookups)
        found = _measured(checkpoint, prepared.valid if split == "valid" else prepared.test)
    page = evaluation_page(title, facts, split, found)
    report = save(screen, beside(prompt_dir or folder, f"-{split}"), page)
    document = {"split": split, "metrics": found.metrics, "report": report}
    screen.show(document, metrics_table(f"On the {split} rows", found.metrics))
    tell(screen, report)


def _measured(checkpoint: Checkpoint, dataset: Dataset) -> Evaluation:
    tasks = checkpoint.card.tasks
    logits = predict(checkpoint.model, dataset, tasks).logits
    return examined(logits.double().sigmoid().numpy(), dataset, tasks, Resampling())


def tune(
    screen: Screen,
    folder: Path,
    wanted: tuple[str | None, str | None],
    places: tuple[Path, Path | None],
    *,
    compare: bool,
) -> None:
    """Stage 2.

    Args:
        screen: where the result goes.
        folder: of the backbone.
        wanted: the configuration (the backbone's if None) and the new task (the only one if None).
        places: the data folder, and where the prompt goes (beside the backbone if None).
        compare: learn the task in every other way too.
    """
    given, task_name = wanted
    data_dir, out = places
    checkpoint = read_checkpoint(folder)
    config = checkpoint.card.config if given is None else load_config(given)
    task = find_task(config, task_name)
    target = out or folder.parent / "prompts" / task.name
    prepared = prepare(config, data_dir, checkpoint.lookups)
    with screen.watching() as watcher:
        result = tune_prompt(checkpoint, prepared, task, config.tune, progress=watcher)
        written = write_prompt(target, result.prompt)
        ways = []
        if compare:
            run_dir = folder.parent / "compare" / task.name
            ways = compare_ways(
                checkpoint, config, prepared, task, run_dir=run_dir, progress=watcher
            )
    page = prompt_page(prompt_report(checkpoint, written, prepared), ways)
    report = save(screen, beside(target), page)
    document = _tune_document(result, target) | ({"compare": ways} if compare else {})
    document["report"] = report
    tables = tune_tables(result, target)
    screen.show(document, *tables, *([ways_table(ways)] if compare else []))
    tell(screen, report)
    bundle = folder.parent / "bundle"
    screen.note(f"next: taskgraft export {folder} {bundle} --prompt {target}")


def tune_tables(result: TuneResult, target: Path) -> tuple[Table, ...]:
    card = result.prompt.card
    facts = {
        "parameters trained": f"{card.parameters:,} ({card.share:.1%} of a model with the task)",
        "epochs (best)": f"{result.epochs} ({result.best_epoch})",
        "seconds": result.seconds,
        "old predictions compared": f"{result.compared:,}, all bit-equal",
    }
    measured = metrics_table("On the test rows", {card.task: card.metrics["test"]})
    return pairs(f"{card.task}: tuned, {target}", facts), measured


def _tune_document(result: TuneResult, target: Path) -> dict[str, object]:
    card = result.prompt.card
    return {
        "prompt": target,
        "task": card.task,
        "backbone": card.parent,
        "parameters": card.parameters,
        "share": card.share,
        "epochs": result.epochs,
        "best_epoch": result.best_epoch,
        "seconds": result.seconds,
        "compared": result.compared,
        "metrics": card.metrics,
    }


def metrics_table(title: str, measured: Mapping[str, TaskMetrics]) -> Table:
    """The test or validation figures of several tasks."""
    rows = []
    for task, found in measured.items():
        share = f"{found.positives / found.rows:.1%}" if found.rows else "-"
        figures = (found.auc, interval(found.auc_interval), found.gauc, found.logloss)
        rows.append((task, found.rows, share, *figures, found.calibration_error))
    columns = ("task", "rows", "positive", "AUC", "95 %", "gAUC", "log loss", "ECE")
    return table(title, columns, rows)


def ways_table(ways: list[Comparison]) -> Table:
    rows = []
    for way in ways:
        low, high = way.against_joint or (None, None)
        against = "-" if way.against_joint is None else f"{low:+.4f} to {high:+.4f}"
        rows.append((way.way, way.metrics.auc, against, way.parameters, f"{way.seconds:.1f} s"))
    columns = ("way", "AUC", "AUC - joint's, 95 %", "parameters", "time")
    return table("The new task, learned in every way", columns, rows)

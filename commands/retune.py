"""`taskgraft tune --all-tasks`: every task known from earlier, on a new backbone.

new tasks of the configuration, prompts tuned before --known--> tasks, each as it was tuned
backbone, bundle, log --tune_all--> OUT/TASK/, OUT/TASK.safetensors, OUT/report.json
                           └--> CommandError, after all others are done: which tasks failed
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.table import Table

from commands.configuration import load_config
from commands.failures import CommandError, Misuse
from commands.screen import Screen, Watcher, table
from contract.bundle import Bundle, open_bundle
from contract.errors import PromptMisfit
from contract.prompt import read_prompt
from export.errors import ExportError
from export.prompt import export_prompt
from training.checkpoint import Checkpoint, read_checkpoint, read_prompt_card, write_prompt
from training.config import TaskConfig, TrainConfig, TuneConfig
from training.dataset import Prepared, prepare
from training.errors import TrainingError
from training.tune import tune

REPORT_FILE = "report.json"


@dataclass(frozen=True, slots=True)
class Known:
    """A task and how it is tuned; auc_before on the test rows of its own day."""

    task: TaskConfig
    config: TuneConfig
    auc_before: float | None = None


@dataclass(frozen=True, slots=True)
class Retuned:
    """What became of a task: a prompt file, or the reason why there is none."""

    task: str
    file: str | None = None
    sha256: str | None = None
    auc: float | None = None
    auc_before: float | None = None
    parameters: int | None = None
    seconds: float | None = None
    failed: str | None = None


def tune_all(
    screen: Screen,
    folder: Path,
    known_from: tuple[str | None, Path | None],
    places: tuple[Path, Path | None, Path | None],
) -> None:
    """Tune and export all of them.

    Args:
        screen: where the report goes.
        folder: of the new backbone.
        known_from: the configuration (the backbone's if None), and a folder of prompts that were
            tuned on an earlier backbone.
        places: the data folder, where the prompts go and the bundle (beside the backbone if None).
    """
    given, earlier = known_from
    data_dir, out, bundle = places
    out, bundle = out or folder.parent / "prompts", bundle or folder.parent / "bundle"
    if not (bundle / "manifest.json").is_file():
        raise Misuse(f"{bundle} is no bundle: taskgraft export {folder} {bundle} first")
    checkpoint = read_checkpoint(folder)
    config = checkpoint.card.config if given is None else load_config(given)
    tasks = known(config, earlier)
    heads = [name for name in tasks if name in checkpoint.card.tasks]
    wanted = [found for name, found in tasks.items() if name not in heads]
    if not wanted:
        raise Misuse("no new task is known: name them in the configuration, or give --from")
    for found in wanted:
        config = config.with_new_task(found.task.name, found.task.label)
    prepared = prepare(config, data_dir, checkpoint.lookups)
    opened = open_bundle(bundle)
    out.mkdir(parents=True, exist_ok=True)
    with screen.watching(epochs=False) as watcher:
        done = [_retune(checkpoint, prepared, found, (out, opened), watcher) for found in wanted]
    document = {
        "backbone": checkpoint.card.fingerprint,
        "bundle": bundle.as_posix(),
        "heads": heads,
        "tasks": [asdict(one) for one in done],
    }
    (out / REPORT_FILE).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    screen.show(document, _table(checkpoint, done))
    if failed := [one.task for one in done if one.failed]:
        raise CommandError(
            f"{', '.join(failed)} could not be tuned, see {out / REPORT_FILE}; an upgrade without "
            "must drop what is live of them"
        )
    files = " ".join(str(one.file) for one in done)
    screen.note(f"next: taskgraft upgrade {bundle} {files}")


def known(config: TrainConfig, earlier: Path | None) -> dict[str, Known]:
    """By name: the configuration's new tasks, and over them those that earlier holds prompts of."""
    found = {task.name: Known(task, config.tune) for task in config.tasks if task.new}
    if earlier is None:
        return found
    cards = [read_prompt_card(path.parent) for path in sorted(earlier.glob("*/prompt.json"))]
    if not cards:
        raise Misuse(f"{earlier} holds no prompt: give the folder above those that tune wrote")
    for card in cards:
        task = TaskConfig(name=card.task, label=card.label, new=True)
        before = card.metrics["test"].auc if "test" in card.metrics else None
        found[card.task] = Known(task, card.config, before)
    return found


def _retune(
    checkpoint: Checkpoint,
    prepared: Prepared,
    found: Known,
    places: tuple[Path, Bundle],
    watcher: Watcher,
) -> Retuned:
    """One task; a failure of its own keeps no other back."""
    out, bundle = places
    name = found.task.name
    try:
        result = tune(checkpoint, prepared, found.task, found.config, progress=watcher)
        prompt = write_prompt(out / name, result.prompt)
        data = export_prompt(checkpoint, prompt, prepared.test, bundle)
    except (TrainingError, ExportError, PromptMisfit) as err:
        return Retuned(name, auc_before=found.auc_before, failed=str(err))
    file = out / f"{name}.safetensors"
    file.write_bytes(data)
    card = prompt.card
    return Retuned(
        name,
        file.as_posix(),
        read_prompt(data).sha256,
        card.metrics["test"].auc,
        found.auc_before,
        card.parameters,
        result.seconds,
    )


def _table(checkpoint: Checkpoint, done: list[Retuned]) -> Table:
    rows = [
        (one.task, one.auc, one.auc_before, one.parameters, one.seconds, one.failed or one.file)
        for one in done
    ]
    title = f"Tuned on backbone {checkpoint.card.fingerprint[:12]}"
    columns = ("task", "AUC", "AUC before", "parameters", "seconds", "file")
    return table(title, columns, rows)

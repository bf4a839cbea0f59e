"""`taskgraft export`: a checkpoint to a bundle, a tuned prompt to the file that is grafted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rich.table import Table

from commands.bundle_view import stored_bytes
from commands.configuration import load_config
from commands.screen import Screen, pairs, table
from contract.prompt import Scalar
from contract.prompt import read_prompt as read_prompt_file
from export.bundle import ExportOptions, ExportResult, export_bundle
from export.prompt import export_prompt
from training.calibration import Platt, calibrated, calibrated_prompt
from training.checkpoint import read_checkpoint, read_prompt
from training.dataset import prepare
from training.metrics import TaskMetrics


def export(
    screen: Screen,
    folder: Path,
    bundle: Path,
    data_dir: Path,
    *,
    calibrate: bool = False,
    given: str | None = None,
) -> None:
    """Write a bundle; it appears only after its graphs scored like PyTorch.

    given: the configuration that its prompts will be tuned by (the backbone's if None).
    """
    checkpoint = read_checkpoint(folder)
    prepared = prepare(checkpoint.card.config, data_dir, checkpoint.lookups)
    before, found = checkpoint.card.metrics["test"], dict[str, Platt]()
    if calibrate:
        checkpoint, found = calibrated(checkpoint, prepared)
    prompts = None if given is None else load_config(given).tune
    options = ExportOptions(prompts=prompts, provenance=_told(found))
    result = export_bundle(checkpoint, prepared.valid, bundle, options)
    after = checkpoint.card.metrics["test"]
    document = {
        "bundle": bundle,
        "fingerprint": result.manifest.fingerprint,
        "parity": result.parity,
        "seconds": result.seconds,
        "files": result.manifest.files,
        **calibration_document(found, before, after),
    }
    tables = bundle_tables(result) + calibration_tables(found, before, after)
    screen.show(document, *tables)
    screen.note(f"next: taskgraft serve {bundle}")


def bundle_tables(result: ExportResult) -> tuple[Table, ...]:
    manifest = result.manifest
    graphs = [manifest.backbone, *(task.graph for task in manifest.tasks), manifest.prompt_head]
    rows = []
    for graph in graphs:
        size_bytes = stored_bytes(manifest, graph)
        ends = ", ".join(spec.name for spec in graph.outputs)
        rows.append((graph.file, f"{size_bytes / 1e3:,.0f} kB", len(graph.inputs), ends))
    facts = {
        "fingerprint": manifest.fingerprint[:12],
        "away from PyTorch": f"{result.parity:.1e}, at most {manifest.tolerance:.0e}",
        "seconds": result.seconds,
    }
    return (
        pairs(f"{manifest.name}: exported, {result.folder}", facts),
        table("Graphs", ("file", "with weights", "inputs", "gives"), rows),
    )


def calibration_tables(
    found: Mapping[str, Platt],
    before: Mapping[str, TaskMetrics],
    after: Mapping[str, TaskMetrics],
) -> tuple[Table, ...]:
    """The calibration error on the test rows; none where nothing was calibrated."""
    if not found:
        return ()
    rows = [
        (t, p.scale, p.offset, before[t].calibration_error, after[t].calibration_error)
        for t, p in found.items()
    ]
    columns = ("task", "scale", "offset", "ECE before", "ECE after")
    return (table("Calibration, on the test rows", columns, rows),)


def calibration_document(
    found: Mapping[str, Platt],
    before: Mapping[str, TaskMetrics],
    after: Mapping[str, TaskMetrics],
) -> dict[str, object]:
    """What calibration_tables shows, for programs."""
    if not found:
        return {}
    errors = {
        task: {
            "scale": platt.scale,
            "offset": platt.offset,
            "before": before[task].calibration_error,
            "after": after[task].calibration_error,
        }
        for task, platt in found.items()
    }
    return {"calibration": errors}


def _told(found: Mapping[str, Platt]) -> dict[str, Scalar]:
    """For the provenance of what was exported."""
    return {f"calibrated {t}": f"{p.scale:.6g} x logit + {p.offset:.6g}" for t, p in found.items()}


def prompt(
    screen: Screen,
    folder: Path,
    bundle: Path,
    prompt_dir: Path,
    places: tuple[Path, Path | None],
    *,
    calibrate: bool = False,
) -> None:
    """Write a prompt file. places: the data folder, and the file (beside prompt_dir if None)."""
    data_dir, out = places
    checkpoint = read_checkpoint(folder)
    tuned = read_prompt(prompt_dir, checkpoint)
    task, before = tuned.card.task, {tuned.card.task: tuned.card.metrics["test"]}
    config, found = checkpoint.card.config, dict[str, Platt]()
    if calibrate:
        config = config.with_new_task(task, tuned.card.label)
    prepared = prepare(config, data_dir, checkpoint.lookups)
    if calibrate:
        tuned, found[task] = calibrated_prompt(checkpoint, tuned, prepared)
    data = export_prompt(checkpoint, tuned, prepared.test, bundle, _told(found))
    target = out or prompt_dir.parent / f"{task}.safetensors"
    target.write_bytes(data)
    facts = {
        "task": task,
        "size": f"{len(data) / 1e3:.1f} kB",
        "sha256": read_prompt_file(data).sha256,
    }
    after = {task: tuned.card.metrics["test"]}
    document = {"file": target, "bytes": len(data), **facts}
    document |= calibration_document(found, before, after)
    made = pairs(f"exported, {target}", facts)
    screen.show(document, made, *calibration_tables(found, before, after))
    screen.note(f"next: taskgraft tasks graft {task} {target}")

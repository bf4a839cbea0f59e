"""`taskgraft export`: a checkpoint to a bundle, a tuned prompt to the file that is grafted."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from commands.screen import Screen, pairs, table
from contract.prompt import read_prompt as read_prompt_file
from export.bundle import ExportResult, export_bundle
from export.prompt import export_prompt
from training.checkpoint import read_checkpoint, read_prompt
from training.dataset import prepare


def export(screen: Screen, folder: Path, bundle: Path, data_dir: Path) -> None:
    """Write a bundle; it appears only after its graphs scored like PyTorch."""
    checkpoint = read_checkpoint(folder)
    prepared = prepare(checkpoint.card.config, data_dir, checkpoint.lookups)
    result = export_bundle(checkpoint, prepared.test, bundle)
    document = {
        "bundle": bundle,
        "fingerprint": result.manifest.fingerprint,
        "parity": result.parity,
        "seconds": result.seconds,
        "files": result.manifest.files,
    }
    screen.show(document, *bundle_tables(result))
    screen.note(f"next: taskgraft serve {bundle}")


def bundle_tables(result: ExportResult) -> tuple[Table, ...]:
    manifest = result.manifest
    graphs = [manifest.backbone, *(task.graph for task in manifest.tasks), manifest.prompt_head]
    rows = []
    for graph in graphs:
        weights = Path(graph.file).with_suffix(".weights").as_posix()
        found = [manifest.files[name] for name in (graph.file, weights) if name in manifest.files]
        size_bytes = sum(entry.size_bytes for entry in found)
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


def prompt(
    screen: Screen, folder: Path, bundle: Path, prompt_dir: Path, places: tuple[Path, Path | None]
) -> None:
    """Write a prompt file. places: the data folder, and the file (beside prompt_dir if None)."""
    data_dir, out = places
    checkpoint = read_checkpoint(folder)
    tuned = read_prompt(prompt_dir, checkpoint)
    prepared = prepare(checkpoint.card.config, data_dir, checkpoint.lookups)
    data = export_prompt(checkpoint, tuned, prepared.test, bundle)
    task = tuned.card.task
    target = out or prompt_dir.parent / f"{task}.safetensors"
    target.write_bytes(data)
    facts = {
        "task": task,
        "size": f"{len(data) / 1e3:.1f} kB",
        "sha256": read_prompt_file(data).sha256,
    }
    screen.show({"file": target, "bytes": len(data), **facts}, pairs(f"exported, {target}", facts))
    screen.note(f"next: taskgraft tasks graft {task} {target}")

"""`taskgraft inspect`: what a bundle or a prompt file says of itself, every byte checked."""

from __future__ import annotations

from pathlib import Path

from commands.screen import Screen, pairs, table
from contract.bundle import open_bundle
from contract.prompt import read_prompt


def inspect(screen: Screen, path: Path) -> None:
    """Show a bundle (a folder) or a prompt (a file)."""
    if path.is_dir():
        _bundle(screen, path)
    else:
        _prompt(screen, path)


def _bundle(screen: Screen, folder: Path) -> None:
    opened = open_bundle(folder)
    manifest, lookups = opened.manifest, opened.lookups
    schema = lookups.schema
    facts = {
        "fingerprint": manifest.fingerprint,
        "schema": manifest.schema_digest,
        "backbone parameters": manifest.backbone_parameters,
        "items": len(lookups.items),
        "embedding rows": manifest.table_rows,
        "behaviours": ", ".join(schema.behaviours) or "none",
        "history length": schema.history_length,
        "files": len(manifest.files),
        "size": f"{sum(f.size_bytes for f in manifest.files.values()) / 1e6:.1f} MB",
        **manifest.provenance,
    }
    columns = ("task", "test AUC", "graph")
    tasks = [(task.name, task.metrics.get("auc"), task.graph.file) for task in manifest.tasks]
    fields = [(f.name, f.side, f.kind) for f in schema.fields]
    screen.show(
        {"kind": "bundle", "manifest": manifest, "schema": schema},
        pairs(f"bundle {manifest.name}: every file is the one that was exported", facts),
        table("Tasks", columns, tasks),
        table("Fields", ("field", "side", "kind"), fields),
    )


def _prompt(screen: Screen, path: Path) -> None:
    found = read_prompt(path.read_bytes())
    header = found.header
    facts = {
        "backbone": header.backbone,
        "schema": header.schema_digest,
        "sha256": found.sha256,
        "size": f"{found.size_bytes / 1e3:.1f} kB",
        "parameters trained": header.trained_parameters,
        "golden rows": len(found.golden_scores),
        **header.provenance,
    }
    tensors = [(name, array.dtype.name, str(array.shape)) for name, array in found.tensors.items()]
    document = {
        "kind": "prompt",
        "header": header,
        "sha256": found.sha256,
        "size_bytes": found.size_bytes,
        "tensors": {name: list(array.shape) for name, array in found.tensors.items()},
    }
    screen.show(
        document,
        pairs(f"prompt for task {header.task}: whole and unaltered", facts),
        table("Figures when it was tuned", ("what", "value"), list(header.metrics.items())),
        table("Tensors", ("tensor", "dtype", "shape"), tensors),
    )
